// One member: what is known and where from, what changed it, and what can be done.
import { get, isOperator, post, request } from "../api.js";
import { fieldName } from "../fields.js";
import { html, useId, useRef, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Go, Loading, Question } from "../parts.js";
import { go } from "../router.js";
import { attempt, show } from "../said.js";
import { t, when } from "../words.js";
import { FileButton } from "./members.js";

/** What an ID number says, and what follows from another field, can't be corrected. */
const FOLLOW = ["date_of_birth", "gender", "citizenship", "expiry_is_derived"];

export function OneMember({ id }) {
  const { data, error, reload } = useLoaded(() => get(`members/${id}`), [id]);
  if (error && !data)
    return html`<h1 tabindex="-1">${t("member.title")}</h1>
      <${Failure} error=${error} onRetry=${error.isPassing && reload} />
      <p><${Go} path="members">${t("member.back")}<//></p>`;
  if (!data) return html`<h1 tabindex="-1">${t("member.title")}</h1><${Loading} />`;
  const { firstname, surname } = data.fields;
  return html`<p class="back"><${Go} path="members">${t("member.back")}<//></p>
    <h1 tabindex="-1">${surname}, ${firstname}</h1>
    <${Fields} member=${data} />
    <${Correct} key=${data.version} member=${data} reload=${reload} />
    <${History} member=${data} />
    <${Uploads} member=${data} />
    <${Actions} member=${data} />`;
}

/** The values of all fields, the organisation's own after the built-in ones. */
const valuesOf = ({ fields, own_fields: own }) => ({
  ...fields,
  ...Object.fromEntries(own.map(({ field, value }) => [field, value])),
});

function Fields({ member }) {
  const id = useId();
  const shown = Object.entries(valuesOf(member)).filter(([, value]) => value !== null);
  return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${t("member.fields")}</h2>
    <dl class="facts">
      <div><dt>${t("field.id_number")}</dt><dd><${Number13} member=${member} /></dd></div>
      <div><dt>${t("members.roll")}</dt><dd>${t(`members.roll.${member.roll.status}`)}${
        member.roll.asked_at && html` <small>${when(member.roll.asked_at)}</small>`
      }</dd></div>
      ${shown.map(
        ([name, value]) => html`<div key=${name}><dt>${fieldName(name)}</dt><dd>${text(value)}
        <small class="hint"><${From} source=${member.sources[name]} /></small></dd></div>`,
      )}
    </dl></section>`;
}

const text = (value) => (typeof value === "boolean" ? t(value ? "member.yes" : "member.no") : value);

/** The ID number: masked, until somebody who may opens it. */
function Number13({ member }) {
  const opened = useSignal(null);
  if (opened.value) return html`<span>${opened.value}</span>`;
  const open = () =>
    attempt(async () => {
      const { message, data } = await post(`members/${member.member_id}/id-number`);
      opened.value = data.id_number;
      return { message };
    });
  return html`<span>${member.id_number}</span> ${
    isOperator.value && html`<button type="button" class="quiet" onClick=${open}>${t("member.open")}</button>`
  }`;
}

/** Where a value comes from, in words. */
function From({ source }) {
  if (!source) return null;
  const { how, at, job_id: job, row_number: row, by, reason, is_certain: isCertain } = source;
  const on = at ? when(at) : "";
  if (how === "correction") return t("member.from.correction", { by: by ?? t("member.other_office"), at: on, reason });
  if (how === "elsewhere") return t("member.from.elsewhere", { at: on });
  const words = row ? t("member.from.row", { row, at: on }) : t("member.from.upload", { at: on });
  const said = isCertain ? words : t("member.from.earlier", { at: on });
  return job ? html`<${Go} path="uploads/${job}">${said}<//>` : `${said} (${t("member.other_office")})`;
}

