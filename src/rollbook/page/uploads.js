// The uploads that the page knows, each a signal, fed by REST answers and by live messages.
import { get, post, session } from "./api.js";
import { isRunOf } from "./drafts.js";
import { effect, signal } from "./html.js";
import { say } from "./said.js";
import { t } from "./words.js";

export const STAGES = ["read", "normalise", "validate", "match", "verify", "merge", "report"];
export const OUTCOMES = ["inserted", "updated", "unchanged", "invalid", "duplicate", "out_of_scope"];
export const REFUSED = ["invalid", "duplicate", "out_of_scope"];
export const STATUSES = ["pending", "processing", "completed", "failed", "cancelled"];
/** Codes of failures that another attempt at the same file meets again (errors.py). */
const HOPELESS = new Set(
  (
    "column_repeated column_shifted file_problem id_numbers_shortened missing_columns no_id_column no_rows " +
    "no_such_header no_such_sheet rows_above_headers rows_refused second_table source_gone too_many_accounts " +
    "too_many_removals unreadable_file"
  ).split(" "),
);
const FINAL = new Set(["completed", "failed", "cancelled"]);
/** Milliseconds in which several reasons to ask again count as one. */
const GATHER_MS = 300;

const known = new Map();
const asking = new Map();
/** Goes up when there may be uploads that a list doesn't have yet. */
export const listChanged = signal(0);
/** Uploads whose milestones are said aloud, by id: true for those that were sent just now. */
const followed = new Map();

export const isFinal = (upload) => FINAL.has(upload.status);
/** May another attempt at a failed upload succeed? */
export const mayRetry = ({ status, error_code: code }) => status === "failed" && !HOPELESS.has(code);
/** Run a dry run's file for real; gives the id of that upload. */
export async function runForReal(id) {
  const { data } = await post(`bulk-upload/run/${id}`, {});
  isRunOf(data.job_id, id);
  return data.job_id;
}

/** Was a dry run, after which a real run would change something, or has fixed rows to go on with? */
export function mayRun({ dry_run, status, outcomes, rows_total, fixed }) {
  const rows = OUTCOMES.reduce((sum, name) => sum + outcomes[name], 0);
  // A live message says that it has completed before the outcomes are known.
  if (!dry_run || status !== "completed" || rows !== rows_total) return false;
  return refusedRows({ outcomes }) < rows || fixed > 0;
}
export const refusedRows = (upload) => REFUSED.reduce((sum, name) => sum + upload.outcomes[name], 0);

// Another person must find nothing of the last one's.
effect(() => {
  session.value;
  known.clear();
  followed.clear();
});

function entry(id) {
  let found = known.get(id);
  if (!found) {
    found = { upload: signal(null), touched: 0, stages: new Map() };
    known.set(id, found);
  }
  return found;
}

/** The signal of an upload: null until something is known of it. */
export const uploadSignal = (id) => entry(id).upload;

/** When the page saw a stage of the upload's present attempt begin, by stage, in milliseconds. */
export const stagesSeen = (id) => entry(id).stages;

/** A moment to compare with: what was asked for before a live message is older than it. */
export const moment = () => performance.now();

function take(found, upload) {
  const before = found.upload.peek();
  if (upload.status !== "processing" || (before?.attempt && before.attempt !== upload.attempt))
    found.stages.clear();
  if (upload.stage && upload.status === "processing" && !found.stages.has(upload.stage)) {
    found.stages.set(upload.stage, Date.now());
  }
  found.upload.value = upload;
  if (followed.has(upload.job_id)) announce(before, upload);
}

/** What live messages say too; of these the newer word counts. */
const MOVING = [
  "status",
  "stage",
  "progress",
  "rows_done",
  "rows_total",
  "rows_per_second",
  "waits_since",
  "waits_for",
  "queue_position",
  "estimated_start_at",
  "estimate_unknown",
  "error",
  "error_code",
  "attempt",
];

/** Take in what REST said of an upload, unless a live message has said more since `asked`. */
export function learn(upload, asked) {
  const found = entry(upload.job_id);
  const before = found.upload.peek();
  if (!before || found.touched <= asked) {
    take(found, upload);
    return;
  }
  if (isFinal(upload) && !isFinal(before)) refresh(upload.job_id);
  else if (isFinal(upload) || !isFinal(before)) {
    take(found, { ...upload, ...Object.fromEntries(MOVING.map((name) => [name, before[name]])) });
  }
}

/** Take in a live message's fields for an upload; what they don't say is asked for. */
export function learnLive(id, fields) {
  const found = entry(id);
  found.touched = moment();
  const before = found.upload.peek();
  if (before) take(found, { ...before, ...fields });
  if (before?.status !== fields.status) {
    refresh(id);
    changed();
  }
}

/** Take in the uploads of a snapshot. */
export function learnSnapshot(uploads) {
  for (const upload of uploads) {
    const found = entry(upload.job_id);
    found.touched = moment();
    take(found, upload);
  }
  changed();
}

/** Take in the positions in the queue, and when each upload is expected to start. */
export function learnPositions(positions, estimates) {
  for (const [id, { upload }] of known) {
    const before = upload.peek();
    if (before?.status !== "pending") continue;
    const { estimated_start_at = null, estimate_unknown = null } = estimates[id] ?? {};
    const newest = { queue_position: positions[id] ?? null, estimated_start_at, estimate_unknown };
    if (Object.keys(newest).some((name) => before[name] !== newest[name])) {
      upload.value = { ...before, ...newest };
    }
  }
}

let changing = null;

/** Lists may differ: several reasons within a moment are one. */
function changed() {
  changing ??= setTimeout(() => {
    changing = null;
    listChanged.value += 1;
  }, GATHER_MS);
}

/** Forget what was learnt: the server can't say what was missed since. */
export function forgetAll() {
  for (const found of known.values()) {
    found.touched = 0;
    found.stages.clear();
  }
}

/** Ask for an upload's state, soon. */
export function refresh(id) {
  if (asking.has(id)) return;
  asking.set(
    id,
    setTimeout(async () => {
      const asked = moment();
      asking.delete(id);
      try {
        learn(await get(`bulk-upload/status/${id}`), asked);
      } catch {
        // The view that shows it loads it, and shows why that fails.
      }
    }, GATHER_MS),
  );
}

/** Say this upload's milestones aloud from now on; of a new one also what was over at once. */
export function follow(id, isNew = false) {
  followed.set(id, isNew || (followed.get(id) ?? false));
}

/** The upload is no longer shown; its sender still waits for its end. */
export function unfollow(id) {
  if (!followed.get(id)) followed.delete(id);
}

/** Announces the milestones to screen readers: start, each stage, end; never each percent. */
function announce(before, upload) {
  const file = upload.file_name;
  if (before?.status !== upload.status) {
    if (upload.status === "processing") say(t("said.started", { file }));
    if ((before || followed.get(upload.job_id)) && isFinal(upload))
      say(t(`said.${upload.status}`, { file, n: upload.rows_total ?? 0, refused: refusedRows(upload) }));
  }
  if (upload.status === "processing" && upload.stage && upload.stage !== before?.stage) {
    say(t("said.stage", { file, stage: t(`stage.${upload.stage}`) }));
  }
}

/**
 * Seconds until a running upload ends, from how long its part so far took; null when too early to
 * estimate it. From its speed and not from a clock, because an office's clock may be wrong.
 */
export function secondsLeft(upload) {
  if (upload.status !== "processing" || !upload.rows_per_second || upload.progress < 5) return null;
  const taken = upload.rows_done / upload.rows_per_second;
  return Math.max(1, (taken * (100 - upload.progress)) / upload.progress);
}
