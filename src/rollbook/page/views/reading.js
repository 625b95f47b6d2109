// How a file was read: what of it was not, and under which mapping.
import { html } from "../html.js";
import { number, t } from "../words.js";

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
  const remembered = Object.entries(upload.columns_used).filter(([, { how }]) => how === "remembered");
  if (remembered.length) {
    const columns = remembered.map(([header, { field }]) => `${header}: ${t(`field.${field}`)}`).join(", ");
    said.push(t("reading.remembered", { columns }));
  }
  if (upload.hidden_rows) said.push(t("reading.hidden_rows", { n: upload.hidden_rows }));
  if (!said.length) return null;
  return html`<section class="card" aria-labelledby="reading-title"><h2 id="reading-title">${t("reading.title")}</h2>
    <ul class="plain">${said.map((line) => html`<li key=${line}>${line}</li>`)}</ul>
    ${upload.rows_total !== null && html`<p class="hint">${t("reading.total", { rows: number(upload.rows_total) })}</p>`}
  </section>`;
}
