// Removing members, or giving them another status: those who fit the filters, or those of a file.
import { post, randomKey, sendForm } from "../api.js";
import { html, useId, useRef, useSignal } from "../html.js";
import { Bar, Question } from "../parts.js";
import { sendFile } from "../resumable.js";
import { go } from "../router.js";
import { show } from "../said.js";
import { KINDS } from "../sending.js";
import { t } from "../words.js";

/** given: the filters of the list, as the API takes them. */
export function Removal({ given }) {
  const id = useId();
  const what = useSignal("remove");
  const whom = useSignal("file");
  const asked = useSignal(null);
  const refused = useSignal(null);
  const isBusy = useSignal(false);
  const isTrial = useSignal(true);
  /** The share of the file that is sent, or null. */
  const transferred = useSignal(null);
  const status = useRef(null);
  const reason = useRef(null);
  const file = useRef(null);
  /** The chosen file, where its parts go, and the key of its request: a further try goes on with them. */
  const begun = useRef(null);
  const hasFilters = Object.keys(given).length > 0;
  const source = hasFilters ? whom.value : "file";

  async function attempt(work) {
    isBusy.value = true;
    refused.value = null;
    try {
      await work();
    } catch (error) {
      refused.value = error.message;
    }
    isBusy.value = false;
    transferred.value = null;
  }
  function sent({ message, data }) {
    show(message);
    go(`uploads/${data.job_id}`);
  }
  async function sendList(chosen, fields) {
    if (begun.current?.file !== chosen) begun.current = { file: chosen, at: null };
    const known = begun.current;
    try {
      return await sendBegun(known, fields);
    } catch (error) {
      // The server has removed the parts: the next try sends them all.
      if (error.status === 404) begun.current = null;
      throw error;
    }
  }
  async function sendBegun(known, fields) {
    const check_id = await sendFile(known.file, {
      at: known.at,
      onAddress: (at) => {
        known.at = at;
      },
      onProgress: ({ share }) => {
        transferred.value = share;
      },
      onCut: () => {},
      onRequest: () => {},
    });
    // The same request once more is the same upload; with other fields it is another request.
    const asked = JSON.stringify(fields);
    if (known.asked !== asked) Object.assign(known, { asked, key: randomKey() });
    return await sendForm("bulk-upload/process", { ...fields, check_id }, known.key);
  }
  function submit(event) {
    event.preventDefault();
    const body = { reason: reason.current.value.trim(), dry_run: isTrial.value };
    if (what.value === "status") body.new_status = status.current.value.trim();
    // The browser takes spaces for a text; a blank status would not be one.
    if (body.new_status === "") {
      refused.value = t("removal.status.blank");
      status.current.focus();
      return;
    }
    const [chosen] = file.current?.files ?? [];
    attempt(async () => {
      if (source === "file") {
        sent(await sendList(chosen, { ...body, kind: "removal" }));
        return;
      }
      const { data } = await post("members/removal", { ...given, ...body });
      asked.value = { ...given, ...body, members: data.members };
    });
  }
  function answer(yes) {
    const body = asked.value;
    asked.value = null;
    if (yes) attempt(async () => sent(await post("members/removal", body)));
  }
  const choice = (signal, name, key) => html`<label><input type="radio" name="${id}-${key}"
    checked=${signal.value === name} onChange=${() => {
      signal.value = name;
    }} /> ${t(`removal.${key}.${name}`)}</label>`;
  return html`<details class="card"><summary>${t("removal.title")}</summary>
    <p class="hint">${t("removal.lead")}</p>
    <form onSubmit=${submit}>
      ${
        hasFilters &&
        html`<fieldset class="checks"><legend>${t("removal.whom")}</legend>
          ${choice(whom, "file", "whom")} ${choice(whom, "filter", "whom")}</fieldset>`
      }
      ${
        source === "file" &&
        html`<div class="field"><label for="${id}-file">${t("removal.file")}</label>
          <input id="${id}-file" ref=${file} type="file" accept=${KINDS} required /></div>`
      }
      <fieldset class="checks"><legend>${t("removal.what")}</legend>
        ${choice(what, "remove", "what")} ${choice(what, "status", "what")}</fieldset>
      ${
        what.value === "status" &&
        html`<div class="field"><label for="${id}-status">${t("removal.status")}</label>
          <input id="${id}-status" ref=${status} type="text" autocomplete="off" required maxlength="200" /></div>`
      }
      <div class="field"><label for="${id}-reason">${t("removal.reason")}</label>
        <input id="${id}-reason" ref=${reason} type="text" autocomplete="off" required minlength="3"
          maxlength="500" /></div>
      <label class="switch"><input type="checkbox" role="switch" checked=${isTrial.value}
        onChange=${(event) => {
          isTrial.value = event.target.checked;
        }} />
        <span><strong>${t("removal.trial")}</strong><small>${t("removal.trial.hint")}</small></span></label>
      ${
        transferred.value !== null &&
        html`<${Bar} value=${Math.round(100 * transferred.value)} label=${t("removal.sending")} />`
      }
      ${refused.value && html`<p class="notice bad" role="alert">${refused.value}</p>`}
      <button type="submit" class=${isTrial.value ? "quiet" : "danger"}
        disabled=${isBusy.value}>${t("removal.go")}</button>
    </form>
    ${
      asked.value &&
      html`<${Question} title=${t("removal.sure", { n: asked.value.members })}
        text=${t(asked.value.dry_run ? "removal.sure.trial" : "removal.sure.text")} confirm=${t("removal.yes")}
        isDangerous=${!asked.value.dry_run} onAnswer=${answer} />`
    }</details>`;
}
