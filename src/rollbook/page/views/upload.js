// Sending files.
import { download } from "../api.js";
import { html, useRef, useSignal } from "../html.js";
import { Badge, Bar, Go, keepFocus, OutcomeBar } from "../parts.js";
import { attempt } from "../said.js";
import {
  checkEmptyText,
  choose,
  files,
  isDoubtful,
  isSending,
  KINDS,
  options,
  remove,
  removeDone,
  runTried,
  sendAgain,
  sendAll,
  skipCheck,
  stop,
} from "../sending.js";
import { mayRun, OUTCOMES, uploadSignal } from "../uploads.js";
import { duration, number, size, t, when } from "../words.js";
import { Check } from "./check.js";

export function Upload() {
  return html`<h1 tabindex="-1">${t("upload.title")}</h1>
    <p class="lead">${t("upload.lead")}</p>
    <div class="columns">
      <div>
        <${DropZone} />
        ${
          files.value.length > 0 &&
          html`
          <ul class="files" tabindex="-1" aria-label=${t("upload.files")}>${files.value.map(
            (entry) => html`<${File}
            key=${entry.peek().key} entry=${entry} />`,
          )}</ul>
          <${Actions} />`
        }
      </div>
      <${Options} />
    </div>`;
}

/** Do what a button asks for that goes with it; the focus stays with the files. */
const withFocus =
  (act, ...given) =>
  () => {
    act(...given);
    keepFocus(".files", ".drop button");
  };

/** What can be done with the files. Where something is doubtful, a dry run comes first. */
function Actions() {
  const entries = files.value.map((entry) => entry.value);
  const chosen = entries.filter(({ state }) => state === "chosen");
  const isChecking = entries.some(({ state, asking }) => asking || ["waiting", "checking"].includes(state));
  const isFirstTried = !options.value.dry_run && !isChecking && chosen.some(isDoubtful);
  const send = t(options.value.dry_run ? "upload.try" : "upload.send", { n: chosen.length });
  return html`${isFirstTried && html`<p class="hint">${t("upload.doubtful")}</p>`}
    <div class="actions">
    ${
      entries.some(({ state }) => state === "taken") &&
      html`<button type="button" class="quiet" onClick=${withFocus(removeDone)}>
      ${t("upload.clear")}</button>`
    }
    ${
      (chosen.length > 0 || isChecking || isSending.value) &&
      html`<button type="button" class=${isFirstTried ? "quiet" : ""} disabled=${isChecking || !chosen.length}
        onClick=${withFocus(sendAll)}>${isChecking ? t("upload.checking") : chosen.length ? send : t("upload.sending")}</button>`
    }
    ${
      isFirstTried &&
      html`<button type="button" onClick=${withFocus(sendAll, { dry_run: true })}>${t("upload.try_first")}</button>`
    }
    </div>`;
}

function DropZone() {
  const isOver = useSignal(false);
  const input = useRef(null);
  const over = (event) => {
    event.preventDefault();
    isOver.value = true;
  };
  const drop = (event) => {
    event.preventDefault();
    isOver.value = false;
    choose(event.dataTransfer.files);
  };
  const picked = () => {
    choose(input.current.files);
    input.current.value = "";
  };
  return html`<div class="drop ${isOver.value ? "over" : ""}" onDragOver=${over} onDragEnter=${over}
    onDragLeave=${() => {
      isOver.value = false;
    }} onDrop=${drop}>
    <svg viewBox="0 0 48 48" aria-hidden="true"><path
      d="M24 31V9m-8.500 8L24 8.500 32.500 17M8 30v6.500A3.500 3.500 0 0 0 11.500 40h25a3.500 3.500 0 0 0 3.500-3.500V30" /></svg>
    <p>${t("upload.drop")}</p>
    <input ref=${input} id="files" type="file" multiple accept=${KINDS} hidden onChange=${picked} />
    <button type="button" onClick=${() => input.current.click()}>${t("upload.choose")}</button>
    <p class="hint">${t("upload.kinds")}</p>
    <p class="hint">${t("upload.kept")}</p>
  </div>`;
}

/** The options of the files that are not sent yet. */
function Options() {
  const { dry_run, all_or_nothing, existing, empty_text } = options.value;
  const set = (name) => (value) => {
    options.value = { ...options.peek(), [name]: value };
  };
  return html`<section class="card options" aria-labelledby="options-title">
    <h2 id="options-title">${t("upload.options")}</h2>
    <label class="switch"><input type="checkbox" role="switch" checked=${dry_run}
      onChange=${(event) => set("dry_run")(event.target.checked)} />
      <span><strong>${t("upload.dry_run")}</strong><small>${t("upload.dry_run.hint")}</small></span></label>
    <label class="switch"><input type="checkbox" role="switch" checked=${all_or_nothing}
      onChange=${(event) => set("all_or_nothing")(event.target.checked)} />
      <span><strong>${t("upload.all_or_nothing")}</strong><small>${t("upload.all_or_nothing.hint")}</small></span>
        </label>
    <div class="field"><label for="existing">${t("upload.existing")}</label>
      <select id="existing" value=${existing} onChange=${(event) => set("existing")(event.target.value)}>
        ${["update", "fill", "skip"].map(
          (name) => html`<option key=${name} value=${name}>
          ${t(`upload.existing.${name}`)}</option>`,
        )}
      </select></div>
    <div class="field"><label for="empty-text">${t("upload.empty_text")}</label>
      <input id="empty-text" type="text" autocomplete="off" maxlength="40" aria-describedby="empty-text-hint"
        value=${empty_text} onInput=${(event) => set("empty_text")(event.target.value)}
        onChange=${checkEmptyText} />
      <p class="hint" id="empty-text-hint">${t("upload.empty_text.hint")}</p></div>
    <p><${Go} path="columns">${t("columns.remembered")}<//></p>
    <hr />
    <h2>${t("template.title")}</h2>
    <p class="hint">${t("template.text")}</p>
    <button type="button" class="quiet" onClick=${() => attempt(() => download("bulk-upload/template"))}>
      ${t("template.button")}</button>
  </section>`;
}

