// The queue, for operators: waiting and running jobs, workers, and controls.
import { get, post, request } from "../api.js";
import { html, useEffect, useId, useRef, useSignal } from "../html.js";
import { freshness, queueStats } from "../live.js";
import { useLoaded, useRested } from "../loading.js";
import { CancelButton, Failure, Go, Loading, Question, Search, StatusChoice } from "../parts.js";
import { place, refine } from "../router.js";
import { attempt } from "../said.js";
import { isFinal, learn, listChanged, moment, uploadSignal } from "../uploads.js";
import { duration, number, secondsBetween, t, time } from "../words.js";
import { Folder } from "./folder.js";
import { StoredReports } from "./stored.js";
import { Line } from "./uploads.js";

const STATES = ["waiting", "active", "delayed", "completed", "failed", "paused"];
const SHOWN = 25;
/** Interval between two looks at workers and folder, in milliseconds. */
const LOOK_MS = 2_000;

export function Queue() {
  const stats = useLoaded(
    async () => {
      const found = await get("bulk-upload/queue/stats");
      queueStats.value = {};
      return found;
    },
    [],
    [listChanged, freshness],
  );
  const workers = useLoaded(() => get("bulk-upload/queue/workers"), [], [listChanged, freshness]);
  const folder = useLoaded(() => request("GET", "bulk-upload/monitor/status"), [], [freshness]);
  const tick = useRef(null);
  tick.current = () => {
    workers.reload();
    folder.reload();
    stats.reload();
  };
  // No message reports a worker's heartbeat, or that the oldest has waited longer.
  useEffect(() => {
    const timer = setInterval(() => document.hidden || tick.current(), LOOK_MS);
    return () => clearInterval(timer);
  }, []);
  const counts = stats.data && { ...stats.data, ...queueStats.value };
  return html`<h1 tabindex="-1">${t("queue.title")}</h1>
    ${stats.error && html`<${Failure} error=${stats.error} onRetry=${stats.reload} />`}
    ${!counts && !stats.error && html`<${Loading} />`}
    ${
      counts &&
      html`<${Levers} counts=${counts} reload=${stats.reload} />
      <dl class="tiles">${STATES.map(
        (name) => html`<div key=${name} class="card tile"><dt>${t(`queue.${name}`)}</dt>
        <dd>${number(counts[name])}</dd></div>`,
      )}
        <div class="card tile"><dt>${t("queue.oldest")}</dt>
          <dd>${counts.oldest_waiting_since ? duration(secondsBetween(counts.oldest_waiting_since)) : t("queue.nobody")}</dd></div></dl>
      ${counts.voter_roll && html`<${VoterRoll} standing=${counts.voter_roll} />`}`
    }
    <${Workers} loaded=${workers} />
    <${Folder} loaded=${folder} />
    <${Jobs} />
    <${StoredReports} />`;
}

function Levers({ counts, reload }) {
  const question = useSignal(null);
  const hours = useSignal("24");
  const hoursId = useId();
  const ask = (name) => () => {
    question.value = name;
  };
  const answer = async (yes) => {
    const name = question.value;
    question.value = null;
    if (!yes) return;
    const body = name === "clean" ? { grace_period_hours: Number(hours.value) } : undefined;
    await attempt(() => post(`bulk-upload/queue/${name}`, body));
    reload();
  };
  return html`<div class="levers card ${counts.is_paused ? "paused" : ""}">
    <p><strong>${counts.is_paused ? t("queue.is_paused") : t("queue.runs")}</strong> <span
      class="hint">${counts.is_paused ? t("queue.is_paused.text") : t("queue.runs.text")}</span></p>
    <div class="actions">
      <button type="button" class="quiet" onClick=${ask("clean")}>${t("queue.clean")}</button>
      ${
        counts.is_paused
          ? html`<button type="button" onClick=${ask("resume")}>${t("queue.resume")}</button>`
          : html`<button type="button" onClick=${ask("pause")}>${t("queue.pause")}</button>`
      }
    </div>
    ${
      question.value &&
      html`<${Question} key=${question.value} title=${t(`queue.${question.value}.title`)}
        text=${t(`queue.${question.value}.text`)} confirm=${t(`queue.${question.value}`)} onAnswer=${answer}>
      ${
        question.value === "clean" &&
        html`<div class="field"><label for=${hoursId}>${t("queue.clean.hours")}</label>
        <input id=${hoursId} type="number" min="0" max="8760" step="1" inputmode="numeric" value=${hours.value}
          onInput=${(event) => {
            hours.value = event.target.value;
          }} /></div>`
      }<//>`
    }
  </div>`;
}

/** The voter roll's budget as a meter, and the roll's state. */
function VoterRoll({ standing }) {
  const id = useId();
  const note =
    standing.roll === "down"
      ? t("roll.down", { error: standing.roll_error ?? "" })
      : standing.pending
        ? t("roll.pending", { n: standing.pending })
        : t("roll.up");
  return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${t("roll.title")}</h2>
    <div class="meter"><div class="bar" role="meter" aria-label=${t("roll.budget")} aria-valuemin="0"
      aria-valuemax=${standing.limit} aria-valuenow=${standing.used}
      aria-valuetext=${t("roll.used", { used: standing.used, limit: standing.limit })}><div
        style=${{ width: `${Math.min(100, (100 * standing.used) / standing.limit)}%` }}></div></div>
    <span>${t("roll.used", { used: standing.used, limit: standing.limit })}</span></div>
    <p class="hint">${note}${standing.state === "exceeded" ? ` ${t("roll.exceeded", { time: duration(standing.reset_in_seconds) })}` : ""}</p></section>`;
}

