// Charts as plain SVG. Each has its figures in a table too; patterns and labels repeat what colours
// say, so nothing depends on seeing them.
import { html, useEffect, useId, useRef, useSignal } from "../html.js";
import { t } from "../words.js";

const HEIGHT = 220;
const BOTTOM = 28;
const TOP = 14;
/** Pixels that a digit of an axis takes, and a day below it with room around. */
const DIGIT = 8;
const DAY = 76;

/** How wide an element is, in pixels, so that letters in a drawing are as large on a telephone. */
function useWidth() {
  const element = useRef(null);
  const width = useSignal(480);
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => {
      width.value = Math.max(160, Math.round(contentRect.width));
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width.value];
}

/** A round number at or above the greatest value, and the steps up to it. */
function scale(greatest) {
  const rough = Math.max(greatest, 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(
    1,
    [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough),
  );
  const steps = Math.ceil(Math.max(greatest, 1) / step);
  return { top: steps * step, ticks: Array.from({ length: steps + 1 }, (_, index) => index * step) };
}

/** Hatches and dots, to be laid over a colour. */
function Patterns({ id }) {
  return html`<defs>
    <pattern id="${id}-hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect
      width="2.2" height="5" class="pattern-mark" /></pattern>
    <pattern id="${id}-dots" width="5" height="5" patternUnits="userSpaceOnUse"><circle cx="2.5" cy="2.5" r="1.4"
      class="pattern-mark" /></pattern>
  </defs>`;
}

/** A rectangle in a series' colour and pattern. */
function Block({ id, name, pattern, ...box }) {
  return html`<rect class="series ${name}" ...${box} />${
    pattern !== "plain" &&
    html`<rect
    fill="url(#${id}-${pattern})" ...${box} />`
  }`;
}

/**
 * Columns over time, stacked from series.
 *
 * items: [{key, label, values: {series: number}}]; series: [{name, label, pattern}], where pattern
 * is "plain", "hatch" or "dots".
 */
export function Columns({ title, items, series, format }) {
  const sum = (item) => series.reduce((total, { name }) => total + item.values[name], 0);
  if (!items.some(sum)) return html`<${Empty} title=${title} />`;
  return html`<${Plot} ...${{ title, items, series, format, sum }} />`;
}

function Plot({ title, items, series, format, sum }) {
  const id = useId();
  const [figure, width] = useWidth();
  const { top, ticks } = scale(Math.max(...items.map(sum)));
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const left = DIGIT * (1 + Math.max(...ticks.map((tick) => format(tick).length)));
  const step = (width - left) / items.length;
  const thickness = Math.max(1, Math.min(34, step * 0.72));
  const last = items.length - 1;
  const every = Math.ceil(DAY / step);
  return html`<figure ref=${figure} class="chart" aria-labelledby="${id}-title">
    <figcaption id="${id}-title">${title}</figcaption>
    ${
      series.length > 1 &&
      html`<ul class="legend">${series.map(
        ({ name, label, pattern }) => html`<li key=${name}>
      <svg viewBox="0 0 14 14" aria-hidden="true"><${Block} id=${id} name=${name} pattern=${pattern} width="14"
      height="14" rx="2" /></svg>${label}</li>`,
      )}</ul>`
    }
    <svg class="plot" viewBox="0 0 ${width} ${HEIGHT}" height=${HEIGHT} role="img" aria-label=${t("chart.see_table", { title })}>
      <${Patterns} id=${id} />
      ${ticks.map(
        (tick) => html`<g key=${tick}><line
        class="grid" x1=${left} x2=${width} y1=${y(tick)} y2=${y(tick)} /><text class="axis" x=${left - DIGIT}
        y=${y(tick) + 4} text-anchor="end">${format(tick)}</text></g>`,
      )}
      ${items.map((item, index) => {
        const x = left + step * index + (step - thickness) / 2;
        let below = 0;
        return html`<g key=${item.key}>
          <title>${item.label}: ${series.map(({ name, label }) => `${label} ${format(item.values[name])}`).join(", ")}</title>
          ${series.map(({ name, pattern }) => {
            const from = below;
            below += item.values[name];
            return (
              item.values[name] > 0 &&
              html`<${Block} key=${name} id=${id} name=${name} pattern=${pattern} x=${x} width=${thickness} y=${y(below)}
                height=${Math.max(1, y(from) - y(below))} />`
            );
          })}
          ${
            (last - index) % every === 0 &&
            html`<text class="axis" x=${index === last ? width : x + thickness / 2} y=${HEIGHT - 6}
              text-anchor=${index === last ? "end" : "middle"}>${item.label}</text>`
          }</g>`;
      })}
    </svg>
    <${Table} of="${id}-title" head=${[t("chart.day"), ...series.map(({ label }) => label)]}
      rows=${items.filter((item) => sum(item)).map((item) => [item.label, ...series.map(({ name }) => format(item.values[name]))])} />
  </figure>`;
}

/** Bars side by side, each with its label and its figure. items: [{key, label, value, note, kind}]. */
export function Bars({ title, items, format }) {
  const id = useId();
  const greatest = Math.max(...items.map(({ value }) => value));
  if (!(greatest > 0)) return html`<${Empty} title=${title} />`;
  const share = (value) => ({ width: `${(100 * value) / greatest}%` });
  return html`<figure class="chart" aria-labelledby="${id}-title">
    <figcaption id="${id}-title">${title}</figcaption>
    <dl class="bars">${items.map(
      ({ key, label, value, note, kind = "plain" }) => html`<div key=${key}>
        <dt>${label}</dt>
        <dd><span class="bar-line" aria-hidden="true">
          ${value > 0 && html`<span class="fill ${kind}" style=${share(value)}></span>`}</span>
        <span class="bar-value"><span>${format(value)}</span>${note && html` <small>${note}</small>`}</span></dd>
      </div>`,
    )}</dl>
  </figure>`;
}

function Empty({ title }) {
  const id = useId();
  return html`<figure class="chart" aria-labelledby=${id}><figcaption id=${id}>${title}</figcaption>
    <p class="hint">${t("chart.nothing")}</p></figure>`;
}

/** The figures of a chart. `of` is the id of its title, which names the table's region too. */
function Table({ of, head, rows }) {
  return html`<details class="as-table"><summary>${t("chart.table")}</summary>
    <div class="table" tabindex="0" role="region" aria-labelledby=${of}><table>
      <thead><tr>${head.map((name, index) => html`<th key=${index} scope="col" class=${index ? "n" : ""}>${name}</th>`)}</tr></thead>
      <tbody>${rows.map(
        ([label, ...figures]) => html`<tr key=${label}><th scope="row">${label}</th>${figures.map(
          (figure, index) => html`<td key=${index} class="n">${figure}</td>`,
        )}</tr>`,
      )}</tbody></table></div></details>`;
}
