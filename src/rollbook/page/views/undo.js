// Undoing an upload, for operators: counted first, then asked for, then done.
import { download, get, post } from "../api.js";
import { html, useId, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Go, keepFocus, Loading, Pager, Question } from "../parts.js";
import { attempt, show } from "../said.js";
import { number, t } from "../words.js";

const PAGE_SIZE = 25;
const COUNTS = ["removed", "restored", "kept", "gone"];

export function Undo({ upload, reload }) {
  const id = useId();
  const found = useSignal(null);
  const refused = useSignal(null);
  const isBusy = useSignal(false);
  const isAsked = useSignal(false);
  const ask = async (isDryRun) => {
    isBusy.value = true;
    refused.value = null;
    try {
      const { message, data } = await post(`bulk-upload/undo/${upload.job_id}`, { dry_run: isDryRun });
      found.value = { message, ...data };
      if (!isDryRun) show(message);
    } catch (error) {
      // What was counted before says nothing any more; the reason stays here, beside the button.
      found.value = null;
      refused.value = error;
    }
    isBusy.value = false;
    if (isDryRun && !refused.value) return;
    reload();
    // The button is gone with what it did, or was out of use meanwhile.
    keepFocus(".undo h2");
  };
  const answer = (yes) => {
    isAsked.value = false;
    if (yes) ask(false);
  };
  const counted = found.value?.dry_run ? found.value : null;
  const isUndone = upload.undone_at !== null;
  return html`<section class="card undo" aria-labelledby=${id}><h2 id=${id} tabindex="-1">${t("undo.title")}</h2>
    ${!isUndone && html`<p class="hint">${t("undo.lead")}</p>`}
    ${refused.value && html`<${Failure} error=${refused.value} />`}
    ${
      found.value &&
      html`<p role="status">${found.value.message}</p>
      <dl class="tiles">${COUNTS.filter((name) => name !== "gone" || found.value.gone).map(
        (name) => html`<div key=${name} class="card tile"><dt>${t(`undo.${name}`)}</dt>
        <dd>${number(found.value[name])}</dd></div>`,
      )}</dl>`
    }
    ${isUndone && !found.value && html`<p>${t("undo.done")}</p>`}
    ${(isUndone || counted?.kept > 0) && html`<${Kept} id=${upload.job_id} count=${found.value} isUndone=${isUndone} />`}
    ${
      !isUndone &&
      html`<div class="actions left">
      <button type="button" class="quiet" disabled=${isBusy.value} onClick=${() => ask(true)}>
        ${t(counted ? "undo.again" : "undo.count")}</button>
      ${
        counted &&
        html`<button type="button" class="danger" disabled=${isBusy.value} onClick=${() => {
          isAsked.value = true;
        }}>${t("undo.real")}</button>`
      }</div>`
    }
    ${
      isAsked.value &&
      html`<${Question} title=${t("undo.question", { file: upload.file_name })}
        text=${t("undo.question.text", counted ?? {})} confirm=${t("undo.real")} isDangerous onAnswer=${answer} />`
    }</section>`;
}

/** The members that are kept, by pages, and why. */
function Kept({ id, count, isUndone }) {
  const page = useSignal(1);
  const { data, error, isLoading, reload } = useLoaded(
    () => get(`bulk-upload/undo/${id}/kept`, { page: page.value, page_size: PAGE_SIZE }),
    [id, page.value, count, isUndone],
  );
  if (error) return html`<${Failure} error=${error} onRetry=${error.isPassing && reload} />`;
  if (!data) return html`<${Loading} />`;
  if (data.total === 0) return html`<p class="hint">${t("kept.none")}</p>`;
  return html`<h3>${t("kept.title")}</h3>
    <p class="count">${t(isUndone ? "kept.count" : "kept.would", { n: data.total })}</p>
    <div class="ledger ${isLoading ? "stale" : ""}"><div class="table" tabindex="0" role="region"
      aria-label=${t("kept.title")}><table>
      <thead><tr><th scope="col">${t("field.id_number")}</th><th scope="col">${t("kept.why")}</th><th
        scope="col">${t("kept.later")}</th></tr></thead>
      <tbody>${data.items.map(
        ({ id_number: member, reason, later_upload: later }, index) => html`<tr key=${index}>
        <th scope="row">${member}</th><td data-label=${t("kept.why")}>${t(`kept.${reason}`)}</td>
        <td data-label=${t("kept.later")}>${
          later ? html`<${Go} path="uploads/${later}">${t("audit.upload", { id: later.slice(0, 8) })}<//>` : "–"
        }</td></tr>`,
      )}</tbody></table></div></div>
    <${Pager} page=${page.value} pageSize=${PAGE_SIZE} of=${data} label=${t("kept.pages")}
      onPage=${(to) => {
        page.value = to;
      }} />
    <div class="actions left"><button type="button" class="quiet"
      onClick=${() => attempt(() => download(`bulk-upload/undo/${id}/kept.csv`))}>${t("kept.download")}</button></div>`;
}