/** One field at a time, with the reason. */
function Correct({ member, reload }) {
  const id = useId();
  const values = valuesOf(member);
  const names = Object.keys(values).filter((name) => !FOLLOW.includes(name));
  const name = useSignal("cell_number");
  const refused = useSignal(null);
  const isBusy = useSignal(false);
  const value = useRef(null);
  const reason = useRef(null);
  async function submit(event) {
    event.preventDefault();
    isBusy.value = true;
    refused.value = null;
    const fields = { [name.value]: value.current.value.trim() || null };
    const body = { version: member.version, reason: reason.current.value.trim(), fields };
    try {
      const { message } = await request("PATCH", `members/${member.member_id}`, { body });
      show(message);
      reload();
    } catch (error) {
      refused.value = error.more?.errors?.map((one) => one.message).join(" ") || error.message;
    }
    isBusy.value = false;
  }
  return html`<section class="card" aria-labelledby="${id}-title"><h2 id="${id}-title">${t("member.correct")}</h2>
    <p class="hint">${t("member.correct.lead")}</p>
    <form onSubmit=${submit}>
      <div class="field"><label for="${id}-field">${t("changes.field")}</label>
        <select id="${id}-field" value=${name.value} onChange=${(event) => {
          name.value = event.target.value;
        }}>${names.map((one) => html`<option key=${one} value=${one}>${fieldName(one)}</option>`)}</select></div>
      <div class="field"><label for="${id}-value">${t("member.value")}</label>
        <input id="${id}-value" key=${name.value} ref=${value} type="text" autocomplete="off" maxlength="2000"
          value=${values[name.value] ?? ""} aria-describedby="${id}-hint" /></div>
      <p class="hint" id="${id}-hint">${t("member.value.hint")}</p>
      <div class="field"><label for="${id}-reason">${t("member.reason")}</label>
        <input id="${id}-reason" ref=${reason} type="text" autocomplete="off" required minlength="3" maxlength="500" /></div>
      ${refused.value && html`<p class="notice bad" role="alert">${refused.value}</p>`}
      <button type="submit" class="quiet" disabled=${isBusy.value}>${t("member.correct.button")}</button>
    </form></section>`;
}

function History({ member }) {
  const id = useId();
  return html`<section class="card ledger" aria-labelledby=${id}><h2 id=${id}>${t("member.history")}</h2>
    <p class="hint">${t("member.history.lead")}</p>
    <div class="table" tabindex="0" role="region" aria-label=${t("member.changes")}><table>
      <thead><tr><th scope="col">${t("member.what")}</th><th scope="col">${t("changes.field")}</th><th
        scope="col">${t("changes.before")}</th><th scope="col">${t("changes.after")}</th></tr></thead>
      <tbody>${member.history.flatMap((event, number) =>
        Object.entries(event.fields).map(
          ([name, { before, after }]) => html`<tr key=${`${number}-${name}`}>
        <th scope="row"><${From} source=${event.source} /></th>
        <td data-label=${t("changes.field")}>${fieldName(name)}</td>
        <td data-label=${t("changes.before")}>${before ?? t("rows.empty")}</td>
        <td data-label=${t("changes.after")}>${after ?? t("rows.empty")}</td></tr>`,
        ),
      )}</tbody></table></div></section>`;
}

function Uploads({ member }) {
  const id = useId();
  return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${t("member.uploads")}</h2>
    ${member.uploads.length === 0 && html`<p>${t("member.uploads.none")}</p>`}
    <ul>${member.uploads.map(
      (one) => html`<li key=${one.job_id}><${Go} path="uploads/${one.job_id}">${one.file_name}<//>
      <small> ${t(`member.how.${one.how}`)}${one.row_number ? `, ${t("member.row", { row: one.row_number })}` : ""}${
        one.undone_at ? `, ${t("undone")}` : ""
      }</small></li>`,
    )}</ul></section>`;
}

function Actions({ member }) {
  const id = useId();
  const path = `members/${member.member_id}`;
  return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${t("member.person")}</h2>
    <p class="hint">${t("member.person.lead")}</p>
    <div class="actions left">${["xlsx", "json"].map(
      (format) => html`<${FileButton} key=${format} label=${t(`member.access.${format}`)}
        ask=${() => post(`${path}/access`, { format })} />`,
    )}</div>
    ${isOperator.value && html`<${Erase} path=${path} />`}</section>`;
}

/** Erasing asks twice: for a reason, and whether it is meant. */
function Erase({ path }) {
  const id = useId();
  const reason = useSignal("");
  const isAsked = useSignal(false);
  const refused = useSignal(null);
  async function answer(yes) {
    isAsked.value = false;
    if (!yes) return;
    try {
      const { message } = await post(`${path}/erase`, { reason: reason.value.trim(), confirm: true });
      show(message);
      go("members");
    } catch (error) {
      refused.value = error.message;
    }
  }
  return html`<form onSubmit=${(event) => {
    event.preventDefault();
    refused.value = null;
    isAsked.value = true;
  }}>
    <div class="field"><label for=${id}>${t("member.erase.reason")}</label>
      <input id=${id} type="text" autocomplete="off" required minlength="3" maxlength="500" value=${reason.value}
        aria-describedby="${id}-hint" onInput=${(event) => {
          reason.value = event.target.value;
        }} /></div>
    <p class="hint" id="${id}-hint">${t("member.erase.hint")}</p>
    ${refused.value && html`<p class="notice bad" role="alert">${refused.value}</p>`}
    <button type="submit" class="danger">${t("member.erase")}</button>
    ${
      isAsked.value &&
      html`<${Question} title=${t("member.erase.title")} text=${t("member.erase.text")} confirm=${t("member.erase")}
        isDangerous onAnswer=${answer} />`
    }</form>`;
}
