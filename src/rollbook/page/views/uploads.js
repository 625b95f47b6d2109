// All uploads of the office: the running ones are live, the history follows by pages.
import { get } from "../api.js";
import { html, useEffect, useSignal } from "../html.js";
import { freshness } from "../live.js";
import { useLoaded, useRested } from "../loading.js";
import { Badge, Bar, Failure, Go, Loading, OutcomeBar, Pace, Pager, Search, StatusChoice } from "../parts.js";
import { pageNumber, place, refine } from "../router.js";
import { learn, listChanged, moment, refusedRows, secondsLeft, uploadSignal } from "../uploads.js";
import { counted, duration, number, secondsUntil, t, when } from "../words.js";

const PAGE_SIZE = 20;

export function Uploads() {
  const { query } = place.value;
  const status = query.get("status") ?? "";
  const page = pageNumber();
  const typed = useSignal(query.get("search") ?? "");
  const search = useRested(typed.value);
  const loaded = useLoaded(
    async () => {
      const asked = moment();
      refine({ search, page: page === 1 ? "" : page });
      const found = await get("bulk-upload/history", { status, search, page, page_size: PAGE_SIZE });
      found.items.forEach((upload) => learn(upload, asked));
      return { ...found, ids: found.items.map((upload) => upload.job_id) };
    },
    [status, search, page],
    [listChanged, freshness],
  );
  const { data, error, reload } = loaded;
  // The address may also change by going back, or by the menu.
  useEffect(() => {
    if ((query.get("search") ?? "") !== search) typed.value = query.get("search") ?? "";
  }, [place.value]);
  const isFiltered = status || search;
  return html`<h1 tabindex="-1">${t("uploads.title")}</h1>
    <div class="filters">
      <${Search} label=${t("uploads.search")} value=${typed.value} onInput=${(text) => {
        typed.value = text;
        refine({ page: "" });
      }} />
      <${StatusChoice} value=${status} onChange=${(chosen) => refine({ status: chosen, page: "" })} />
    </div>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">
        ${isFiltered && data.total_is_exact ? t("uploads.found", { n: data.total }) : counted("uploads", data)}</p>
      ${data.total === 0 && !isFiltered && html`<${Nothing} />`}
      <ul class="uploads" aria-label=${t("uploads.title")}>${data.ids.map(
        (id) => html`<${Line} key=${id}
        id=${id} />`,
      )}</ul>
      <${Pager} page=${page} pageSize=${PAGE_SIZE} of=${data} label=${t("uploads.pages")} isByTime
        onPage=${(to) => refine({ page: to })} />`
    }`;
}

const Nothing = () => html`<div class="nothing"><p>${t("uploads.none")}</p>
  <${Go} class="button" path="upload">${t("uploads.first")}<//></div>`;

/** One upload in a list. */
export function Line({ id, children }) {
  const upload = uploadSignal(id).value;
  if (!upload) return null;
  return html`<li class="upload ${upload.status}">
    <div class="upload-what">
      <${Go} class="upload-name" path="uploads/${id}">${upload.file_name}<//>
      <span class="hint dotted"><span>${when(upload.created_at)}</span><span>${upload.owner}</span>${
        upload.dry_run && html`<span>${t("dry_run")}</span>`
      }${upload.undone_at && html`<span>${t("undone")}</span>`}</span>
    </div>
    <div><${Badge} status=${upload.status} upload=${upload} /></div>
    <div class="upload-how"><${How} upload=${upload} /></div>
    ${children}
  </li>`;
}

function How({ upload }) {
  switch (upload.status) {
    case "pending":
      return html`<span>${waiting(upload)}</span>`;
    case "processing":
      return html`<${Bar} value=${upload.progress} label=${t("progress.of", { file: upload.file_name })} />
        <span class="upload-stage">
          <span>${upload.stage ? t(`stage.${upload.stage}`) : t("stage.start")} · ${t("unit.percent", { n: upload.progress })}</span>
          <${Pace} upload=${upload} left=${secondsLeft(upload)} /></span>`;
    case "completed":
      return html`<${OutcomeBar} outcomes=${upload.outcomes} />
        <span>${t("uploads.rows", { n: upload.rows_total ?? 0 })} · ${refusedRows(upload) ? t("uploads.refused", { n: refusedRows(upload) }) : t("uploads.all_in")}</span>`;
    case "failed":
      return html`<span class="clipped">${upload.error}</span>`;
    default:
      return html`<span>${t("uploads.cancelled")}</span>`;
  }
}

/** The queue position of a waiting upload, and when it is expected to start. */
export function waiting(upload) {
  const position = upload.queue_position
    ? t("waiting.position", { position: number(upload.queue_position) })
    : t("waiting.any");
  const start = expectedStart(upload);
  return [upload.error ? t("waiting.again") : position, start].filter(Boolean).join(" · ");
}

function expectedStart({ estimated_start_at: start, estimate_unknown: unknown }) {
  if (unknown === "paused" || unknown === "no_worker") return t(`waiting.${unknown}`);
  if (!start) return null;
  // Rounded, because it is an estimate.
  const minutes = Math.ceil(secondsUntil(start) / 60);
  if (minutes <= 1) return t("waiting.soon");
  return t("waiting.starts", { time: duration(minutes < 10 ? minutes * 60 : Math.ceil(minutes / 5) * 300) });
}
