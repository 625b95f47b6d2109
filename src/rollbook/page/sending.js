// The files that are to be sent: they are sent one after the other, while any view is shown.
import { randomKey, sendFile, session } from "./api.js";
import { computed, effect, signal } from "./html.js";
import { say } from "./said.js";
import { follow, listChanged } from "./uploads.js";
import { t } from "./words.js";

/** What the API takes in, for the file chooser; the API itself decides. */
export const KINDS = ".xlsx,.xlsm,.xls,.xlsb,.ods,.fods,.csv,.tsv,.txt";

/**
 * Each {key, file, state, share, error, jobId, options}, as a signal.
 * state: chosen -> queued -> sending -> taken, or refused. `key` is the Idempotency-Key: sending
 * again after a lost connection can't make a second upload of it.
 */
export const files = signal([]);
export const isSending = computed(() =>
  files.value.some((file) => ["queued", "sending"].includes(file.value.state)),
);
let current = null;

effect(() => {
  if (session.value === null) {
    current?.abort();
    files.value = [];
  }
});

addEventListener("beforeunload", (event) => {
  if (isSending.peek()) event.preventDefault();
});

const change = (entry, changes) => {
  entry.value = { ...entry.peek(), ...changes };
};

/** Take files to the list. */
export function choose(chosen) {
  const added = [...chosen].map((file) =>
    signal({
      key: randomKey(),
      file,
      state: "chosen",
      share: 0,
      error: null,
      jobId: null,
      options: null,
    }),
  );
  if (!added.length) return;
  files.value = [...files.peek(), ...added];
  say(t("upload.chosen", { n: added.length }));
}

export function remove(entry) {
  files.value = files.peek().filter((other) => other !== entry);
}

export function removeDone() {
  files.value = files.peek().filter((entry) => entry.peek().state !== "taken");
}

/** Send all chosen files with these options. */
export function sendAll(options) {
  for (const entry of files.peek())
    if (entry.peek().state === "chosen") change(entry, { state: "queued", options });
  next();
}

/** Send a refused file once more. */
export function sendAgain(entry, more = {}) {
  change(entry, { state: "queued", error: null, share: 0, options: { ...entry.peek().options, ...more } });
  next();
}

/** Send a file no further. */
export function stop(entry) {
  if (entry.peek().state === "sending") current?.abort();
  else change(entry, { state: "chosen" });
}

async function next() {
  if (files.peek().some((entry) => entry.peek().state === "sending")) return;
  const entry = files.peek().find((other) => other.peek().state === "queued");
  if (!entry) return;
  change(entry, { state: "sending" });
  const { file, key, options } = entry.peek();
  say(t("said.sending", { file: file.name }));
  try {
    const { data } = await sendFile(file, options, {
      key,
      onProgress: (share) => change(entry, { share }),
      onRequest: (request) => {
        current = request;
      },
    });
    follow(data.job_id, true);
    change(entry, { state: "taken", share: 1, jobId: data.job_id });
    say(t("said.taken", { file: file.name }));
    listChanged.value += 1;
  } catch (error) {
    change(entry, { state: "refused", error });
    say(`${file.name}: ${error.message}`);
  }
  current = null;
  next();
}
