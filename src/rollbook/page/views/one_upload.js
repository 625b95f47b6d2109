// One upload: where it is, what became of its rows, and what can be done about it.
import { download, get, isOperator, post, user } from "../api.js";
import { fieldName } from "../fields.js";
import { html, useEffect, useSignal } from "../html.js";
import { freshness } from "../live.js";
import { useLoaded } from "../loading.js";
import { Badge, Bar, CancelButton, Failure, Go, keepFocus, Loading, OutcomeBar, OutcomeNumbers, Pace } from "../parts.js";
import { go } from "../router.js";
import { attempt, show } from "../said.js";
import {
  follow,
  isFinal,
  learn,
  mayRetry,
  mayRun,
  moment,
  refusedRows,
  runForReal,
  secondsLeft,
  unfollow,
  uploadSignal,
} from "../uploads.js";
import { number, size, t, when } from "../words.js";
import { Changes } from "./changes.js";
import { Reading } from "./reading.js";
import { Rows } from "./rows.js";
import { Timeline } from "./timeline.js";
import { Undo } from "./undo.js";
import { waiting } from "./uploads.js";

export function OneUpload({ id }) {
  const upload = uploadSignal(id).value;
  const { error, reload } = useLoaded(
    async () => {
      const asked = moment();
      learn(await get(`bulk-upload/status/${encodeURIComponent(id)}`), asked);
      return true;
    },
    [id],
    [freshness],
  );
  useEffect(() => {
    follow(id);
    return () => unfollow(id);
  }, [id]);
  useEffect(() => {
    if (upload) document.title = `${upload.file_name} – ${t("name")}`;
  }, [upload?.file_name]);
  if (!upload) {
    return html`<${Title} name=${t("upload.one")} />
      ${error ? html`<${Failure} error=${error} onRetry=${error.isPassing && reload} />` : html`<${Loading} />`}`;
  }
  const isEnded = isFinal(upload);
  const hasRows = upload.status === "completed" && !upload.rows_removed_at;
  return html`<${Title} name=${upload.file_name}><${Badge} status=${upload.status} upload=${upload} />${
    upload.dry_run &&
    html`<span
    class="badge dry">${t("dry_run")}</span>`
  }${upload.undone_at && html`<span class="badge dry">${t("undone")}</span>`}<//>
    <p class="hint">
      ${t("upload.sent_by", { when: when(upload.created_at), owner: upload.owner, size: size(upload.file_bytes) })}
      ${upload.mends && html` <${Go} path="uploads/${upload.mends}">${t("fix.mends")}<//>`}</p>
    <${Now} upload=${upload} />
    <${Actions} upload=${upload} reload=${reload} />
    <div class="columns one">
      <section class="card" aria-labelledby="outcomes-title"><h2 id="outcomes-title">${t("outcomes.title")}</h2>
        ${
          upload.status === "completed" || upload.error_code === "rows_refused"
            ? html`<p class="big">${t("outcomes.rows", { n: upload.rows_total ?? 0 })}</p>
          <${OutcomeBar} outcomes=${upload.outcomes} /><${OutcomeNumbers} outcomes=${upload.outcomes} />
            <${Fixed} upload=${upload} /><${Verification} of=${upload.verification} />`
            : html`<p class="hint">${isEnded ? t("outcomes.none") : t("outcomes.later")}</p>`
        }
        <${HowSent} upload=${upload} />
      </section>
      <section class="card" aria-labelledby="way-title"><h2 id="way-title">${t("way.title")}</h2><${Timeline}
        upload=${upload} /></section>
    </div>
    ${upload.columns_used && html`<${Reading} upload=${upload} />`}
    ${upload.rows_removed_at && html`<section class="card"><p class="hint">${t("rows.removed", { when: when(upload.rows_removed_at) })}</p></section>`}
    ${hasRows && (refusedRows(upload) > 0 || upload.rows_with_warnings > 0) && html`<${Rows} upload=${upload} />`}
    ${hasRows && upload.outcomes.updated > 0 && html`<${Changes} upload=${upload} />`}
    ${upload.status === "completed" && !upload.dry_run && isOperator.value && html`<${Undo} upload=${upload} reload=${reload} />`}`;
}

/** The heading: the same element before and after the upload is known, so that it keeps the focus. */
const Title = ({ name, children }) => html`<p class="back"><${Go} path="uploads">${t("upload.back")}<//></p>
  <div class="title"><h1 tabindex="-1">${name}</h1>${children}</div>`;

/** What is going on now, in a sentence and, while it runs, a bar. */
function Now({ upload }) {
  if (upload.status === "processing") {
    const left = secondsLeft(upload);
    return html`<section class="card now" aria-label=${t("now.label")}>
      <div class="now-head"><strong>${upload.stage ? t(`stage.${upload.stage}`) : t("stage.start")}</strong><span>${t("unit.percent", { n: upload.progress })}</span></div>
      <${Bar} value=${upload.progress} label=${t("progress.of", { file: upload.file_name })} />
      <p class="now-foot">
        <span>${upload.rows_total ? t("now.rows", { done: upload.rows_done, n: upload.rows_total }) : t("now.counting")}</span><${Pace} upload=${upload} left=${left} /></p>
    </section>`;
  }
  if (upload.status === "pending")
    return html`<section class="card now" aria-label=${t("now.label")}><strong>${waiting(upload)}</strong><p
      class="hint">${upload.error ?? t("now.safe")}</p></section>`;
  if (upload.status === "failed")
    return html`<div class="notice bad"><p><strong>${t("failed.title")}</strong></p><p>${upload.error}</p></div>`;
  if (upload.status === "cancelled") return html`<p class="notice">${t("cancelled.text")}</p>`;
  if (upload.undone_at)
    return html`<p class="notice">
      ${t("undone.text", { when: when(upload.undone_at), by: upload.undone_by })}</p>`;
  return upload.dry_run && html`<p class="notice">${t("dry_run.done")}</p>`;
}

function Actions({ upload, reload }) {
  const isBusy = useSignal(false);
  const act = async (action) => {
    isBusy.value = true;
    await attempt(action);
    isBusy.value = false;
    reload();
    keepFocus("main h1");
  };
  const isOwn = upload.owner === user.value?.email;
  const run = async () => {
    const id = await runForReal(upload.job_id);
    show(t("dry_run.started"));
    go(`uploads/${id}`);
  };
  const save = (what) => () => download(`bulk-upload/${what}/${upload.job_id}`);
  const retry = () => post(`bulk-upload/queue/retry/${upload.job_id}`);
  const button = (text, action, look = "") =>
    html`<button type="button" class=${look} disabled=${isBusy.value} onClick=${() => act(action)}>${t(text)}</button>`;
  const hasFailed = upload.status === "failed";
  const mayFix = upload.fixable_rows > 0 && !upload.undone_at;
  return html`<div class="actions left">
    ${mayRun(upload) && button("action.run", run)}
    ${upload.report_available && button("action.report", save("report"), upload.dry_run ? "quiet" : "")}
    ${mayFix && html`<${Go} class="button ${upload.dry_run ? "quiet" : ""}" path="uploads/${upload.job_id}/fix">${t("action.fix")}<//>`}
    ${upload.failed_rows_available && button("action.failed_rows", save("failed-rows"), "quiet")}
    ${mayRetry(upload) && isOperator.value && button("action.retry", retry)}
    ${mayRetry(upload) && !isOperator.value && html`<p class="hint">${t("action.retry.ask")}</p>`}
    ${hasFailed && !mayRetry(upload) && html`<p class="hint">${t("action.retry.no")}</p>`}
    ${
      !isFinal(upload) &&
      (isOwn || isOperator.value) &&
      html`<${CancelButton} class="quiet danger" upload=${upload} act=${act} disabled=${isBusy.value} />`
    }
    ${isOperator.value && html`<${Go} path="audit" query=${{ job: upload.job_id }}>${t("audit.of")}<//>`}
  </div>`;
}

/** How many rows follow-ups have fixed. */
function Fixed({ upload }) {
  if (!upload.fixed) return null;
  const doubtful = upload.fixed - upload.refused_fixed;
  return html`<p class="fixed"><strong>${t("fix.fixed", { fixed: upload.refused_fixed, n: refusedRows(upload) })}</strong>
    ${doubtful > 0 && ` ${t("fix.fixed.doubtful", { n: doubtful })}`}</p>`;
}

/** What the voter roll has said so far. */
function Verification({ of }) {
  if (of.state === "off") return null;
  const nonzero = Object.entries(of.results).filter(([, rows]) => rows);
  return html`<h3>${t("verification.title")}</h3><p class="hint">${t(`verification.${of.state}`)}</p>
    <ul class="plain">${nonzero.map(
      ([name, rows]) => html`<li key=${name}>${t(`verification.result.${name}`)}: <strong>
      ${number(rows)}</strong></li>`,
    )}</ul>`;
}

/** The options that differ from what is usual. */
function HowSent({ upload }) {
  const said = [];
  if (upload.kind === "removal") {
    said.push(upload.new_status ? t("removal.is.status", { status: upload.new_status }) : t("removal.is.remove"));
    said.push(t("removal.is.reason", { reason: upload.reason }));
  }
  for (const [name, members] of Object.entries(upload.renewals ?? {}))
    said.push(`${t(`renewals.${name}`)}: ${number(members)}`);
  if (upload.existing !== "update") said.push(t(`upload.existing.${upload.existing}`));
  if (upload.all_or_nothing) said.push(t("upload.all_or_nothing"));
  if (upload.empty_text) said.push(t("upload.empty_text.is", { text: upload.empty_text }));
  for (const [field, members] of Object.entries(upload.emptied ?? {}))
    said.push(t("upload.emptied", { field: fieldName(field), n: members }));
  if (upload.sheet) said.push(t("upload.sheet.is", { sheet: upload.sheet }));
  if (upload.attempts > 1) said.push(t("upload.attempts", { n: upload.attempts }));
  return (
    said.length > 0 &&
    html`<ul class="plain hint">${said.map((line) => html`<li key=${line}>${line}</li>`)}</ul>`
  );
}
