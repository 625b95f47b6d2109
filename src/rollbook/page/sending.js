// The files that are to be sent: checked as they are chosen, and sent one after the other, while
// any view is shown.
import { post, randomKey, sendForm, session, user } from "./api.js";
import { fieldName } from "./fields.js";
import { computed, effect, signal } from "./html.js";
import { forget, keep, keptOf } from "./kept.js";
import { discardFile, sendFile } from "./resumable.js";
import { say } from "./said.js";
import { follow, listChanged, runForReal } from "./uploads.js";
import { t } from "./words.js";

/** What the API takes in, for the file chooser; the API itself decides. */
export const KINDS = ".xlsx,.xlsm,.xls,.xlsb,.ods,.fods,.csv,.tsv,.txt";
/** In place of a sheet's name: all visible sheets with members. */
export const ALL_SHEETS = "*";
const DEFAULTS = { dry_run: false, existing: "update", all_or_nothing: false, empty_text: "" };

/**
 * Each file as a signal of
 *
 * - key: the Idempotency-Key. Sending again after a lost connection can't make a second upload.
 * - file, jobId, error.
 * - at: where its parts go, once that is known. transfer: {share, sent, secondsLeft} of it, while it
 *   goes. isCut: the line is cut, and the rest is sent when it is back.
 * - isKept: it is in this browser's storage until it is sent or removed.
 * - state: waiting -> checking -> chosen -> queued -> sending -> taken, or refused.
 * - check: what the API said of the file; null without a check. checkError: why there is none, or
 *   why the latest choices can't be used. asking: the request that checks them, if one is running.
 * - sheets: of the workbook, in the order of the first check.
 * - asked: {sheet, headers}: those that the first check of the sheet did not know. They stay at the
 *   top, so that a column does not move while its field is chosen.
 * - sheet, columns: the person's choices for this file; columns is the field by header. pairs: the
 *   columns as they are typed where there is no check.
 * - options: what it was sent with.
 */
export const files = signal([]);
/** The options of the files that are chosen; they stay as they are while other views are shown. */
export const options = signal(DEFAULTS);
/** Codes of refusals after which sending the file without a check would fare no better. */
const REFUSING = new Set(
  "duplicate_upload empty_file file_too_large infected_file unsupported_file".split(" "),
);
export const isSending = computed(() =>
  files.value.some((file) => ["queued", "sending"].includes(file.value.state)),
);
/** The transfer of this moment, and its entry; one file is sent at a time. */
let current = null;
/** What of an entry is kept in the browser. */
const KEPT = ["key", "file", "at", "sheet", "columns", "pairs"];

const owner = computed(() => user.value?.id ?? null);
effect(() => {
  if (owner.value === null) {
    current?.request.abort();
    files.value = [];
    options.value = DEFAULTS;
  } else {
    restore(owner.value);
  }
});

/** Take up the files of before a reload or the end of a sign-in. */
async function restore(id) {
  const found = (await keptOf(id)).map((one) => entryOf({ ...one, isKept: true }));
  if (owner.peek() !== id || !found.length) return;
  files.value = [...found, ...files.peek()];
  say(t("upload.restored", { n: found.length }));
  checkNext();
}

async function remember(entry) {
  const { chosenAt, ...all } = entry.peek();
  const what = Object.fromEntries(KEPT.map((name) => [name, all[name]]));
  const isKept = await keep({ ...what, owner: owner.peek(), chosenAt });
  if (isKept !== all.isKept) change(entry, { isKept });
}

addEventListener("beforeunload", (event) => {
  const isLost = files.peek().some((entry) => !entry.peek().isKept && entry.peek().state !== "taken");
  if (isLost || isSending.peek()) event.preventDefault();
});

const change = (entry, changes) => {
  const before = entry.peek();
  entry.value = { ...before, ...changes };
  const isNew = KEPT.some((name) => entry.peek()[name] !== before[name]);
  if (isNew && files.peek().includes(entry)) remember(entry);
};

const inState = (...states) => files.peek().find((entry) => states.includes(entry.peek().state));

/** Take files to the list, and check them. */
export function choose(chosen) {
  const added = [...chosen].map((file) => entryOf({ key: randomKey(), file, chosenAt: Date.now() }));
  if (!added.length) return;
  files.value = [...files.peek(), ...added];
  added.forEach(remember);
  say(t("upload.chosen", { n: added.length }));
  checkNext();
}

const entryOf = (known) =>
  signal({
    at: null,
    state: "waiting",
    transfer: null,
    isCut: false,
    isKept: false,
    error: null,
    jobId: null,
    check: null,
    checkError: null,
    asking: null,
    sheets: [],
    asked: null,
    sheet: null,
    columns: {},
    pairs: [],
    options: null,
    ...known,
  });

