// The live connection: messages while it is open, polling by REST otherwise, automatic reconnection.
// The messages are those of docs/reference/live.md.
import { checkAccount, session } from "./api.js";
import { computed, effect, signal, untracked } from "./html.js";
import { say } from "./said.js";
import { forgetAll, learnLive, learnPositions, learnSnapshot } from "./uploads.js";
import { setClock, t } from "./words.js";

/** A connection that is silent for so long is lost; the server says something every 15 seconds. */
const SILENCE_MS = 35_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** How often REST is asked while there are no live messages. */
const ASK_MS = 4_000;
/** Coming back within this time isn't worth a word. */
const UNNOTICED_MS = 1_500;

/**
 * state: "off" (nobody is signed in), "connecting" (the first time), "live", "late" (connected, but
 * the server can't read the queue), "lost". `since`: when it was lost; `retryAt`: when it is tried
 * again; both in milliseconds.
 */
export const connection = signal({ state: "off", since: null, retryAt: null });
/** Goes up when a view should load its data again. */
export const freshness = signal(0);
/** {is_paused, waiting, ...} as messages said since REST was asked last, {} where none has come. */
export const queueStats = signal({});

let socket = null;
/** The token that the server has seen over it. */
let shown = null;
let lastSeq = null;
let heardAt = 0;
let failures = 0;
let retryTimer = null;
let wasLost = false;

/** Nothing is heard before a second factor is set up, where the role needs one. */
const sessionId = computed(() => (session.value?.user.lacks_second_factor ? undefined : session.value?.id));

effect(() => {
  const isSignedIn = sessionId.value !== undefined;
  untracked(() => {
    const token = isSignedIn ? session.peek().token : null;
    close();
    lastSeq = null;
    failures = 0;
    wasLost = false;
    queueStats.value = {};
    connection.value = { state: token ? "connecting" : "off", since: null, retryAt: null };
    if (token) connect(token);
  });
});

// A connection that holds gets the newer token of its session.
effect(() => {
  const token = session.value?.token;
  if (socket?.readyState === WebSocket.OPEN) show(token);
});

/** Show the server a token that it hasn't seen yet. */
function show(token) {
  if (!token || token === shown) return;
  shown = token;
  socket.send(JSON.stringify({ type: "authenticate", token }));
}

function close() {
  clearTimeout(retryTimer);
  const old = socket;
  socket = null;
  old?.close();
}

function connect(token) {
  const url = new URL("api/v1/bulk-upload/ws", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  if (lastSeq !== null) url.searchParams.set("since", lastSeq);
  const opened = new WebSocket(url, ["rollbook", `bearer.${token}`]);
  socket = opened;
  shown = token;
  heardAt = Date.now();
  opened.onmessage = (event) => {
    if (socket === opened) hear(JSON.parse(event.data));
  };
  opened.onopen = () => {
    // It was renewed while the connection was being made.
    if (socket === opened) show(session.peek()?.token);
  };
  opened.onclose = (event) => {
    if (socket === opened) lose(event.code);
  };
}

/** The connection has ended: try again, ever more seldom. */
async function lose(code) {
  socket = null;
  const { since } = connection.peek();
  const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures) * (0.75 + Math.random() / 2);
  failures += 1;
  connection.value = { state: "lost", since: since ?? Date.now(), retryAt: Date.now() + pause };
  clearTimeout(retryTimer);
  retryTimer = setTimeout(retry, pause);
  // Where it can't be asked now, the next connection that is refused asks again.
  if (code === 4401) await checkAccount().catch(() => null);
}

function retry() {
  clearTimeout(retryTimer);
  const token = session.peek()?.token;
  if (token && !socket) connect(token);
}

/** Try to connect now, and ask REST at once. */
export function retryNow() {
  failures = 0;
  retry();
  freshness.value += 1;
}

function hear(message) {
  heardAt = Date.now();
  lastSeq = Math.max(message.seq, lastSeq ?? 0);
  const { type, job_id: id, data } = message;
  if (type === "snapshot") {
    if (data.is_reset) {
      forgetAll();
      lastSeq = message.seq;
      freshness.value += 1;
    }
    learnSnapshot(data.uploads);
    learnQueue(data.queue);
    connected();
  } else if (type === "queue_stats") {
    learnQueue(data);
  } else if (type === "heartbeat") {
    setClock(message.at);
    connected(data.is_live);
  } else if (id) {
    learnLive(id, data);
  }
}

function learnQueue({ is_paused, positions, estimates, counts }) {
  queueStats.value = { ...counts, is_paused };
  learnPositions(positions, estimates);
}

function connected(isLive = true) {
  const before = connection.peek();
  const state = isLive ? "live" : "late";
  failures = 0;
  if (before.state === state) return;
  connection.value = { state, since: isLive ? null : Date.now(), retryAt: null };
  if (isLive && wasLost) say(t("live.back"));
  if (isLive) wasLost = false;
  // What happened while there were no messages.
  if (before.state !== "connecting") freshness.value += 1;
}

// --- while it isn't live ----------------------------------------------------------------------

setInterval(() => {
  const { state, since } = connection.peek();
  if (state === "off") return;
  if (socket && Date.now() - heardAt > SILENCE_MS) {
    const silent = socket;
    lose(1006);
    silent.close();
  }
  if (!wasLost && since && Date.now() - since > UNNOTICED_MS) {
    wasLost = true;
    if (state !== "live") say(t("live.lost"));
  }
}, 500);

setInterval(() => {
  const { state, since } = connection.peek();
  if (state !== "live" && state !== "off" && since && !document.hidden) freshness.value += 1;
}, ASK_MS);

/** The machine was asleep, or the line is back: what the socket says of itself may be old. */
function wake() {
  if (document.hidden || connection.peek().state === "off") return;
  if (socket && Date.now() - heardAt > SILENCE_MS / 2) {
    const old = socket;
    socket = null;
    old.close();
  }
  if (!socket) retryNow();
}
addEventListener("online", wake);
addEventListener("pageshow", wake);
document.addEventListener("visibilitychange", wake);
