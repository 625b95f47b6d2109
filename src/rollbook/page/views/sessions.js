// The sessions of one's own account: where one is signed in, and ending one of them.
import { del, get } from "../api.js";
import { html, useId } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading } from "../parts.js";
import { attempt } from "../said.js";
import { momentInFull, t } from "../words.js";

export function Sessions() {
  const id = useId();
  const { data, error, reload } = useLoaded(() => get("auth/sessions"));
  const end = async ({ session_id: session }) => {
    await attempt(() => del(`auth/sessions/${session}`));
    reload();
  };
  return html`<section class="card who" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${t("sessions.title")}</h2>
    <p class="hint">${t("sessions.lead")}</p>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${data && html`<ul class="sessions">${data.map(
      (one) => html`<li key=${one.session_id}>
      <p><strong title=${one.agent}>${browser(one.agent)}</strong>${one.address && html` <span>${one.address}</span>`}
        ${one.is_this && html` <span class="badge done">${t("sessions.this")}</span>`}</p>
      <p class="hint">${t("sessions.times", { begun: momentInFull(one.begun_at), used: momentInFull(one.used_at) })}</p>
      ${
        !one.is_this &&
        html`<button type="button" class="quiet small danger" onClick=${() => end(one)}>${t("sessions.end")}<span
        class="unseen"> ${browser(one.agent)} ${momentInFull(one.begun_at)}</span></button>`
      }</li>`,
    )}</ul>`}
  </section>`;
}

/** A browser as a person knows it, such as "Chrome on Windows"; other programs by their own name. */
function browser(agent) {
  if (!agent) return t("sessions.unknown");
  const find = (names) => Object.keys(names).find((name) => agent.includes(names[name]));
  // The order counts: most browsers also name those that they descend from.
  const name = find({ Edge: "Edg", Opera: "OPR/", Firefox: "Firefox/", Chrome: "Chrome/", Safari: "Safari/" });
  const system = find({ Android: "Android", iOS: "like Mac OS X", Windows: "Windows", macOS: "Mac OS X", Linux: "Linux" });
  return name && system ? t("sessions.browser", { name, system }) : agent;
}
