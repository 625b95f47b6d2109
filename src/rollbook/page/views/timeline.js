// The way of an upload, from its sending to its end, with times.
import { html } from "../html.js";
import { isFinal, STAGES, stagesSeen } from "../uploads.js";
import { duration, secondsBetween, t, time, when } from "../words.js";

/**
 * The steps, each {name, state, note}: state is done, current, ahead or broken.
 *
 * Reading, putting in shape and checking take turns, batch by batch, so of the three a later one
 * that is under way doesn't mean that an earlier one is over; times are known at the end.
 */
function steps(upload) {
  const taken = upload.stage_seconds;
  const seen = stagesSeen(upload.job_id);
  const isRunning = upload.status === "processing";
  const at = STAGES.indexOf(upload.stage);
  const wait = upload.started_at && secondsBetween(upload.created_at, upload.started_at);
  const found = [
    { name: "sent", state: "done", note: when(upload.created_at) },
    {
      name: "waiting",
      state: upload.status === "pending" ? "current" : "done",
      note: upload.started_at && upload.status !== "pending" ? duration(wait) : "",
    },
  ];
  const isStopped = upload.status === "failed" || upload.status === "cancelled";
  STAGES.forEach((name, index) => {
    let state = "ahead";
    let note = "";
    if (upload.status === "completed") state = "done";
    else if (isRunning && index < at) state = "done";
    else if (isRunning && index === at) state = "current";
    else if (isStopped && at >= 0 && index < at) state = "done";
    else if (isStopped && index === at) state = "broken";
    if (taken[name] !== undefined) note = duration(taken[name]);
    else if (state === "current" && seen.has(name)) note = t("way.since", { time: time(seen.get(name)) });
    found.push({ name, state, note });
  });
  if (isFinal(upload)) {
    const whole = upload.started_at
      ? t("way.whole", { time: duration(secondsBetween(upload.started_at, upload.finished_at)) })
      : "";
    found.push({
      name: upload.status,
      state: upload.status === "completed" ? "done" : "broken",
      note: [when(upload.finished_at), whole].filter(Boolean).join(" · "),
    });
  }
  return found;
}

export function Timeline({ upload }) {
  return html`<ol class="timeline">${steps(upload).map(
    ({ name, state, note }) => html`
    <li key=${name} class=${state} aria-current=${state === "current" ? "step" : undefined}>
      <span class="step">${STAGES.includes(name) ? t(`stage.${name}`) : t(`way.${name}`)}<span
        class="unseen">, ${t(`way.state.${state}`)}</span></span>
      ${note && html`<span class="step-note">${note}</span>`}
    </li>`,
  )}</ol>`;
}
