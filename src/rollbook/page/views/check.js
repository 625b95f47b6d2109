// How a chosen file would be read: its sheets, its columns and their fields, and its first rows.
import { fieldName, fieldNames } from "../fields.js";
import { html, useId, useRef } from "../html.js";
import {
  ALL_SHEETS,
  checkFile,
  chooseField,
  chooseSheet,
  files,
  isDoubtful,
  type,
  withMembers,
} from "../sending.js";
import { cellInWords, t } from "../words.js";
import { Columns } from "./columns.js";

export function Check({ entry }) {
  return entry.value.check?.is_checked
    ? html`<${Checked} entry=${entry} />`
    : html`<${Unchecked} entry=${entry} />`;
}

/** A file without a check: what the check would have offered can be typed. */
function Unchecked({ entry }) {
  const { check, checkError, sheet, pairs } = entry.value;
  const id = useId();
  return html`${
    checkError
      ? html`<div class="notice"><p><strong>${t("check.failed")}</strong></p>
        <p>${checkError.message} ${t("check.failed.text")}</p>
        <${Again} entry=${entry} words="check.again" /></div>`
      : html`<p class="hint">${t(check ? "check.too_long" : "check.none")}</p>
        ${!check && html`<${Again} entry=${entry} words="check.now" />`}`
  }
    <details class="typed"><summary>${t("upload.typed")}</summary>
      <div class="field"><label for="${id}-sheet">${t("upload.sheet")}</label>
        <input id="${id}-sheet" type="text" autocomplete="off" placeholder=${t("upload.sheet.default")}
          value=${sheet ?? ""} onInput=${(event) => type(entry, { sheet: event.target.value })} /></div>
      <${Columns} pairs=${pairs} onChange=${(changed) => type(entry, { pairs: changed })} />
    </details>`;
}

const Again = ({ entry, words }) =>
  html`<div class="actions left"><button type="button" class="quiet small" onClick=${() => checkFile(entry)}>
    ${t(words)}<span class="unseen"> ${entry.peek().file.name}</span></button></div>`;

function Checked({ entry }) {
  const { file, check, checkError, sheets, asked, asking } = entry.value;
  // As it is at first: a part that closed while one chooses in it would take the focus away.
  const isOpen = useRef(isDoubtful(entry.peek()) || files.peek().length === 1).current;
  const unknown = check.columns.filter(({ header }) => asked.headers.includes(header));
  const known = check.columns.filter(({ header }) => !asked.headers.includes(header));
  const missing = check.missing.map((name) => fieldName(name)).join(", ");
  return html`<details class="checked ${asking ? "stale" : ""}" open=${isOpen} aria-busy=${asking !== null}>
    <summary>${factsOf(check).join(" · ")}<span class="unseen"> ${t("check.of", { file: file.name })}</span></summary>
    ${sheets.length > 1 && html`<${Sheets} entry=${entry} />`}
    ${
      checkError &&
      html`<div class="notice bad"><p><strong>${t("check.choices")}</strong></p><p>${checkError.message}</p>
        ${checkError.status === 404 && html`<${Again} entry=${entry} words="check.again" />`}</div>`
    }
    ${
      missing &&
      html`<div class="notice bad"><p><strong>${t("check.missing", { n: check.missing.length, fields: missing })}</strong></p>
        <p>${t("check.missing.text")}</p></div>`
    }
    ${(check.warnings.length > 0 || check.notes.length > 0) && html`<${Warnings} check=${check} />`}
    ${Object.keys(check.emptied ?? {}).length > 0 && html`<${Emptied} check=${check} />`}
    ${
      unknown.length > 0 &&
      html`<section><h2>${t("check.unknown")}</h2><p class="hint">${t("check.unknown.text")}</p>
        <${Fields} entry=${entry} columns=${unknown} /></section>`
    }
    ${
      known.length > 0 &&
      html`<details class="known"><summary>${t("check.known", { n: known.length })}</summary>
        <${Fields} entry=${entry} columns=${known} /></details>`
    }
    ${check.rows.length > 0 && html`<${Rows} name=${file.name} check=${check} />`}
  </details>`;
}

/** What was recognised, in a few words. */
function factsOf({ rows_expected, columns, header_row, encoding }) {
  const read = columns.filter(({ field }) => field).length;
  return [
    rows_expected === null ? t("check.rows.unknown") : t("check.rows", { n: rows_expected }),
    t("check.columns", { n: columns.length, read }),
    ...(header_row > 1 ? [t("check.header_row", { row: header_row })] : []),
    ...(encoding ? [t("check.text", { encoding })] : []),
  ];
}

