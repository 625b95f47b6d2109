// The frame: who is signed in, where one can go, whether it is live, and the view that is shown.
import { isNewcomer, isOperator, session, user } from "./api.js";
import { loadOwnFields } from "./fields.js";
import { html, render, useEffect, useSignal } from "./html.js";
import { connection, retryNow } from "./live.js";
import { Go } from "./parts.js";
import { onView, place } from "./router.js";
import { dismiss, note } from "./said.js";
import { Accounts } from "./views/accounts.js";
import { Audit } from "./views/audit.js";
import { Fix } from "./views/fix.js";
import { Duplicates } from "./views/duplicates.js";
import { Keys } from "./views/keys.js";
import { Link } from "./views/link.js";
import { Mappings } from "./views/mappings.js";
import { Members } from "./views/members.js";
import { MembersReport } from "./views/members_report.js";
import { OneMember } from "./views/one_member.js";
import { OneUpload } from "./views/one_upload.js";
import { Queue } from "./views/queue.js";
import { Mark, SignIn } from "./views/sign_in.js";
import { Statistics } from "./views/statistics.js";
import { Upload } from "./views/upload.js";
import { Uploads } from "./views/uploads.js";
import { Webhooks } from "./views/webhooks.js";
import { Who } from "./views/who.js";
import { t, time } from "./words.js";

/** The views of the menu, in its order, and those that other views link to. */
const VIEWS = {
  upload: { view: Upload, title: "nav.upload" },
  uploads: { view: Uploads, title: "nav.uploads" },
  members: { view: Members, title: "nav.members" },
  queue: { view: Queue, title: "nav.queue", forOperators: true },
  statistics: { view: Statistics, title: "nav.statistics" },
  audit: { view: Audit, title: "nav.audit", forOperators: true },
  "members-report": { view: MembersReport, title: "report.title", isAside: true },
  duplicates: { view: Duplicates, title: "duplicates.title", isAside: true },
  columns: { view: Mappings, title: "mappings.title", isAside: true },
};

function Page() {
  const [name, token] = place.value.parts;
  if (name === "link" && token) return html`<${Link} key=${token} token=${token} />`;
  // Another role or place is another page.
  return session.value ? html`<${Frame} key=${JSON.stringify(user.value)} />` : html`<${SignIn} />`;
}

function Frame() {
  const {
    parts: [name = "uploads", id, aspect],
  } = place.value;
  const shown = Object.entries(VIEWS).filter(
    ([, { forOperators, isAside }]) =>
      !isAside && (!forOperators || isOperator.value) && !user.value.lacks_second_factor,
  );
  useEffect(() => {
    loadOwnFields();
  }, []);
  useEffect(
    () =>
      onView((_, isFirst) => {
        document.title = `${t(titleOf(place.peek().parts))} – ${t("name")}`;
        note.value = note.peek()?.kind === "bad" ? null : note.peek();
        // Keyboard and screen reader users begin at the new view's heading.
        if (!isFirst || isNewcomer.peek())
          requestAnimationFrame(() => {
            scrollTo(0, 0);
            document.querySelector("main h1")?.focus({ preventScroll: true });
          });
      }),
    [],
  );
  const skip = (event) => {
    event.preventDefault();
    document.querySelector("main h1").focus();
  };
  return html`<a class="skip" href="#main" onClick=${skip}>${t("skip")}</a>
    <header class="top"><div class="top-inner">
      <${Go} class="brand" path="uploads"><${Mark} />${t("name")}<//>
      <nav aria-label=${t("nav.label")}><ul>${shown.map(
        ([key, { title }]) => html`<li key=${key}>
        <${Go} path=${key} aria-current=${name === key ? (id ? "true" : "page") : undefined}>${t(title)}<//></li>`,
      )}</ul></nav>
      <div class="top-end"><${LiveSign} /><${Go} class="me" path="who"
        aria-label=${t("nav.who", { email: user.value.email })} aria-current=${name === "who" ? "page" : undefined}>
        ${initials(user.value)}<//></div>
    </div></header>
    <${NotLive} />
    <main id="main">${view(name, id, aspect)}</main>
    <${Note} />`;
}

/** Views that no menu leads to, by their address. */
const TITLES = {
  "audit/mine": "audit.mine",
  "who/accounts": "accounts.title",
  "who/keys": "keys.title",
  "who/webhooks": "webhooks.title",
};

const titleOf = ([name = "uploads", id, aspect]) =>
  aspect === "fix" ? "fix.title" : TITLES[`${name}/${id}`] ?? VIEWS[name]?.title ?? "who.title";

function view(name, id, aspect) {
  if (user.value.lacks_second_factor) return html`<${Who} />`; // nothing else is open
  if (name === "uploads" && id && aspect === "fix") return html`<${Fix} key=${`${id} fix`} id=${id} />`;
  if (name === "uploads" && id) return html`<${OneUpload} key=${id} id=${id} />`;
  if (name === "members" && id) return html`<${OneMember} key=${id} id=${id} />`;
  if (name === "audit" && id === "mine") return html`<${Audit} key="mine" isOwn />`;
  if (name === "who" && id === "accounts") return html`<${Accounts} key="accounts" />`;
  if (name === "who" && id === "keys") return html`<${Keys} key="keys" />`;
  if (name === "who" && id === "webhooks") return html`<${Webhooks} key="webhooks" />`;
  if (name === "who") return html`<${Who} />`;
  const found = VIEWS[name];
  if (!found || (found.forOperators && !isOperator.value)) {
    return html`<h1 tabindex="-1">${t("lost.title")}</h1><p>${t("lost.text")}</p><p><${Go} path="uploads">
      ${t("upload.back")}<//></p>`;
  }
  return html`<${found.view} key=${name} />`;
}

const initials = ({ name, email }) =>
  (name || email)
    .split(/[\s.@_-]+/)
    .slice(0, 2)
    .map((word) => word[0]?.toUpperCase() ?? "")
    .join("");

/** Whether the view is live. */
function LiveSign() {
  const { state } = connection.value;
  const word = { live: "live.on", connecting: "live.connecting" }[state] ?? "live.off";
  return html`<span class="live is-${state}"><span class="dot" aria-hidden="true"></span>${t(word)}</span>`;
}

/** That the page isn't live, since when, and what it does about it. */
function NotLive() {
  const now = useSignal(Date.now());
  const { state, since, retryAt } = connection.value;
  const isShown = since !== null && (state === "lost" || state === "late");
  useEffect(() => {
    if (!isShown) return undefined;
    const timer = setInterval(() => {
      now.value = Date.now();
    }, 500);
    return () => clearInterval(timer);
  }, [isShown]);
  if (!isShown || now.value - since < 1000) return null;
  const seconds = retryAt ? Math.max(0, Math.ceil((retryAt - now.value) / 1000)) : 0;
  return html`<section class="not-live" aria-label=${t("live.label")}><p><strong>${t("live.not")}</strong>${" "}
    ${state === "late" ? t("live.late") : t("live.since", { time: time(since) })}${" "}
    ${state !== "late" && (seconds ? t("live.retry", { n: seconds }) : t("live.trying"))}</p>
    ${state !== "late" && html`<button type="button" class="quiet small" onClick=${retryNow}>
      ${t("live.now")}</button>`}</section>`;
}

/** What has just been done, or why it couldn't be. */
function Note() {
  if (!note.value) return null;
  return html`<div class="note ${note.value.kind}"><p>${note.value.text}</p>
    <button type="button" class="text" onClick=${dismiss}>${t("close")}</button></div>`;
}

render(html`<${Page} />`, document.getElementById("page"));
