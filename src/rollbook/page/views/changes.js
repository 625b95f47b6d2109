// Which fields of which members an upload changed, or a dry run would change.
import { get } from "../api.js";
import { fieldName } from "../fields.js";
import { html, useId, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading, Pager } from "../parts.js";
import { counted, t } from "../words.js";

const PAGE_SIZE = 25;

export function Changes({ upload }) {
  const id = useId();
  const page = useSignal(1);
  const { data, error, reload } = useLoaded(
    () => get(`bulk-upload/changes/${upload.job_id}`, { page: page.value, page_size: PAGE_SIZE }),
    [upload.job_id, page.value],
  );
  return html`<section class="card rows" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${t(upload.dry_run ? "changes.would" : "changes.title")}</h2>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">${counted("changes", data)}</p>
      <div class="table" tabindex="0" role="region" aria-label=${t("changes.table")}><table>
        <thead><tr><th scope="col" class="n">${t("rows.row")}</th><th scope="col">${t("changes.field")}</th><th
          scope="col">${t("changes.before")}</th><th scope="col">${t("changes.after")}</th></tr></thead>
        <tbody>${data.items.map((row) => html`<${Row} key=${row.row_number} row=${row} />`)}</tbody>
      </table></div>
      <${Pager} page=${page.value} pageSize=${PAGE_SIZE} of=${data} label=${t("changes.pages")}
        onPage=${(to) => {
          page.value = to;
        }} />`
    }
  </section>`;
}

/** A row of the file takes as many lines as it changed fields. */
function Row({ row }) {
  const fields = Object.entries(row.fields);
  return fields.map(
    ([name, { before, after }], index) => html`<tr key=${name} class=${index ? "more" : ""}>
    ${
      index === 0 &&
      html`<th scope="rowgroup" class="n" rowspan=${fields.length}><span class="narrow">
      ${t("rows.row")} </span>${String(row.row_number)}</th>`
    }
    <td data-label=${t("changes.field")}>${fieldName(name)}</td>
    <td data-label=${t("changes.before")} class="value ${before ? "" : "empty"}">${before ?? t("rows.empty")}</td>
    <td data-label=${t("changes.after")} class="value ${after ? "" : "empty"}">${after ?? t("rows.empty")}</td></tr>`,
  );
}
