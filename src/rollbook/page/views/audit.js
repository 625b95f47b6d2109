// The audit trail: all of it for operators, and for everybody what was done in their own name.
import { get } from "../api.js";
import { html, useEffect, useId, useSignal } from "../html.js";
import { freshness } from "../live.js";
import { useLoaded, useRested } from "../loading.js";
import { Failure, Go, Loading, Pager } from "../parts.js";
import { pageNumber, place, refine } from "../router.js";
import { listChanged } from "../uploads.js";
import { ACTS, counted, momentInFull, t } from "../words.js";

const PAGE_SIZE = 50;
const JOB_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** `isOwn`: only what was done in the reader's name. */
export function Audit({ isOwn = false }) {
  const id = useId();
  const { query } = place.value;
  const act = query.get("act") ?? "";
  const page = pageNumber();
  const typed = useSignal(query.get("job") ?? "");
  const job = useRested(typed.value.trim());
  // Half an id finds nothing, and the API would refuse it.
  const isJob = job === "" || JOB_ID.test(job);
  const { data, error, isLoading, reload } = useLoaded(
    async () => {
      if (!isJob) return null;
      refine({ job, page: page === 1 ? "" : page });
      return get(isOwn ? "bulk-upload/audit/mine" : "bulk-upload/audit", {
        job_id: job,
        act,
        page,
        page_size: PAGE_SIZE,
      });
    },
    [act, job, page],
    [listChanged, freshness],
  );
  // The address may also change by going back, or by a link of an entry.
  useEffect(() => {
    if (isJob && (query.get("job") ?? "") !== job) typed.value = query.get("job") ?? "";
  }, [place.value]);
  return html`<h1 tabindex="-1">${t(isOwn ? "audit.mine" : "nav.audit")}</h1>
    <p class="lead">${t(isOwn ? "audit.mine.lead" : "audit.lead")}</p>
    <div class="filters">
      <div class="field search"><label for="${id}-job">${t("audit.job")}</label>
        <input id="${id}-job" type="search" autocomplete="off" spellcheck=${false} maxlength="36" value=${typed.value}
          aria-invalid=${isJob ? undefined : "true"} aria-describedby=${isJob ? undefined : `${id}-hint`}
          onInput=${(event) => {
            typed.value = event.target.value;
            refine({ page: "" });
          }} /></div>
      <div class="field"><label for="${id}-act">${t("audit.act")}</label>
        <select id="${id}-act" value=${act} onChange=${(event) => refine({ act: event.target.value, page: "" })}>
          <option value="">${t("filter.all")}</option>
          ${ACTS.map((name) => html`<option key=${name} value=${name}>${t(`act.${name}`)}</option>`)}
        </select></div>
    </div>
    ${!isJob && html`<p class="hint" id="${id}-hint" role="status">${t("audit.job.hint")}</p>`}
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${isJob && !data && !error && html`<${Loading} />`}
    ${
      isJob &&
      data &&
      html`<p class="count" role="status">${counted("audit", data)}</p>
      ${
        data.total > 0 &&
        html`<div class="card ledger ${isLoading ? "stale" : ""}"><div class="table" tabindex="0" role="region"
          aria-label=${t("audit.table")}><table>
        <thead><tr><th scope="col">${t("audit.when")}</th><th scope="col">${t("audit.act")}</th>${
          !isOwn && html`<th scope="col">${t("audit.who")}</th>`
        }<th scope="col">${t("audit.from")}</th><th scope="col">${t("audit.outcome")}</th></tr></thead>
        <tbody>${data.items.map((entry) => html`<${Entry} key=${entry.id} entry=${entry} isOwn=${isOwn} />`)}</tbody>
      </table></div></div>`
      }
      <${Pager} page=${page} pageSize=${PAGE_SIZE} of=${data} label=${t("audit.pages")} isByTime
        onPage=${(to) => refine({ page: to })} />`
    }`;
}

function Entry({ entry, isOwn }) {
  const { at, act, outcome, code, role, address, agent, job_id: job, about } = entry;
  return html`<tr>
    <th scope="row"><time datetime=${at}>${momentInFull(at)}</time></th>
    <td data-label=${t("audit.act")}><span>${t(`act.${act}`)}${
      about && html`<small>${about}</small>`
    }</span>${job && html`<small><${Go} path="uploads/${job}">${t("audit.upload", { id: job.slice(0, 8) })}<//></small>`}</td>
    ${
      !isOwn &&
      html`<td data-label=${t("audit.who")}><span>${who(entry)}</span>${role && html`<small>${t(`role.${role}`)}</small>`}</td>`
    }
    <td data-label=${t("audit.from")}><span>${address ?? t("audit.server")}</span>${
      agent && html`<small class="clipped" title=${agent}>${agent}</small>`
    }</td>
    <td data-label=${t("audit.outcome")}><span class="badge ${LOOKS[outcome]}">${t(`audit.outcome.${outcome}`)}</span>${
      code && html`<small class="code">${code}</small>`
    }</td></tr>`;
}

/** The looks of badges that mean the same. */
const LOOKS = { done: "done", refused: "dry", failed: "failed" };

/** In whose name; without an account it was a worker, somebody who couldn't sign in, or Rollbook. */
function who({ email, act }) {
  if (email) return email;
  if (act === "start" || act === "end") return t("audit.worker");
  return t(act === "sign_in" ? "audit.unknown" : "name");
}
