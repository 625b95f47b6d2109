// The files that are to be sent: checked as they are chosen, and sent one after the other, while
// any view is shown.
import { post, randomKey, sendForm, session } from "./api.js";
import { fieldName } from "./fields.js";
import { computed, effect, signal } from "./html.js";
import { say } from "./said.js";
import { follow, listChanged } from "./uploads.js";
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
 * - file, share (sent, 0 to 1), jobId, error.
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
export const isSending = computed(() =>
  files.value.some((file) => ["queued", "sending"].includes(file.value.state)),
);
/** The requests that send bytes at this moment, by what they are for. */
const current = { check: null, send: null };

effect(() => {
  if (session.value === null) {
    for (const request of Object.values(current)) request?.abort();
    files.value = [];
    options.value = DEFAULTS;
  }
});

addEventListener("beforeunload", (event) => {
  if (isSending.peek()) event.preventDefault();
});

const change = (entry, changes) => {
  entry.value = { ...entry.peek(), ...changes };
};

const inState = (...states) => files.peek().find((entry) => states.includes(entry.peek().state));

/** Take files to the list, and check them. */
export function choose(chosen) {
  const added = [...chosen].map((file) =>
    signal({
      key: randomKey(),
      file,
      state: "waiting",
      share: 0,
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
    }),
  );
  if (!added.length) return;
  files.value = [...files.peek(), ...added];
  say(t("upload.chosen", { n: added.length }));
  checkNext();
}

export function remove(entry) {
  const { state } = entry.peek();
  files.value = files.peek().filter((other) => other !== entry);
  if (state === "checking") current.check?.abort();
}

export function removeDone() {
  files.value = files.peek().filter((entry) => entry.peek().state !== "taken");
}

// --- the check --------------------------------------------------------------------------------

async function checkNext() {
  if (current.check) return;
  const entry = inState("waiting");
  if (!entry) return;
  change(entry, { state: "checking", share: 0, checkError: null });
  const { file } = entry.peek();
  try {
    const { data } = await sendForm("bulk-upload/check", choicesOf(entry.peek()), {
      file,
      onProgress: (share) => change(entry, { share }),
      onRequest: (request) => {
        current.check = request;
      },
    });
    learnCheck(entry, data);
    change(entry, { state: "chosen" });
    say(checkedInWords(entry.peek()));
  } catch (error) {
    if (error.code === "duplicate_upload") change(entry, { state: "refused", error });
    else change(entry, { state: "chosen", checkError: error.code === "stopped" ? null : error });
    if (error.code !== "stopped") say(`${file.name}: ${error.message}`);
  }
  current.check = null;
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
  if (entry.peek().state === "checking") current.check?.abort();
  else change(entry, { state: "chosen" });
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
  change(entry, { state: "queued", error: null, share: 0, options: { ...before, ...changes } });
  sendNext();
}

/** Send a file no further. */
export function stop(entry) {
  if (entry.peek().state === "sending") current.send?.abort();
  else change(entry, { state: "chosen", options: null });
}

async function sendOne(entry) {
  const { file, key, check, options: given } = entry.peek();
  const how = {
    key,
    onProgress: (share) => change(entry, { share }),
    onRequest: (request) => {
      current.send = request;
    },
  };
  const fields = { ...given, ...choicesOf(entry.peek()) };
  if (check) {
    try {
      return await sendForm("bulk-upload/process", { ...fields, check_id: check.check_id }, how);
    } catch (error) {
      // The checked file was removed, since it was not sent in time.
      if (error.status !== 404) throw error;
      change(entry, { check: null });
    }
  }
  return await sendForm("bulk-upload/process", fields, { ...how, file });
}

async function sendNext() {
  if (inState("sending")) return;
  const entry = inState("queued");
  if (!entry) return;
  change(entry, { state: "sending", share: 0 });
  const { file } = entry.peek();
  say(t("said.sending", { file: file.name }));
  try {
    const { data } = await sendOne(entry);
    follow(data.job_id, true);
    change(entry, { state: "taken", share: 1, jobId: data.job_id });
    say(t("said.taken", { file: file.name }));
    listChanged.value += 1;
  } catch (error) {
    change(entry, { state: "refused", error });
    say(`${file.name}: ${error.message}`);
  }
  current.send = null;
  sendNext();
}
