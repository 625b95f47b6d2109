// The stored reports, for operators: how many, how large, how old.
import { get } from "../api.js";
import { html, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading } from "../parts.js";
import { number, size, t, when } from "../words.js";

/** Asked for only when it is opened: the store lists all its files for it. */
export function StoredReports() {
  const isOpen = useSignal(false);
  return html`<details class="card stored" onToggle=${(event) => {
    isOpen.value = event.target.open;
  }}><summary>${t("stored.title")}</summary>${isOpen.value && html`<${Holdings} />`}</details>`;
}

function Holdings() {
  const { data, error, reload } = useLoaded(() => get("bulk-upload/reports/stats"));
  if (error) return html`<${Failure} error=${error} onRetry=${reload} />`;
  if (!data) return html`<${Loading} />`;
  const tiles = [
    ["stored.files", number(data.reports)],
    ["stored.bytes", size(data.bytes)],
    ["stored.oldest", data.oldest_at ? when(data.oldest_at) : "–"],
    ["stored.orphans", number(data.orphans)],
  ];
  return html`<dl class="tiles">${tiles.map(
    ([name, value]) => html`<div key=${name} class="card tile"><dt>${t(name)}</dt><dd>${value}</dd></div>`,
  )}</dl><p class="hint">${t("stored.kept", { n: data.retention_days })}</p>`;
}
