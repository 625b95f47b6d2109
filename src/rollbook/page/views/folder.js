// The watched folder, for operators: whether files are taken, its watchers and their problems.
import { post } from "../api.js";
import { html, useRef, useSignal } from "../html.js";
import { Failure, Question } from "../parts.js";
import { attempt } from "../said.js";
import { t, time, when } from "../words.js";

/** `loaded` is the answer {message, data} of the folder's status. */
export function Folder({ loaded: { data: answer, error, reload } }) {
  const isAsked = useSignal(false);
  const wasWatched = useRef(false);
  if (error) return html`<section class="card"><h2>${t("folder.title")}</h2>
    <${Failure} error=${error} onRetry=${reload} /></section>`;
  if (!answer) return null;
  const { is_running: isRunning, changed_at: at, changed_by: by, watchers } = answer.data;
  // Hidden where no folder is watched; but a folder whose last watcher has ended must show.
  wasWatched.current ||= watchers.length > 0 || by !== null;
  if (!wasWatched.current) return null;
  const act = isRunning ? "stop" : "start";
  const change = async (yes) => {
    isAsked.value = false;
    if (!yes) return;
    await attempt(() => post(`bulk-upload/monitor/${act}`));
    reload();
  };
  const state = !watchers.length ? "folder.is_alone" : isRunning ? "folder.runs" : "folder.is_stopped";
  const isHealthy = watchers.length > 0 && isRunning && !watchers.some(({ problem }) => problem);
  return html`<section class="folder" aria-labelledby="folder-title"><h2 id="folder-title">${t("folder.title")}</h2>
    <div class="levers card ${isHealthy ? "" : "paused"}">
      <p><strong>${t(state)}</strong> <span class="hint">${answer.message}${
        by && ` ${t(isRunning ? "folder.started_by" : "folder.stopped_by", { by, when: when(at) })}`
      }</span></p>
      ${
        watchers.length > 0 &&
        html`<div class="actions"><button type="button" class=${isRunning ? "quiet" : ""} onClick=${() => {
          isAsked.value = true;
        }}>${t(`folder.${act}`)}</button></div>`
      }
    </div>
    ${
      watchers.length > 0 &&
      html`<ul class="workers" aria-label=${t("folder.watchers")}>${watchers.map(
        (watcher) => html`<${Watcher} key=${watcher.name} watcher=${watcher} isRunning=${isRunning} />`,
      )}</ul>`
    }
    ${
      isAsked.value &&
      html`<${Question} title=${t(`folder.${act}.title`)} text=${t(`folder.${act}.text`)}
      confirm=${t(`folder.${act}`)} onAnswer=${change} />`
    }</section>`;
}

/** One watcher. While it is stopped it doesn't look, so what it counted is of its last look. */
function Watcher({ watcher, isRunning }) {
  const { host, pid, folder, waiting, taken, refused, problem, swept_at: at } = watcher;
  const { left_alone: names, left_alone_total: left } = watcher;
  return html`<li class="card"><p><strong>${host}</strong> <span class="hint">
      ${t("workers.process", { pid: String(pid) })} · ${t("workers.heard", { time: time(watcher.heartbeat_at) })}</span></p>
    <p class="path">${folder}</p>
    <p>${t(isRunning ? "folder.waiting" : "folder.waited", { n: waiting })} · ${t("folder.taken", { n: taken })} · ${t("folder.refused", { n: refused })}</p>
    <p class="hint">${at ? t("folder.looked", { time: time(at) }) : t("folder.unlooked")}${
      !watcher.has_events && ` ${t("folder.no_events")}`
    }</p>
    ${left > 0 && html`<p class="notice">${t("folder.left_alone", { n: left, names: names.join(", ") })}${
      left > names.length ? ` ${t("folder.left_alone.more", { n: left - names.length })}` : ""
    }</p>`}
    ${problem && html`<p class="notice bad">${problem}</p>`}</li>`;
}
