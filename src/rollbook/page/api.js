// The REST interface: the token, requests, sending a file, downloads.
import { computed, effect, signal } from "./html.js";
import { forgetAll } from "./kept.js";
import { isThere, LANGUAGE, loadIn, takeChosen } from "./languages.js";
import { setZone, t } from "./words.js";

const BASE = new URL("api/v1/", document.baseURI);
const KEPT_AS = "rollbook.session";
/** Milliseconds that an answer may take; a slow line needs some. */
const PATIENCE_MS = 30_000;
/** How often it is seen whether the token should be renewed. */
const RENEWAL_CHECK_MS = 5_000;

/** A failure from the API: a sentence for the person, and a code for the page. */
export class Refusal extends Error {
  constructor({ status, code, message, ...more }) {
    super(message);
    Object.assign(this, { status, code, more });
  }

  /** Would the same request fare better later? */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

// --- the session ------------------------------------------------------------------------------
// In sessionStorage: a reload keeps it, and it ends with the tab. localStorage would outlive the
// day on an office's shared computer, and a cookie would need protection against requests that
// other sites make in the person's name. A script that isn't ours can't run here (see the policy),
// so none can read it.

function kept() {
  try {
    const session = JSON.parse(sessionStorage.getItem(KEPT_AS));
    return session && session.ends > Date.now() ? session : null;
  } catch {
    return null;
  }
}

/** {id, token, ends, renewAt, user} of who is signed in, or null; a renewed token keeps the id. */
export const session = signal(kept());
effect(() => {
  if (session.value?.user?.time_zone) setZone(session.value.user.time_zone);
});
/** Why nobody is signed in any more, as a sentence. */
export const signedOutBecause = signal(null);
export const user = computed(() => session.value?.user ?? null);
/** Did the person sign in just now, on this very page? */
export const isNewcomer = signal(false);
export const isOperator = computed(() => ["super_admin", "national_admin"].includes(user.value?.role));

function keep(opened) {
  sessionStorage.setItem(KEPT_AS, JSON.stringify(opened));
  session.value = opened;
}

export async function signIn(email, password, code) {
  const { data } = await request("POST", "auth/login", { body: { email, password, code }, anonymous: true });
  enter(data);
}

/** {is_set, name} of the outside provider with which one can sign in. */
export const provider = async () => (await request("GET", "auth/oidc", { anonymous: true })).data;

/** Where a sign-in with the provider begins. */
export const providerStart = new URL("auth/oidc/start", BASE).href;

/** Has the browser just come back from the provider? Asked once: a reload isn't another sign-in. */
export function isBackFromProvider() {
  if (new URLSearchParams(location.search).get("from") !== "provider") return false;
  history.replaceState(null, "", location.pathname + location.hash);
  return true;
}

/** Exchange what the provider's sign-in left, in a cookie that no script reads, for a token. */
export async function signInFromProvider() {
  const { data } = await request("POST", "auth/oidc/token", { anonymous: true });
  enter(data);
}

/** {user, kind, expires_at} of a one-time link, which isn't used by this. */
export const openLink = async (token) =>
  (await request("POST", "auth/link", { body: { token }, anonymous: true })).data;

/** Choose a password by a one-time link; the person is signed in, in place of who was. */
export async function choosePassword(token, password, code) {
  const body = { token, password, code };
  const { data } = await request("POST", "auth/link/password", { body, anonymous: true });
  // The link is used: going back must not lead to it.
  history.replaceState(null, "", location.pathname);
  dispatchEvent(new HashChangeEvent("hashchange"));
  enter(data);
}

function enter(data) {
  signedOutBecause.value = null;
  isNewcomer.value = true;
  keep(opened(data, randomKey()));
  followLanguage(data.user);
}

function opened({ token, expires_in, user }, id) {
  const now = Date.now();
  // In the middle of its time, so that a line that is away for a while costs no sign-in.
  return { id, token, user, ends: now + expires_in * 1000, renewAt: now + expires_in * 500 };
}

/** Exchange the token for a newer one; the session continues. */
async function renew() {
  const { id, token } = session.peek();
  const { data } = await post("auth/renew");
  // Not if somebody has signed out or in again meanwhile.
  if (session.peek()?.token === token) keep(opened(data, id));
}

/** Change one's own password: elsewhere one is signed out, here one stays. */
export async function changePassword(current_password, new_password) {
  const { message, data } = await post("auth/password", { current_password, new_password });
  // Another session of the same person: the live connection is opened again.
  keep(opened(data, randomKey()));
  return message;
}

/** Switch the second factor on: elsewhere one is signed out, here one stays. Returns the answer. */
export async function confirmFactor(code) {
  const answer = await post("auth/second-factor/confirm", { code });
  const next = opened(answer.data, randomKey());
  // Who lacked it sees the recovery codes first: checkAccount then opens the rest.
  const { lacks_second_factor } = user.peek();
  keep({ ...next, user: { ...next.user, lacks_second_factor } });
  return answer;
}

/** Keep a language with the account, and load the page in it. */
export async function chooseLanguage(tag) {
  const { data } = await patch("auth/me", { language: tag });
  keep({ ...session.peek(), user: data });
  if (tag !== LANGUAGE) loadIn(tag);
}

/** Speak the account's language; one that was chosen just before the sign-in becomes it. */
async function followLanguage({ language }) {
  const chosen = takeChosen();
  if (chosen !== null && chosen !== language) await chooseLanguage(chosen).catch(() => null);
  else if (isThere(language) && language !== LANGUAGE) loadIn(language);
}

let isRenewing = false;
setInterval(async () => {
  if (isRenewing || !session.peek() || Date.now() < session.peek().renewAt) return;
  isRenewing = true;
  // Tried again in a few seconds; a refusal has signed out already.
  await renew().catch(() => null);
  isRenewing = false;
  if (session.peek() && Date.now() >= session.peek().ends) signOut(t("sign_in.ended"));
}, RENEWAL_CHECK_MS);

/** Ask who is signed in: the account may have been closed, or given another role or place. */
export async function checkAccount() {
  const now = await get("auth/me");
  if (session.peek() && JSON.stringify(now) !== JSON.stringify(user.peek()))
    keep({ ...session.peek(), user: now });
}

/** Sign out as the person wants it: the token is no longer good anywhere. */
export async function leave() {
  const left = post("auth/logout");
  await forgetAll();
  signOut();
  // Where the server can't be reached now, the token expires anyway.
  await left.catch(() => null);
}

export function signOut(because = null) {
  sessionStorage.removeItem(KEPT_AS);
  signedOutBecause.value = because;
  isNewcomer.value = false;
  session.value = null;
}

// --- requests ---------------------------------------------------------------------------------

/** The address of a path of the API. */
export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

export const bearer = () => ({ Authorization: `Bearer ${session.value?.token}` });

/** The failure that an answer, or none with the status 0, means. */
export function refusal(status, body) {
  if (status === 0) return unreachable();
  const { message, type = "", ...more } = body ?? {};
  const code = type.split(":").pop() || "unknown";
  return new Refusal({
    ...more,
    status,
    code,
    message: message ?? t("error.unexpected", { status: String(status) }),
  });
}

const unreachable = () => new Refusal({ status: 0, code: "unreachable", message: t("error.unreachable") });

/** Sign out where an answer says that the token it was asked with is no longer good. */
export function checkSession(status, asked) {
  // Not if somebody has signed in again meanwhile.
  if (status === 401 && asked && asked === session.value?.token) signOut(t("sign_in.ended"));
}

async function answer(method, path, { query, body, form, headers: more, anonymous = false } = {}) {
  const asked = session.value?.token;
  const headers = { "Accept-Language": LANGUAGE, ...(anonymous ? {} : bearer()), ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  // For the answer to begin: how long a report then takes over a slow line has no limit.
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  let found;
  try {
    found = await fetch(address(path, query), {
      method,
      headers,
      cache: "no-store",
      signal: patience.signal,
      body: body === undefined ? form : JSON.stringify(body),
    });
  } catch {
    throw unreachable();
  } finally {
    clearTimeout(timer);
  }
  if (found.ok) return found;
  if (!anonymous) checkSession(found.status, asked);
  throw refusal(found.status, await found.json().catch(() => null));
}

/** Ask, and give the answer's {message, data}. Raises Refusal. */
export async function request(method, path, options) {
  const found = await answer(method, path, options);
  try {
    return await found.json();
  } catch {
    throw unreachable();
  }
}

/** Ask for something and give its data. */
export const get = async (path, query) => (await request("GET", path, { query })).data;

/** Do something, and give {message, data}. */
export const post = (path, body) => request("POST", path, { body });

/** Change something, and give {message, data}. */
export const patch = (path, body) => request("PATCH", path, { body });

/** Remove something, and give {message, data}. */
export const del = (path) => request("DELETE", path);

/**
 * Save a file of the API under its own name.
 * By a request of ours, because a plain link would carry the token in its address.
 */
export async function download(path) {
  const found = await answer("GET", path);
  const disposition = found.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=UTF-8''([^;]+)/.exec(disposition)?.[1];
  const name = encoded ? decodeURIComponent(encoded) : /filename="([^"]+)"/.exec(disposition)?.[1];
  const content = await found.blob().catch(() => {
    throw unreachable();
  });
  saveAs(content, name ?? "download.xlsx");
}

/** Have the browser save a Blob under a name. */
export function saveAs(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The failure of what the person stopped. */
export const stopped = () => new Refusal({ status: 0, code: "stopped", message: t("send.stopped") });

/** Send the fields of a form, under an Idempotency-Key. Raises Refusal. */
export function sendForm(path, fields, key) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return request("POST", path, { form, headers: { "Idempotency-Key": key } });
}

/** 128 random bits; crypto.randomUUID is there only over HTTPS. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
