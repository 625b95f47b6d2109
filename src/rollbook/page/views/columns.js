// What the columns of a file are called, typed in: for a file that could not be checked.
import { fieldName, fieldNames } from "../fields.js";
import { html, useId } from "../html.js";
import { Go } from "../parts.js";
import { t } from "../words.js";

/** Pairs of a header and its field; the last is always empty, to add another. */
export function Columns({ pairs, onChange }) {
  const id = useId();
  const lines = [...pairs, { header: "", field: "" }];
  const change = (index, changes) => {
    const changed = lines.map((pair, place) => (place === index ? { ...pair, ...changes } : pair));
    onChange(changed.filter(({ header, field }) => header || field));
  };
  return html`<details class="column-names">
    <summary>${t("columns.title")}</summary>
    <p class="hint">${t("columns.text")} <${Go} path="columns">${t("columns.remembered")}<//></p>
    ${lines.map(
      ({ header, field }, index) => html`<div class="pair" key=${index}>
        <div class="field"><label for="${id}-header-${index}">${t("columns.header")}</label>
          <input id="${id}-header-${index}" type="text" autocomplete="off" value=${header}
            onInput=${(event) => change(index, { header: event.target.value })} /></div>
        <div class="field"><label for="${id}-field-${index}">${t("columns.field")}</label>
          <select id="${id}-field-${index}" value=${field}
            onChange=${(event) => change(index, { field: event.target.value })}>
            <option value=""></option>
            ${fieldNames().map((name) => html`<option key=${name} value=${name}>${fieldName(name)}</option>`)}
            <option value="leave">${t("columns.leave")}</option>
          </select></div>
      </div>`,
    )}
  </details>`;
}
