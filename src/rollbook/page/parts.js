// Small parts that several views are made of.
import { post } from "./api.js";
import { html, useEffect, useId, useRef, useSignal } from "./html.js";
import { to } from "./router.js";
import { OUTCOMES, REFUSED, STATUSES } from "./uploads.js";
import { duration, number, percent, t } from "./words.js";

/**
 * Where the button that has the focus goes with what it does, have the first of these take the focus.
 * Otherwise a person without a mouse starts again at the top of the page.
 */
export function keepFocus(...selectors) {
  requestAnimationFrame(() => {
    const at = document.activeElement;
    if (at !== document.body && !at.disabled) return;
    selectors.map((selector) => document.querySelector(selector)).find(Boolean)?.focus();
  });
}

/** A link. */
export const Go = ({ path, query, children, ...more }) =>
  html`<a href=${to(path, query)} ...${more}>${children}</a>`;

/** Sheets with members that a person can see and that were not read, where nobody chose the sheet. */
const sheetsOverlooked = ({ sheet, sheets_not_read: sheets = [] }) =>
  sheet ? [] : sheets.filter((one) => one.holds_members && !one.is_hidden);

/** How an upload has completed: as a colour, and in words where rows need attention. */
function completion(upload) {
  const { outcomes, rows_total: total, rows_needing_attention: rows } = upload;
  const refused = outcomes ? REFUSED.reduce((sum, name) => sum + outcomes[name], 0) : 0;
  const n = Math.max(refused, rows ?? 0);
  const unread = sheetsOverlooked(upload).length;
  if (!n && unread) return { look: "pending", words: t("status.sheets_not_read", { n: unread }) };
  if (!n) return { look: "completed", words: t("status.completed") };
  const isAll = refused === total;
  return { look: isAll ? "failed" : "pending", words: t(isAll ? "status.all_refused" : "status.attention", { n }) };
}

/** What state an upload is in: a word and a shape, so that it doesn't hang on the colour. */
export function Badge({ status, upload }) {
  const { look, words } =
    status === "completed" && upload ? completion(upload) : { look: status, words: t(`status.${status}`) };
  const shapes = {
    pending: html`<circle cx="6" cy="6" r="4.2" fill="none"
      stroke="currentColor" stroke-width="1.6" stroke-dasharray="2.2 1.7" />`,
    processing: html`<path d="M6 1.5a4.5 4.5 0 1 1-4.5 4.500" fill="none"
      stroke="currentColor" stroke-width="1.8" stroke-linecap="round" />`,
    completed: html`<path d="m2 6.500 2.700 2.700L10 3.500" fill="none"
      stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" />`,
    failed: html`<path d="M6 1.800v5M6 9.800v.2" fill="none"
      stroke="currentColor" stroke-width="2.200" stroke-linecap="round" />`,
    cancelled: html`<path d="M2.500 6h7" fill="none"
      stroke="currentColor" stroke-width="2" stroke-linecap="round" />`,
  };
  return html`<span class="badge ${look}"><svg viewBox="0 0 12 12" aria-hidden="true">${shapes[look === "pending" && status === "completed" ? "failed" : look]}</svg>
    ${words}</span>`;
}

/** A bar with how far something is. */
export function Bar({ value, max = 100, label }) {
  return html`<div class="bar" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax=${max}
    aria-valuenow=${Math.round(value)} aria-valuetext=${percent(value / max)}><div
      style=${{ width: `${(100 * value) / max}%` }}></div></div>`;
}

/** Each outcome's share as a stretch of one bar. The numbers are beside it, so it is decoration. */
export function OutcomeBar({ outcomes }) {
  const total = OUTCOMES.reduce((sum, name) => sum + outcomes[name], 0);
  if (!total) return null;
  return html`<div class="outcome-bar" aria-hidden="true">${OUTCOMES.filter((name) => outcomes[name]).map(
    (name) => html`
    <div key=${name} class="fill ${name}" style=${{ flexGrow: outcomes[name] / total }}></div>`,
  )}</div>`;
}

/** The outcomes as numbers, with the sample of each one's pattern. */
export function OutcomeNumbers({ outcomes }) {
  const total = OUTCOMES.reduce((sum, name) => sum + outcomes[name], 0);
  return html`<dl class="outcomes">${OUTCOMES.map(
    (name) => html`
    <div key=${name} class=${outcomes[name] ? "" : "none"}>
      <dt><span class="sample fill ${name}" aria-hidden="true"></span>${t(`outcome.${name}`)}</dt>
      <dd>${number(outcomes[name])}${total > 0 && outcomes[name] > 0 && html` <small>
        ${percent(outcomes[name] / total)}</small>`}</dd>
    </div>`,
  )}</dl>`;
}

/**
 * The way through the pages of a list; `isByTime`: its newest come first. Of a long list the total is an estimate: a page
 * that isn't full is the last one, and one that is may have another after it.
 */