function File({ entry }) {
  const { file, state, transfer, error, jobId } = entry.value;
  const isTried = (entry.value.options ?? options.value).dry_run;
  return html`<li class="file ${state}">
    <div class="file-head">
      <span class="file-name">${file.name}</span>
      <span class="hint">${size(file.size)}${isTried ? ` · ${t("dry_run")}` : ""}</span>
    </div>
    ${
      ["waiting", "checking"].includes(state) &&
      html`${
        state === "checking" &&
        html`<${Bar} value=${100 * (transfer?.share ?? 1)} label=${t("file.checking.of", { file: file.name })} />`
      }
      <div class="file-foot">
        <span>${state === "waiting" ? t("file.check.waiting") : (transferInWords(entry.value) ?? t("file.check.reading"))}</span>
      <button type="button" class="text" aria-label=${t("file.check.skip.of", { file: file.name })}
        onClick=${withFocus(skipCheck, entry)}>${t("file.check.skip")}</button></div>`
    }
    ${
      state === "chosen" &&
      html`<div class="file-foot"><span>${t("file.chosen")}</span>
      <button type="button" class="text" aria-label=${t("file.remove.of", { file: file.name })}
        onClick=${withFocus(remove, entry)}>${t("file.remove")}</button></div>
      <${Check} entry=${entry} />`
    }
    ${
      state === "queued" &&
      html`<div class="file-foot"><span>${t("file.queued")}</span>
      <button type="button" class="text" aria-label=${t("file.stop.of", { file: file.name })}
        onClick=${withFocus(stop, entry)}>${t("file.stop")}</button></div>`
    }
    ${
      state === "sending" &&
      html`<${Bar} value=${100 * (transfer?.share ?? 1)} label=${t("file.sending.of", { file: file.name })} />
      <div class="file-foot">
        <span>${transferInWords(entry.value) ?? t("file.checking")}</span>
      <button type="button" class="text" aria-label=${t("file.stop.of", { file: file.name })}
        onClick=${withFocus(stop, entry)}>${t("file.stop")}</button></div>`
    }
    ${state === "taken" && html`<${Taken} entry=${entry} jobId=${jobId} name=${file.name} />`}
    ${state === "refused" && html`<${Refused} entry=${entry} error=${error} />`}
  </li>`;
}

/** How far the file is on its way; null: it is there. */
function transferInWords({ file, transfer, isCut }) {
  if (isCut) return t("file.cut");
  if (!transfer || transfer.share === 1) return null;
  const { sent, secondsLeft } = transfer;
  const known = { sent: size(sent), total: size(file.size) };
  if (secondsLeft === null) return t("file.sending", known);
  return t("file.sending.left", { ...known, time: duration(Math.max(1, secondsLeft)) });
}

/** A file that is an upload now. After a dry run its outcome is beside the button that runs it for real. */
function Taken({ entry, jobId, name }) {
  const isBusy = useSignal(false);
  const upload = uploadSignal(jobId).value;
  const run = async () => {
    isBusy.value = true;
    await attempt(() => runTried(entry));
    isBusy.value = false;
    keepFocus(".files");
  };
  return html`${
    upload?.status === "processing" &&
    html`<${Bar} value=${upload.progress}
    label=${t("progress.of", { file: name })} />`
  }
    <div class="file-foot">${
      upload
        ? html`<${Badge} status=${upload.status} upload=${upload} />`
        : html`<span>
      ${t("file.taken")}</span>`
    }
      <${Go} path="uploads/${jobId}">${t("file.open")}<span class="unseen"> ${name}</span><//></div>
    ${
      upload &&
      mayRun(upload) &&
      html`<${OutcomeBar} outcomes=${upload.outcomes} />
      <div class="file-foot"><span>${inWords(upload.outcomes)}</span>
        <button type="button" disabled=${isBusy.value} onClick=${run}>${t("action.run")}<span class="unseen">: ${name}</span></button>
      </div>`
    }`;
}

/** The outcomes that there are, each with its rows. */
const inWords = (outcomes) =>
  OUTCOMES.filter((outcome) => outcomes[outcome])
    .map((outcome) => `${t(`outcome.${outcome}`)} ${number(outcomes[outcome])}`)
    .join(" · ");

/** What went wrong, and what to do: for a file that was sent before, see it or send it anyway. */
function Refused({ entry, error }) {
  const isRepeat = error.code === "duplicate_upload";
  return html`<div class="notice ${isRepeat ? "" : "bad"}">
    <p><strong>${isRepeat ? t("file.repeat") : t("file.refused")}</strong></p>
    <p>${isRepeat ? t("file.repeat.when", { file: error.more.file_name, when: when(error.more.created_at) }) : error.message}</p>
    ${isRepeat && html`<p>${t("file.repeat.text")}</p>`}
    <div class="actions">
      ${
        isRepeat &&
        html`<${Go} class="button" path="uploads/${error.more.job_id}">${t("file.repeat.open")}<//>
        <button type="button" class="quiet" onClick=${withFocus(sendAgain, entry, { allow_duplicate: true })}>
          ${t("file.repeat.send")}</button>`
      }
      ${
        (error.isPassing || error.code === "stopped") &&
        html`<button type="button" onClick=${withFocus(sendAgain, entry)}>
        ${t("again")}</button>`
      }
      <button type="button" class="text" onClick=${withFocus(remove, entry)}>${t("file.remove")}</button>
    </div></div>`;
}
