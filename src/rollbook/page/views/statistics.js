// What the office's uploads came to, over time.
import { get } from "../api.js";
import { html, useId } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading } from "../parts.js";
import { place, refine } from "../router.js";
import { listChanged, OUTCOMES } from "../uploads.js";
import { day, duration, number, percent, t } from "../words.js";
import { Bars, Columns } from "./charts.js";

const PERIODS = [7, 30, 90];

export function Statistics() {
  const id = useId();
  const asked = Number(place.value.query.get("days"));
  const days = PERIODS.includes(asked) ? asked : 30;
  const totals = useLoaded(() => get("bulk-upload/stats"), [], [listChanged]);
  const { data, error, isLoading, reload } = useLoaded(
    () => get("bulk-upload/stats/over-time", { days }),
    [days],
    [listChanged],
  );
  return html`<h1 tabindex="-1">${t("statistics.title")}</h1>
    ${
      (error ?? totals.error) &&
      html`<${Failure} error=${error ?? totals.error} onRetry=${() => {
        reload();
        totals.reload();
      }} />`
    }
    ${totals.data && html`<${Totals} of=${totals.data} />`}
    <div class="filters"><div class="field"><label for=${id}>${t("statistics.period")}</label>
      <select id=${id} value=${days} onChange=${(event) => refine({ days: event.target.value })}>
        ${PERIODS.map((n) => html`<option key=${n} value=${n}>${t("statistics.days", { n })}</option>`)}</select>
          </div></div>
    ${!data && !error && html`<${Loading} />`}
    ${data && html`<div class="charts ${isLoading ? "stale" : ""}"><${Charts} of=${data} /></div>`}`;
}

function Totals({ of }) {
  const tiles = [
    ["statistics.uploads", number(of.uploads)],
    ["statistics.rows", number(of.rows)],
    ...["new", "renewed", "early", "expired"].map((name) => [`renewals.${name}`, number(of.renewals[name])]),
    ["statistics.success", of.success_rate === null ? "–" : percent(of.success_rate)],
    ["statistics.median", of.median_seconds === null ? "–" : duration(of.median_seconds)],
  ];
  return html`<dl class="tiles">${tiles.map(
    ([key, value]) => html`<div key=${key} class="card tile"><dt>
    ${t(key)}</dt><dd>${value}</dd></div>`,
  )}</dl>`;
}

function Charts({ of: { days, stages } }) {
  const items = (values) => days.map((one) => ({ key: one.day, label: day(one.day), values: values(one) }));
  const sums = OUTCOMES.map((name) => ({
    key: name,
    kind: name,
    label: t(`outcome.${name}`),
    value: days.reduce((sum, one) => sum + one.outcomes[name], 0),
  }));
  const rows = sums.reduce((sum, { value }) => sum + value, 0);
  return html`
    <div class="card"><${Columns} title=${t("statistics.by_day")} format=${number}
      items=${items(({ completed, failed, cancelled }) => ({ completed, failed, cancelled }))}
      series=${[
        { name: "completed", label: t("status.completed"), pattern: "plain" },
        { name: "failed", label: t("status.failed"), pattern: "hatch" },
        { name: "cancelled", label: t("status.cancelled"), pattern: "dots" },
      ]} /></div>
    <div class="card"><${Columns} title=${t("statistics.rows_by_day")} format=${number}
      items=${items((one) => ({ rows: one.rows }))}
      series=${[{ name: "rows", label: t("statistics.rows"), pattern: "plain" }]} /></div>
    <div class="card"><${Bars} title=${t("statistics.outcomes")} format=${number}
      items=${sums.map((item) => ({ ...item, note: rows && item.value ? percent(item.value / rows) : "" }))} /></div>
    <div class="card"><${Bars} title=${t("statistics.stages")} format=${duration}
      items=${stages.map(({ stage, median_seconds, p95_seconds }) => ({
        key: stage,
        label: t(`stage.${stage}`),
        value: median_seconds,
        note: t("statistics.p95", { time: duration(p95_seconds) }),
      }))} /></div>`;
}