function Workers({ loaded: { data, error, reload } }) {
  return html`<section aria-labelledby="workers-title"><h2 id="workers-title">${t("workers.title")}</h2>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${data?.length === 0 && html`<p class="notice bad">${t("workers.none")}</p>`}
    ${
      data?.length > 0 &&
      html`<ul class="workers">${data.map(
        (worker) => html`<li key=${worker.name} class="card">
      <p><strong>${worker.host}</strong> <span class="hint">
        ${t("workers.process", { pid: String(worker.pid) })} · ${t("workers.heard", { time: time(worker.heartbeat_at) })}</span></p>
      <ol class="slots" aria-label=${t("workers.slots", { n: worker.slots })}>${Array.from(
        { length: Math.max(worker.slots, worker.jobs.length) },
        (_, index) => html`
        <${Slot} key=${index} id=${worker.jobs[index]} />`,
      )}</ol></li>`,
      )}</ul>`
    }</section>`;
}

/** What a slot holds. */
function Slot({ id }) {
  if (!id) return html`<li class="slot"><span class="hint">${t("workers.free")}</span></li>`;
  const upload = uploadSignal(id).value;
  return html`<li class="slot busy"><${Go} class="clipped" path="uploads/${id}">${upload?.file_name ?? t("workers.job")}<//>
    ${
      upload &&
      html`<span
      class="hint">${upload.status === "processing" ? t("unit.percent", { n: upload.progress }) : t(`status.${upload.status}`)}</span>`
    }</li>`;
}

function Jobs() {
  const { query } = place.value;
  const status = query.get("status") ?? "";
  const typed = useSignal(query.get("search") ?? "");
  const search = useRested(typed.value);
  const { data, error, reload } = useLoaded(
    async () => {
      const asked = moment();
      refine({ search });
      const found = await get("bulk-upload/queue/jobs", { status, search, page_size: SHOWN });
      found.items.forEach((upload) => learn(upload, asked));
      return found.items.map((upload) => upload.job_id);
    },
    [status, search],
    [listChanged, freshness],
  );
  return html`<section aria-labelledby="jobs-title"><h2 id="jobs-title">${t("jobs.title")}</h2>
    <div class="filters"><${Search} label=${t("uploads.search")} value=${typed.value} onInput=${(text) => {
      typed.value = text;
    }} />
      <${StatusChoice} value=${status} onChange=${(chosen) => refine({ status: chosen })} /></div>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${
      data &&
      html`<p class="count"
        role="status">${data.length < SHOWN ? t("jobs.count", { n: data.length }) : t("jobs.newest", { n: SHOWN })}</p>
      <ul class="uploads jobs" aria-label=${t("jobs.title")}>${data.map(
        (id) => html`<${Line} key=${id} id=${id}>
        <${JobActions} id=${id} reload=${reload} /><//>`,
      )}</ul>`
    }</section>`;
}

function JobActions({ id, reload }) {
  const upload = uploadSignal(id).value;
  if (!upload || (isFinal(upload) && upload.status !== "failed")) return null;
  const act = async (action) => {
    await attempt(action);
    reload();
  };
  const name = html`<span class="unseen"> ${upload.file_name}</span>`;
  return html`<div class="upload-actions">${
    upload.status === "failed"
      ? html`<button type="button" class="quiet small"
          onClick=${() => act(() => post(`bulk-upload/queue/retry/${id}`))}>${t("action.retry")}${name}</button>`
      : html`<${CancelButton} class="quiet small danger" upload=${upload} act=${act}>${name}<//>`
  }</div>`;
}