export function Pager({ page, pageSize, of, onPage, label, isByTime = false }) {
  const words = isByTime ? ["pager.before", "pager.after"] : ["pager.first", "pager.next"];
  const { total, total_is_exact: isExact = true, items, ids = items } = of;
  const isFull = ids.length >= pageSize;
  const counted = Math.max(1, Math.ceil(total / pageSize));
  const pages = isExact ? counted : isFull ? Math.max(counted, page + 1) : page;
  if (pages === 1) return null;
  return html`<nav class="pager" aria-label=${label}>
    <button type="button" class="quiet" disabled=${page <= 1} onClick=${() => onPage(page - 1)}>
      ${t(words[0])}</button>
    <span>${t("pager.where", { page, pages })}</span>
    <button type="button" class="quiet" disabled=${page >= pages} onClick=${() => onPage(page + 1)}>
      ${t(words[1])}</button>
  </nav>`;
}

/** A failure with the API's message, and a button to try again where that may help. */
export function Failure({ error, onRetry }) {
  return html`<div class="notice bad" role="alert"><p>${error.message}</p>
    ${onRetry && html`<button type="button" class="quiet" onClick=${onRetry}>${t("again")}</button>`}</div>`;
}

export const Loading = () => html`<p class="loading">${t("loading")}</p>`;

/** Statuses to choose from. */
export function StatusChoice({ value, onChange }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${t("filter.status")}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      <option value="">${t("filter.all")}</option>
      ${STATUSES.map((name) => html`<option key=${name} value=${name}>${t(`status.${name}`)}</option>`)}
    </select></div>`;
}

/** A field to search by. */
export function Search({ value, onInput, label }) {
  const id = useId();
  return html`<div class="field search"><label for=${id}>${label}</label>
    <input id=${id} type="search" autocomplete="off" spellcheck=${false} maxlength="200" value=${value}
      onInput=${(event) => onInput(event.target.value)} /></div>`;
}

/** A question before something that can't be taken back. `onAnswer` gets true or false. */
export function Question({ title, text, confirm, isDangerous = false, onAnswer, children }) {
  const dialog = useRef(null);
  const id = useId();
  const yes = useRef(false);
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  const end = (answer) => {
    yes.current = answer;
    dialog.current.close();
  };
  return html`<dialog ref=${dialog} aria-labelledby="${id}-title" aria-describedby="${id}-text"
    onClose=${() => onAnswer(yes.current)}>
    <h2 id="${id}-title">${title}</h2>
    <p id="${id}-text">${text}</p>
    ${children}
    <div class="actions">
      <button type="button" class="quiet" onClick=${() => end(false)}>${t("question.no")}</button>
      <button type="button" class=${isDangerous ? "danger" : ""} onClick=${() => end(true)}>${confirm}</button>
    </div></dialog>`;
}

/** Something that is shown this once, to be copied. */
export function Once({ title, label, value, text, onDone }) {
  const id = useId();
  const field = useRef(null);
  useEffect(() => {
    field.current.focus();
    field.current.select();
  }, []);
  return html`<section class="card who" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${title}</h2>
    <div class="field"><label for="${id}-value">${label}</label>
      <input id="${id}-value" ref=${field} class="code" readonly value=${value} autocomplete="off"
        aria-describedby="${id}-text" /></div>
    <p class="hint" id="${id}-text">${text}</p>
    <button type="button" onClick=${onDone}>${t("once.done")}</button></section>`;
}

/** A button that asks whether to cancel an upload, and has `act` do it. */
export function CancelButton({ upload, act, disabled = false, children, ...more }) {
  const isAsked = useSignal(false);
  const answer = (yes) => {
    isAsked.value = false;
    if (yes) act(() => post(`bulk-upload/cancel/${upload.job_id}`));
  };
  return html`<button type="button" disabled=${disabled} ...${more} onClick=${() => {
    isAsked.value = true;
  }}>${t("action.cancel")}${children}</button>
  ${
    isAsked.value &&
    html`<${Question} title=${t("cancel.title")} text=${t("cancel.text", { file: upload.file_name })}
      confirm=${t("cancel.yes")} isDangerous onAnswer=${answer} />`
  }`;
}

/** What a merge waits for, or the speed and time left of a running upload, in one line. */
export function Pace({ upload, left }) {
  if (upload.waits_since && upload.waits_for)
    return html`<span><${Go} path="uploads/${upload.waits_for}">${t("pace.upload", { id: upload.waits_for.slice(0, 8) })}<//></span>`;
  if (upload.waits_since) return html`<span>${t("pace.members")}</span>`;
  const said = [];
  if (upload.rows_per_second) said.push(t("pace.rows", { rate: number(upload.rows_per_second) }));
  if (left !== null) said.push(t("pace.left", { time: duration(left) }));
  return said.length > 0 && html`<span>${said.join(" · ")}</span>`;
}