export function remove(entry) {
  files.value = files.peek().filter((other) => other !== entry);
  forget(entry.peek().key);
  abort(entry);
  const { at, check, state } = entry.peek();
  if (at && !check && state !== "taken") discardFile(at);
}

function abort(entry) {
  if (current?.entry === entry) current.request.abort();
}

/** Send what the server doesn't have of a file; gives the id to check it and to send it by. */
async function transferred(entry) {
  try {
    return await sendFile(entry.peek().file, {
      at: entry.peek().at,
      onAddress: (at) => change(entry, { at }),
      onProgress: (transfer) => change(entry, { transfer }),
      onCut: (isCut) => {
        if (isCut !== entry.peek().isCut) change(entry, { isCut });
      },
      onRequest: (request) => {
        current = { entry, request };
      },
    });
  } finally {
    if (current?.entry === entry) current = null;
    change(entry, { isCut: false, transfer: null });
  }
}

/** Do something with a file that the server has; one that was removed there is sent once more. */
async function withFile(entry, act) {
  const { at } = entry.peek();
  try {
    return await act(await transferred(entry));
  } catch (error) {
    if (error.status !== 404 || !at) throw error;
    change(entry, { at: null, check: null });
    return await act(await transferred(entry));
  }
}

export function removeDone() {
  files.value = files.peek().filter((entry) => entry.peek().state !== "taken");
}

// --- the check --------------------------------------------------------------------------------

async function checkNext() {
  if (isBusy()) return;
  const entry = inState("waiting");
  if (!entry) return;
  change(entry, { state: "checking", checkError: null });
  const { file, sheet } = entry.peek();
  try {
    const { data } = await withFile(entry, (id) =>
      post(`bulk-upload/check/${id}`, {
        sheet,
        columns: columnsOf(entry.peek()),
        empty_text: emptyText(),
        allow_duplicate: false,
      }),
    );
    // Skipped, or removed, while the server was asked.
    if (entry.peek().state !== "checking") return goOn();
    learnCheck(entry, data);
    change(entry, { state: "chosen" });
    say(checkedInWords(entry.peek()));
  } catch (error) {
    if (entry.peek().state !== "checking") return goOn();
    if (REFUSING.has(error.code)) change(entry, { state: "refused", error });
    else change(entry, { state: "chosen", checkError: error.code === "stopped" ? null : error });
    if (error.code !== "stopped") say(`${file.name}: ${error.message}`);
  }
  goOn();
}

/** Is a file being sent, checked or taken? The next one waits for it. */
const isBusy = () => Boolean(inState("checking", "sending"));

function goOn() {
  sendNext();
  checkNext();
}

function learnCheck(entry, check) {
  const { sheets, asked, sheet } = entry.peek();
  const headers = () => check.columns.filter(({ field }) => !field).map(({ header }) => header);
  const now = Object.fromEntries(check.sheets.map((sheet) => [sheet.name, sheet]));
  change(entry, {
    check,
    checkError: null,
    sheets: sheets.length
      ? sheets.map((sheet) => ({ ...sheet, ...now[sheet.name], is_hidden: sheet.is_hidden }))
      : check.sheets,
    asked: asked?.sheet === sheet ? asked : { sheet, headers: headers() },
  });
}

function checkedInWords({ file, check }) {
  const n = check.rows_expected;
  if (!check.is_checked) return t("said.not_checked", { file: file.name });
  const missing = check.missing.map((name) => fieldName(name)).join(", ");
  if (missing) return t("said.checked.missing", { file: file.name, fields: missing });
  return n === null ? t("said.checked", { file: file.name }) : t("said.checked.rows", { file: file.name, n });
}

/** Check a file no further; it can be sent without. */
export function skipCheck(entry) {
  change(entry, { state: "chosen" });
  abort(entry);
  goOn();
}

/** Check a file that was not checked, or whose check is gone. */
export function checkFile(entry) {
  change(entry, { state: "waiting", check: null, checkError: null, sheets: [], asked: null });
  checkNext();
}

/** Choose a field for a column; "leave": leave it out, "": as Rollbook reads it without a choice. */
export function chooseField(entry, header, field) {
  const { [header]: _, ...others } = entry.peek().columns;
  change(entry, { columns: field ? { ...others, [header]: field === "leave" ? null : field } : others });
  checkChoices(entry);
}

/** Choose the sheet to read. */
export function chooseSheet(entry, sheet) {
  change(entry, { sheet, columns: {} });
  checkChoices(entry);
}

