// What uploads have taught about the columns of the office's files: seen, changed and forgotten.
import { del, get, patch } from "../api.js";
import { fieldName, fieldNames } from "../fields.js";
import { html, useId, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Go, keepFocus, Loading, Pager, Question } from "../parts.js";
import { attempt } from "../said.js";
import { t, when } from "../words.js";

const PAGE_SIZE = 25;

export function Mappings() {
  const page = useSignal(1);
  const { data, error, reload } = useLoaded(
    () => get("bulk-upload/mappings", { page: page.value, page_size: PAGE_SIZE }),
    [page.value],
  );
  return html`<p class="back"><${Go} path="upload">${t("nav.upload")}<//></p>
    <h1 tabindex="-1">${t("mappings.title")}</h1><p class="lead">${t("mappings.lead")}</p>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">${
        data.total ? t("mappings.count", { n: data.total }) : t("mappings.none")
      }</p>
      ${data.items.map((mapping) => html`<${Mapping} key=${mapping.id} mapping=${mapping} reload=${reload} />`)}
      <${Pager} page=${page.value} pageSize=${PAGE_SIZE} of=${data} label=${t("mappings.pages")}
        onPage=${(to) => {
          page.value = to;
        }} />`
    }
    <${Aliases} />`;
}

/** What the office means by words that Rollbook doesn't know; they are taught by fixing rows. */
function Aliases() {
  const id = useId();
  const page = useSignal(1);
  const { data, error, reload } = useLoaded(
    () => get("bulk-upload/aliases", { page: page.value, page_size: PAGE_SIZE }),
    [page.value],
  );
  const forget = async (alias) => {
    await attempt(() => del(`bulk-upload/aliases/${alias.id}`));
    await reload();
    document.getElementById(`${id}-title`)?.focus();
  };
  return html`<section class="card ledger" aria-labelledby="${id}-title"><h2 id="${id}-title" tabindex="-1">${t("aliases.title")}</h2>
    <p class="hint">${t("aliases.lead")}</p>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${data && !data.total && html`<p class="count">${t("aliases.none")}</p>`}
    ${
      data?.total > 0 &&
      html`<div class="table"><table>
      <thead><tr><th scope="col">${t("aliases.text")}</th><th scope="col">${t("aliases.value")}</th>
        <th scope="col">${t("aliases.field")}</th><th scope="col">${t("aliases.since")}</th><th scope="col"><span class="unseen">${t("aliases.forget")}</span></th></tr></thead>
      <tbody>${data.items.map(
        (alias) => html`<tr key=${alias.id}><th scope="row">${alias.text}</th>
        <td data-label=${t("aliases.value")}>${alias.value}</td><td data-label=${t("aliases.field")}>${t(`field.${alias.field}`)}</td>
        <td data-label=${t("aliases.since")}>${when(alias.created_at)}</td>
        <td><button type="button" class="quiet small danger" aria-label=${t("aliases.forget.of", { text: alias.text })}
          onClick=${() => forget(alias)}>${t("aliases.forget")}</button></td></tr>`,
      )}</tbody></table></div>
      <${Pager} page=${page.value} pageSize=${PAGE_SIZE} of=${data} label=${t("aliases.title")}
        onPage=${(to) => {
          page.value = to;
        }} />`
    }</section>`;
}

/** The choice for a header: a field, "leave" where it isn't read, empty where its own name counts. */
const chosen = (field) => field ?? "leave";

function Mapping({ mapping, reload }) {
  const id = useId();
  const before = Object.fromEntries(
    Object.entries(mapping.columns).map(([header, field]) => [header, chosen(field)]),
  );
  const choices = useSignal(before);
  const isAsked = useSignal(false);
  const isBusy = useSignal(false);
  const kept = Object.entries(choices.value).filter(([, field]) => field);
  const isChanged = Object.entries(before).some(([header, field]) => choices.value[header] !== field);
  const file = mapping.file_name ?? t("mappings.gone");
  const act = async (action) => {
    isBusy.value = true;
    await attempt(action);
    isBusy.value = false;
    reload();
    keepFocus("main h1");
  };
  const address = `bulk-upload/mappings/${mapping.id}`;
  const forget = () => act(() => del(address));
  const save = () => {
    if (!kept.length) return forget();
    const columns = Object.fromEntries(kept.map(([header, field]) => [header, field === "leave" ? null : field]));
    return act(() => patch(address, { columns }));
  };
  const place = [mapping.municipality, mapping.province].filter(Boolean).join(", ");
  return html`<section class="card mapping" aria-labelledby=${id}>
    <h2 id=${id}><${Go} path="uploads/${mapping.job_id}">${file}<//></h2>
    <p class="hint dotted">${place && html`<span>${place}</span>`}<span>${
      mapping.remembered_at && t("mappings.since", { when: when(mapping.remembered_at), file })
    }</span>${
      mapping.changed_at &&
      html`<span>${t("mappings.changed", { when: when(mapping.changed_at), by: mapping.changed_by })}</span>`
    }</p>
    <div class="table" tabindex="0" role="region" aria-label=${t("mappings.of", { file, when: when(mapping.remembered_at) })}><table>
      <thead><tr><th scope="col">${t("mappings.header")}</th><th scope="col">${t("mappings.field")}</th></tr></thead>
      <tbody>${Object.entries(choices.value).map(
        ([header, field]) => html`<tr key=${header}><th scope="row">${header}</th>
        <td data-label=${t("mappings.field")}><select aria-label=${t("mappings.field.of", { header })} value=${field}
          onChange=${(event) => {
            choices.value = { ...choices.peek(), [header]: event.target.value };
          }}>
          <option value="">${t("mappings.by_header")}</option>
          ${fieldNames().map((name) => html`<option key=${name} value=${name}>${fieldName(name)}</option>`)}
          <option value="leave">${t("columns.leave")}</option></select></td></tr>`,
      )}</tbody></table></div>
    <div class="actions left">
      <button type="button" disabled=${isBusy.value || !isChanged} aria-label=${t("mappings.save.of", { file })}
        onClick=${save}>${t("mappings.save")}</button>
      <button type="button" class="quiet danger" disabled=${isBusy.value}
        aria-label=${t("mappings.forget.of", { file })} onClick=${() => {
          isAsked.value = true;
        }}>${t("mappings.forget")}</button></div>
    ${
      isAsked.value &&
      html`<${Question} title=${t("mappings.forget.title")} text=${t("mappings.forget.text")}
        confirm=${t("mappings.forget")} isDangerous onAnswer=${(yes) => {
          isAsked.value = false;
          if (yes) forget();
        }} />`
    }</section>`;
}
