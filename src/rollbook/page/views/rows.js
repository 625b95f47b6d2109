// The rows of an upload that need attention: refused and doubtful ones, why, and what their cells were read as.
import { get } from "../api.js";
import { html, useId, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading, Pager } from "../parts.js";
import { REFUSED } from "../uploads.js";
import { cellInWords, counted, number, t } from "../words.js";

const PAGE_SIZE = 25;

export function Rows({ upload }) {
  const id = useId();
  // "attention:doubtful", "outcome:invalid", "problem:id_length", or "" for all that need attention.
  const chosen = useSignal("");
  const page = useSignal(1);
  const counts = useLoaded(
    () => get(`bulk-upload/problems/${upload.job_id}`),
    [upload.job_id],
  );
  const { data, error, isLoading, reload } = useLoaded(() => {
    const [kind, name] = chosen.value.split(":");
    return get(`bulk-upload/rows/${upload.job_id}`, {
      attention: kind === "attention" ? name : "any",
      outcome: kind === "outcome" ? [name] : undefined,
      problem: kind === "problem" ? name : undefined,
      page: page.value,
      page_size: PAGE_SIZE,
    });
  }, [upload.job_id, chosen.value, page.value]);
  const choose = (event) => {
    chosen.value = event.target.value;
    page.value = 1;
  };
  return html`<section class="card rows" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${t("rows.title")}</h2>
    <p class="hint">${t("rows.lead")}</p>
    <div class="filters"><div class="field"><label for="${id}-filter">${t("rows.filter")}</label>
      <select id="${id}-filter" value=${chosen.value} onChange=${choose}>
        <option value="">${t("rows.all")}</option>
        ${["refused", "doubtful", "left_out"].map(
          (name) => html`<option key=${name} value="attention:${name}">${t(`rows.${name}`)}</option>`,
        )}
        <optgroup label=${t("rows.by_outcome")}>${REFUSED.filter((name) => upload.outcomes[name]).map(
          (name) => html`
          <option key=${name} value="outcome:${name}">
            ${t(`outcome.${name}`)} (${number(upload.outcomes[name])})</option>`,
        )}</optgroup>
        ${
          counts.data?.length > 0 &&
          html`<optgroup label=${t("rows.by_problem")}>${counts.data.map(
            ({ code, message, rows }) => html`
          <option key=${code} value="problem:${code}">${message} (${number(rows)})</option>`,
          )}</optgroup>`
        }
      </select></div></div>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">${counted("rows", data)}</p>
      <div class="table ${isLoading ? "stale" : ""}" tabindex="0" role="region" aria-label=${t("rows.table")}><table>
        <thead><tr><th scope="col" class="n">${t("rows.row")}</th><th scope="col">${t("rows.column")}</th><th
          scope="col">${t("rows.value")}</th><th scope="col">${t("rows.kept")}</th><th scope="col">${t("rows.problem")}</th></tr></thead>
        <tbody>${data.items.map((row) => html`<${Row} key=${row.row_number} row=${row} />`)}</tbody>
      </table></div>
      <${Pager} page=${page.value} pageSize=${PAGE_SIZE} of=${data} label=${t("rows.pages")}
        onPage=${(to) => {
          page.value = to;
        }} />`
    }
  </section>`;
}

/** A row of the file takes as many lines as it has problems; the number is at the first. */
function Row({ row }) {
  const lines = [...row.problems];
  if (row.outcome === "duplicate")
    lines.unshift({
      column: null,
      value: null,
      message: t("rows.duplicate", { row: String(row.duplicate_of) }),
    });
  if (row.outcome === "out_of_scope" && !lines.some(({ code }) => code === "other_office"))
    lines.unshift({ column: null, value: null, message: t("rows.out_of_scope") });
  if (!lines.length) lines.push({ column: null, value: null, message: t(`outcome.${row.outcome}`) });
  return lines.map(
    ({ column, value, kept, severity, message }, index) => html`<tr key=${index} class=${index ? "more" : ""}>
    ${
      index === 0 &&
      html`<th scope="rowgroup" class="n" rowspan=${lines.length}><span class="narrow">
      ${t("rows.row")} </span>${String(row.row_number)}</th>`
    }
    <td data-label=${t("rows.column")} class=${column ? "" : "empty none"}>${column ?? "–"}</td>
    <td data-label=${t("rows.value")}
      class="value ${value ? "" : "empty"} ${column ? "" : "none"}">${value ? cellInWords(value) : column ? t("rows.empty") : "–"}</td>
    <td data-label=${t("rows.kept")} class="value ${kept ? "" : "empty none"}">${kept || (severity === "warning" ? t("rows.nothing") : "–")}</td>
    <td data-label=${t("rows.problem")}>${message}</td></tr>`,
  );
}