/** What is typed for a file that could not be checked: the sheet, and pairs of header and field. */
export function type(entry, typed) {
  change(entry, typed);
  const { pairs } = entry.peek();
  const named = pairs.filter(({ header, field }) => header.trim() && field);
  change(entry, {
    columns: Object.fromEntries(
      named.map(({ header, field }) => [header.trim(), field === "leave" ? null : field]),
    ),
  });
}

/**
 * The field by header that the API gets: null where the person chose nothing. Otherwise with what
 * was remembered for these headers, since the API then forgets that.
 */
function columnsOf({ columns, check }) {
  if (!Object.keys(columns).length) return null;
  const remembered = (check?.columns ?? []).filter(({ how, field }) => how === "remembered" && field);
  return { ...Object.fromEntries(remembered.map(({ header, field }) => [header, field])), ...columns };
}

const emptyText = () => options.peek().empty_text.trim() || null;

/** Check the chosen files again, with another text that empties a field. */
export function checkEmptyText() {
  for (const entry of files.peek()) {
    const { state, check } = entry.peek();
    if (state === "chosen" && check?.is_checked) checkChoices(entry);
  }
}

/** The person's choices as fields of a form. */
function choicesOf(entry) {
  const columns = columnsOf(entry);
  return {
    ...(entry.sheet?.trim() ? { sheet: entry.sheet.trim() } : {}),
    ...(columns ? { columns: JSON.stringify(columns) } : {}),
  };
}

async function checkChoices(entry) {
  const { check, sheet, file } = entry.peek();
  const asking = Symbol("request");
  change(entry, { asking });
  const isLatest = () => entry.peek().asking === asking;
  try {
    const { data } = await post(`bulk-upload/check/${check.check_id}`, {
      sheet,
      columns: columnsOf(entry.peek()),
      empty_text: emptyText(),
    });
    if (!isLatest()) return;
    learnCheck(entry, data);
    say(checkedInWords(entry.peek()));
  } catch (error) {
    if (!isLatest()) return;
    change(entry, { checkError: error });
    say(`${file.name}: ${error.message}`);
  }
  change(entry, { asking: null });
}

/** Is there something about the file that its sender should look at first? */
export function isDoubtful({ check, checkError, sheets, sheet, columns }) {
  if (!check?.is_checked) return false;
  const isUnclear = check.columns.some(
    ({ header, field, suggestions }) => !field && suggestions.length > 0 && !(header in columns),
  );
  const isOneOfSeveral = !sheet && withMembers(sheets).length > 1;
  const isFlawed = checkError || check.missing.length > 0 || check.warnings.length > 0;
  return Boolean(isFlawed || isUnclear || isOneOfSeveral);
}

/** The sheets that are read where all are wanted. */
export const withMembers = (sheets) => sheets.filter((one) => one.holds_members && !one.is_hidden);

// --- sending ----------------------------------------------------------------------------------

/** Send all chosen files, `changes` going over the options. */
export function sendAll(changes = {}) {
  for (const entry of files.peek())
    if (entry.peek().state === "chosen")
      change(entry, { state: "queued", options: { ...options.peek(), ...changes } });
  sendNext();
}

/** Send a refused file once more. */
export function sendAgain(entry, changes = {}) {
  const before = entry.peek().options ?? options.peek();
  change(entry, { state: "queued", error: null, options: { ...before, ...changes } });
  sendNext();
}

/** Run a file for real after its dry run; its entry shows that upload from then on. */
export async function runTried(entry) {
  const { jobId: tried, options: given } = entry.peek();
  const jobId = await runForReal(tried);
  follow(jobId, true);
  change(entry, { jobId, options: { ...given, dry_run: false } });
  say(t("dry_run.started"));
  listChanged.value += 1;
}

/** Send a file no further. */
export function stop(entry) {
  if (entry.peek().state === "sending") abort(entry);
  else change(entry, { state: "chosen", options: null });
}

const sendOne = (entry) =>
  withFile(entry, (check_id) => {
    const { key, options: given } = entry.peek();
    return sendForm("bulk-upload/process", { ...given, ...choicesOf(entry.peek()), check_id }, key);
  });

async function sendNext() {
  if (isBusy()) return;
  const entry = inState("queued");
  if (!entry) return;
  change(entry, { state: "sending" });
  const { file } = entry.peek();
  say(t("said.sending", { file: file.name }));
  try {
    const { data } = await sendOne(entry);
    follow(data.job_id, true);
    change(entry, { state: "taken", jobId: data.job_id });
    forget(entry.peek().key);
    say(t("said.taken", { file: file.name }));
    listChanged.value += 1;
  } catch (error) {
    change(entry, { state: "refused", error });
    say(`${file.name}: ${error.message}`);
  }
  goOn();
}