/** The sheets as tabs. They are a choice of one, so that the arrow keys work as one expects. */
function Sheets({ entry }) {
  const { sheets, sheet, check } = entry.value;
  const id = useId();
  const chosen = sheet ?? check.sheets.find(({ is_chosen }) => is_chosen)?.name;
  const tab = (name, words, facts) => html`<label key=${name} class="tab"><input type="radio" name=${id}
    checked=${chosen === name} onChange=${() => chooseSheet(entry, name)} /><span>${words}${
      facts.length > 0 && html` <small>${facts.join(", ")}</small>`
    }</span></label>`;
  return html`<fieldset class="tabs"><legend>${t("check.sheets")}</legend>
    ${withMembers(sheets).length > 1 && tab(ALL_SHEETS, t("check.sheets.all"), [])}
    ${sheets.map(({ name, rows, is_hidden, holds_members }) =>
      tab(name, name, [
        ...(rows === null ? [] : [t("check.rows", { n: rows })]),
        ...(holds_members ? [t("check.members")] : []),
        ...(is_hidden ? [t("check.hidden")] : []),
      ]),
    )}
  </fieldset>`;
}

function Warnings({ check }) {
  return html`<section><h2>${t("check.warnings")}</h2><ul class="warnings">
    ${check.warnings.map(
      ({ code, rows, message }) =>
        html`<li key=${code}><strong>${t("check.warnings.rows", { n: rows })}</strong> ${message}</li>`,
    )}
    ${check.notes.map(({ message }, index) => html`<li key=${index}>${message}</li>`)}
  </ul></section>`;
}

/** The fields that the person's text empties. */
function Emptied({ check: { emptied } }) {
  return html`<div class="notice"><p><strong>${t("check.emptied")}</strong></p><ul class="warnings">
    ${Object.entries(emptied).map(
      ([name, n]) => html`<li key=${name}><strong>${fieldName(name)}</strong> ${t("check.warnings.rows", { n })}</li>`,
    )}</ul></div>`;
}

/** A drop-down of fields for each column. */
function Fields({ entry, columns }) {
  return html`<ul class="fields">${columns.map(
    (column) => html`<${Field} key=${column.header} entry=${entry} column=${column} />`,
  )}</ul>`;
}

function Field({ entry, column: { header, field, how, suggestions, samples } }) {
  const id = useId();
  const given = entry.value.columns[header];
  const value = given === null ? "leave" : (given ?? field ?? "");
  const offered = given !== undefined || !field;
  const option = (name) => html`<option key=${name} value=${name}>${fieldName(name)}</option>`;
  const why = ["near", "values", "remembered"].includes(how) && t(`check.how.${how}`);
  return html`<li><label for=${id}><strong>${header}</strong>
      <small>${samples.length ? t("check.samples", { samples: samples.slice(0, 3).map(cellInWords).join(", ") }) : t("check.empty")}</small></label>
    <div><select id=${id} value=${value} aria-label=${t("check.field.of", { header })}
      onChange=${(event) => chooseField(entry, header, event.target.value)}>
      ${offered && html`<option value="">${t("check.not_read")}</option>`}
      ${
        suggestions.length > 0 &&
        html`<optgroup label=${why ? `${t("check.suggested")} (${why})` : t("check.suggested")}>${suggestions.map(option)}</optgroup>`
      }
      <optgroup label=${t("check.fields")}>${fieldNames().filter((name) => !suggestions.includes(name)).map(option)}</optgroup>
      <option value="leave">${t("columns.leave")}</option>
    </select></div></li>`;
}

function Rows({ name, check: { columns, rows } }) {
  return html`<section><h2>${t("check.table.title")}</h2>
    <div class="table" tabindex="0" role="region" aria-label=${t("check.table", { file: name })}><table>
    <thead><tr><th scope="col" class="n">${t("rows.row")}</th>${columns.map(
      ({ header, field }) => html`<th key=${header} scope="col" class=${field ? "" : "none"}>${
        field ? fieldName(field) : t("check.not_read")
      }<small>${header}</small></th>`,
    )}</tr></thead>
    <tbody>${rows.map(
      ({ row_number, cells }) => html`<tr key=${row_number}><th scope="row" class="n">${row_number}</th>${cells.map(
        (cell, index) => html`<td key=${index} class=${columns[index]?.field ? "" : "none"}>${cellInWords(cell)}</td>`,
      )}</tr>`,
    )}</tbody></table></div></section>`;
}
