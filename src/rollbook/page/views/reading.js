// How a file was read: what of it was not, and under which mapping.
import { fieldName } from "../fields.js";
import { html } from "../html.js";
import { Go } from "../parts.js";
import { number, t } from "../words.js";

/** The columns that are read as a field for this reason, each with the field. */
const read = (upload, reason) =>
  Object.entries(upload.columns_used)
    .filter(([, { how }]) => how === reason)
    .map(([header, { field }]) => `${header}: ${fieldName(field)}`);

export function Reading({ upload }) {
  const said = [...upload.notes.map(({ message }) => message)];
  for (const { name, rows, is_hidden, holds_members } of upload.sheets_not_read) {
    const about = [
      rows !== null && t("reading.rows", { n: rows }),
      is_hidden && t("reading.hidden"),
      holds_members && t("reading.members"),
    ].filter(Boolean);
    said.push(`${t("reading.sheet", { sheet: name })}${about.length ? ` (${about.join(", ")})` : ""}`);
  }
  if (upload.columns_not_read.length)
    said.push(t("reading.columns", { columns: upload.columns_not_read.join(", ") }));
  const given = read(upload, "given");
  const left = Object.entries(upload.columns ?? {}).filter(([, field]) => field === null);
  given.push(...left.map(([header]) => `${header}: ${t("reading.left")}`));
  if (given.length) said.push(t("reading.given", { columns: given.join(", ") }));
  const remembered = read(upload, "remembered");
  if (remembered.length)
    said.push(
      html`${t("reading.remembered", { columns: remembered.join(", ") })} (<${Go} path="columns">
      ${t("reading.remembered.see")}<//>)`,
    );
  if (upload.hidden_columns.length)
    said.push(t("reading.hidden_columns", { columns: upload.hidden_columns.join(", ") }));
  if (upload.hidden_rows) said.push(t("reading.hidden_rows", { n: upload.hidden_rows }));
  if (!said.length) return null;
  return html`<section class="card" aria-labelledby="reading-title"><h2 id="reading-title">${t("reading.title")}</h2>
    <ul class="plain">${said.map((line, index) => html`<li key=${index}>${line}</li>`)}</ul>
    ${upload.rows_total !== null && html`<p class="hint">${t("reading.total", { rows: number(upload.rows_total) })}</p>`}
  </section>`;
}
