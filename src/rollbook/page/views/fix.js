// Fix on the page: the rows of an upload that were refused or are doubtful, in a grid, and sent again from there.
import { download, get, post } from "../api.js";
import { draftsOf } from "../drafts.js";
import { Grid } from "../grid.js";
import { html, useEffect, useId, useRef, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Go, Loading } from "../parts.js";
import { go } from "../router.js";
import { attempt, say, show } from "../said.js";
import { refusedRows } from "../uploads.js";
import { number, t } from "../words.js";

const PAGE = 100;
/** Rows of one check, and milliseconds in which several edits are one. */
const MOST_CHECKED = 100;
const GATHER_MS = 120;
/** Between two tries of a check that the server could not make. */
const LONGEST_PAUSE_MS = 30_000;
/** Values of these fields can be remembered for the office. */
const REMEMBERED = new Set(["province", "municipality", "gender", "citizenship", "race", "language"]);
const FILTERS = ["refused", "doubtful", "any"];

export function Fix({ id }) {
  const path = `bulk-upload/mend/${id}`;
  const { data, error, reload } = useLoaded(async () => {
    const [upload, first] = await Promise.all([
      get(`bulk-upload/status/${encodeURIComponent(id)}`),
      get(path, { is_open: true, page_size: 1 }),
    ]);
    return { upload, first };
  }, [id]);
  const kept = useRef(null);
  kept.current ??= draftsOf(id);
  // What was sent, erased or removed meanwhile can't be fixed any more.
  useEffect(() => {
    if (!data) return;
    if (kept.current.takeFromDryRun()) show(t("fix.from_dry_run"));
    dropMissing(path, kept.current);
  }, [data !== null]);
  const file = data?.upload.file_name ?? "";
  return html`<p class="back"><${Go} path="uploads/${id}">${file || t("upload.one")}<//></p>
    <h1 tabindex="-1">${t("fix.title")}</h1>
    ${error && html`<${Failure} error=${error} onRetry=${error.isPassing && reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${data && html`<${Workplace} id=${id} path=${path} loaded=${data} drafts=${kept.current} reload=${reload} />`}`;
}

async function dropMissing(path, drafts) {
  const numbers = Object.keys(drafts.all.peek().rows).map(Number);
  const there = new Set();
  try {
    for (let n = 0; n < numbers.length; n += MOST_CHECKED) {
      const rows = numbers.slice(n, n + MOST_CHECKED).map((row_number) => ({ row_number, cells: {} }));
      for (const { row_number } of (await post(`${path}/check`, { rows })).data) there.add(row_number);
    }
  } catch {
    return; // they are checked again before they are sent
  }
  const gone = numbers.filter((row) => !there.has(row));
  if (!gone.length) return;
  drafts.drop(gone);
  show(t("fix.dropped", { n: gone.length }), "bad");
}

/** Whether a value is replaced in a row. A repeat is only edited by itself: it may write over what the first of its rows says. */
const isReplacedIn = (row, { column, value }) =>
  row.outcome !== "duplicate" && row.problems.some((one) => one.column === column && one.value === value);

/** The edited cells of a row: its own, and values that are replaced wherever they are; null where it has none. */
function editsIn({ rows, values }, row) {
  const replaced = {};
  for (const one of values) if (isReplacedIn(row, one)) replaced[one.column] = one.becomes;
  const single = rows[row.row_number];
  return single || Object.keys(replaced).length ? { ...replaced, ...single } : null;
}

/** The rows of one filter, loaded page by page, with what the check says of those that were edited. */
function useRows(path, attention, drafts, version) {
  // Goes up when a cell may look different.
  const changed = useSignal(0);
  const store = useRef(null);
  if (store.current?.key !== `${attention} ${version}`) {
    store.current = { key: `${attention} ${version}`, rows: new Map(), last: new Map(), asking: new Map(), checks: new Map(), wanted: new Set(), timer: null, pause: GATHER_MS };
  }
  const own = store.current;
  changed.value;
  const edits = drafts.all.value;

  // Also for what goes on after a wait, when this is no longer the newest drawing.
  const editsOf = (row) => editsIn(drafts.all.peek(), row);

  /** Load a page, once for all who ask while it comes. */
  function load(page) {
    if (!own.asking.has(page)) own.asking.set(page, ask(page));
    return own.asking.get(page);
  }

  async function ask(page) {
    // From the nearest page before that is known: the way along the index is short then. The first page begins after
    // row 1, which holds headers: with 0, all rows would be counted again.
    const before = [...own.last.keys()].filter((one) => one < page).sort((a, b) => b - a)[0];
    const start = before === undefined ? { after: 1, skip: page * PAGE } : { after: own.last.get(before), skip: (page - before - 1) * PAGE };
    try {
      const { items } = await get(path, { attention, is_open: true, page_size: PAGE, ...start });
      if (own !== store.current) return;
      items.forEach((row, n) => own.rows.set(page * PAGE + n, row));
      if (items.length === PAGE) own.last.set(page, items.at(-1).row_number);
      changed.value += 1;
      items.forEach((row) => editsIn(drafts.all.peek(), row) && check(row));
    } catch (error) {
      if (own === store.current) show(error.message, "bad");
    } finally {
      own.asking.delete(page);
    }
  }

  /** Have the server say what the row would be; soon, together with others. */
  function check(row) {
    own.wanted.add(row);
    own.timer ??= setTimeout(askChecks, GATHER_MS);
  }

  async function askChecks() {
    own.timer = null;
    const rows = [...own.wanted].slice(0, MOST_CHECKED);
    rows.forEach((row) => own.wanted.delete(row));
    const current = drafts.all.peek();
    const asked = rows.map((row) => ({ row, cells: editsIn(current, row) })).filter(({ row, cells }) => {
      if (!cells) own.checks.delete(row.row_number);
      return cells;
    });
    if (asked.length) {
      try {
        const body = { rows: asked.map(({ row, cells }) => ({ row_number: row.row_number, cells })) };
        const { data } = await post(`${path}/check`, body);
        const byNumber = new Map(data.map((one) => [one.row_number, one]));
        for (const { row, cells } of asked) {
          const asSent = JSON.stringify(cells);
          // The answer about an older edit may come after that about a newer one.
          if (JSON.stringify(editsOf(row)) === asSent)
            own.checks.set(row.row_number, { cells: asSent, ...(byNumber.get(row.row_number) ?? { verdict: "gone", problems: [] }) });
        }
        own.pause = GATHER_MS;
      } catch (error) {
        show(error.message, "bad");
        if (error.isPassing) {
          // Without another try, the rows would be "being checked" until the next edit.
          for (const { row } of asked) own.wanted.add(row);
          own.pause = Math.min(5 * own.pause, LONGEST_PAUSE_MS);
        }
      }
    }
    if (own !== store.current) return;
    changed.value += 1;
    if (own.wanted.size) own.timer ??= setTimeout(askChecks, own.pause);
  }

  // Who leaves the view waits for no check.
  useEffect(() => () => {
    clearTimeout(store.current.timer);
    store.current = null;
  }, []);

  // Undoing, and replacing values, change rows that were not typed in.
  useEffect(() => {
    for (const row of own.rows.values()) {
      const cells = editsOf(row);
      const known = own.checks.get(row.row_number);
      if (cells ? known?.cells !== JSON.stringify(cells) : known) check(row);
    }
  }, [edits]);

  /** What is said of a row now: the check of its edits, or what the upload has found. */
  function problemsOf(row) {
    const cells = editsOf(row);
    const checked = cells && own.checks.get(row.row_number);
    return checked && checked.cells === JSON.stringify(cells) ? checked : null;
  }

  return {
    row: (index) => own.rows.get(index),
    /** Load rows, one page after the other: each begins where the one before has ended. */
    async need(first, end) {
      for (let page = Math.floor(first / PAGE); page * PAGE < end; page++) if (!own.rows.has(page * PAGE)) await load(page);
    },
    editsOf,
    checked: problemsOf,
    /** Checks of edited rows that say that they would be refused again. */
    refusedAgain: () =>
      Object.keys(edits.rows).filter((row) => own.checks.get(Number(row))?.verdict === "invalid" || own.checks.get(Number(row))?.verdict === "out_of_scope"),
    loaded: () => own.rows,
  };
}

function Workplace({ id, path, loaded, drafts, reload }) {
  const { upload, first } = loaded;
  const fieldId = useId();
  const counts = useSignal(first.counts);
  const attention = useSignal(first.counts.refused ? "refused" : "any");
  const version = useSignal(0);
  const active = useSignal([0, 0]);
  const isBusy = useSignal(false);
  const columns = first.columns.map(({ header }) => header);
  const rows = useRows(path, attention.value, drafts, version.value);
  const facets = useLoaded(() => get(`bulk-upload/facets/${id}`), [id, version.value]);
  const total = counts.value[attention.value];
  const edits = drafts.all.value;

  const again = async () => {
    const next = await get(path, { is_open: true, page_size: 1 });
    counts.value = next.counts;
    version.value += 1;
  };

  function cell(index, column) {
    const row = rows.row(index);
    if (!row) return null;
    const edited = rows.editsOf(row);
    const name = columns[column];
    const isEdited = edited !== null && name in edited;
    const problems = (rows.checked(row) ?? row).problems.filter((one) => one.column === name);
    // Until it is checked, an edited cell has no problem.
    const found = isEdited && !rows.checked(row) ? undefined : problems.find((one) => one.severity === "error") ?? problems[0];
    return {
      text: (isEdited ? edited[name] : row.cells[column]) ?? "",
      mark: found?.severity,
      isEdited,
      label: found?.message,
    };
  }

  function head(index) {
    const row = rows.row(index);
    if (!row) return null;
    const checked = rows.checked(row);
    const isRefused = ["invalid", "duplicate", "out_of_scope"].includes(row.outcome);
    let state = isRefused ? "refused" : "doubtful";
    if (rows.editsOf(row)) {
      if (!checked) state = "checking";
      else if (checked.verdict !== "valid") state = "still";
      else state = checked.problems.length ? "ready_doubtful" : "ready";
    }
    return { number: row.row_number, words: t(`fix.state.${state}`), look: `is-${state}` };
  }

  const onEdit = (changes) => {
    const meant = changes
      .map(({ row, column, value }) => ({ row: rows.row(row), column, value }))
      .filter(({ row, column, value }) => row && value !== (rows.editsOf(row)?.[columns[column]] ?? row.cells[column] ?? ""));
    if (!meant.length) return;
    drafts.edit(
      meant.map(({ row, column, value }) => {
        const name = columns[column];
        const isOwn = value === (row.cells[column] ?? "") && !drafts.all.peek().values.some((one) => one.column === name);
        return { row: row.row_number, column: name, value: isOwn ? undefined : value };
      }),
    );
  };

  /** The next cell with a problem, among the rows that are loaded. */
  function next(row, column, step) {
    const width = columns.length;
    // From a cell without a mark, those before it in its row come first.
    const isAt = cell(row, column)?.mark;
    const start = row * width + (isAt ? column + step : step > 0 ? 0 : width - 1);
    for (let place = start; place >= 0 && place < total * width; place += step) {
      const at = [Math.floor(place / width), place % width];
      if (!rows.row(at[0])) return step > 0 ? [at[0], 0] : [at[0], width - 1];
      if (cell(...at)?.mark) return at;
    }
    return null;
  }

  const refusedAgain = rows.refusedAgain();
  const single = Object.keys(edits.rows).filter((row) => !refusedAgain.includes(row));
  const inAll = edits.values.reduce((sum, one) => sum + one.rows, 0);
  const isTwice = (row) => [...rows.loaded().values()].some(
    (one) => String(one.row_number) === row && edits.values.some((value) => isReplacedIn(one, value)),
  );
  // A row that stays because of its own edits isn't sent without them either.
  const n = inAll - refusedAgain.filter(isTwice).length + single.filter((row) => !inAll || !isTwice(row)).length;

  const send = async () => {
    isBusy.value = true;
    const body = {
      rows: single.map((row) => ({ row_number: Number(row), cells: edits.rows[row] })),
      values: edits.values.map(({ column, value, becomes, remember }) => ({ column, value, becomes, remember })),
      leave: refusedAgain.map(Number),
    };
    // What is replaced in a row that stays is an edit of its own from now on.
    const stays = [...rows.loaded().values()].filter((row) => body.leave.includes(row.row_number));
    const own = stays.flatMap((row) => Object.entries(rows.editsOf(row)).map(([column, value]) => ({ row: row.row_number, column, value })));
    try {
      const { message, data } = await post(path, body);
      if (upload.dry_run) drafts.keepForRun({ rows: Object.fromEntries(single.map((row) => [row, edits.rows[row]])), values: edits.values });
      drafts.drop(single.map(Number), edits.values);
      if (own.length) drafts.edit(own);
      show(message);
      go(`uploads/${data.job_id}`);
    } catch (error) {
      if (error.more?.rows) {
        drafts.drop(error.more.rows);
        await attempt(again);
      }
      show(error.message, "bad");
    }
    isBusy.value = false;
  };

  // What comes later would move the button that somebody is about to press.
  if (!facets.data && !facets.error) return html`<${Loading} />`;
  return html`<p class="lead">${t("fix.lead")}</p>
    ${!first.is_whole && html`<p class="notice">${t("fix.masked")}</p>`}
    ${first.not_stored > 0 && html`<p class="notice">${t("fix.not_stored", { n: first.not_stored })}</p>`}
    ${!drafts.isKept.value && html`<p class="notice bad" role="alert">${t("fix.not_kept")}</p>`}
    ${upload.dry_run && html`<p class="notice">${t("fix.dry_run")}</p>`}
    <${Facets} found=${facets} edits=${edits} drafts=${drafts} />
    <section class="card fix" aria-labelledby="${fieldId}-rows">
      <div class="fix-head"><h2 id="${fieldId}-rows">${t("fix.rows")}</h2>
        <div class="field"><label for="${fieldId}-filter">${t("rows.filter")}</label>
          <select id="${fieldId}-filter" value=${attention.value} onChange=${(event) => {
            attention.value = event.target.value;
          }}>${FILTERS.map((name) => html`<option key=${name} value=${name}>
            ${t(`fix.filter.${name}`)} (${number(counts.value[name])})</option>`)}</select></div></div>
      ${
        total
          ? html`<${Grid} key=${`${attention.value} ${version.value}`} columns=${columns} total=${total} cell=${cell} head=${head}
            need=${rows.need} onEdit=${onEdit} onLost=${(n, rows) => show(t("fix.not_changed", { n, rows }), "bad")}
            onUndo=${drafts.undo} onRedo=${drafts.redo} next=${next}
            onActive=${(row, column) => {
              active.value = [row, column];
            }} label=${t("fix.grid", { n: total })} hint=${t("fix.keys")} />
          <${About} row=${rows.row(active.value[0])} checked=${rows.row(active.value[0]) && rows.checked(rows.row(active.value[0]))}
            column=${columns[active.value[1]]} />`
          : html`<p class="nothing">${t("fix.none")}</p>`
      }
    </section>
    <div class="fix-send">
      <p class="hint" role="status">${n || refusedAgain.length ? t("fix.kept", { n }) : t("fix.nothing")}
        ${refusedAgain.length > 0 && ` ${t("fix.refused_again", { n: refusedAgain.length })}`}</p>
      <div class="actions left">
        <button type="button" disabled=${!n || isBusy.value} onClick=${send}>${t("fix.send", { n })}</button>
        ${upload.failed_rows_available && refusedRows(upload) > 0 && html`<button type="button" class="quiet" onClick=${() => attempt(() => download(`bulk-upload/failed-rows/${id}`))}>${t("action.failed_rows")}</button>`}
      </div></div>`;
}

/** What is said of the active cell and of its row as a whole. */
function About({ row, checked, column }) {
  if (!row) return html`<div class="fix-about" role="status"></div>`;
  const problems = (checked ?? row).problems;
  const here = problems.filter((one) => one.column === column);
  const whole = problems.filter((one) => one.column === null);
  const lines = here.map(({ message, kept, severity }) =>
    severity === "warning" ? `${message} ${kept ? t("fix.read_as", { kept }) : ""}` : message,
  );
  for (const { message } of whole) lines.push(message);
  if (!checked && row.outcome === "duplicate") lines.push(t("rows.duplicate", { row: String(row.duplicate_of) }));
  if (!checked && row.outcome === "out_of_scope" && !problems.some(({ code }) => code === "other_office")) lines.push(t("rows.out_of_scope"));
  if (!lines.length && problems.length) lines.push(t("fix.elsewhere", { columns: [...new Set(problems.map((one) => one.column))].join(", ") }));
  return html`<div class="fix-about" role="status"><strong>${t("fix.where", { row: String(row.row_number), column })}</strong>
    ${lines.length ? lines.map((line) => html`<p key=${line}>${line}</p>`) : html`<p class="hint">${t("fix.fine")}</p>`}</div>`;
}

/** Equal wrong values, replaced at once. */
function Facets({ found, edits, drafts }) {
  const id = useId();
  const values = found.data?.values ?? [];
  const isChosen = (one) => edits.values.find(({ column, value }) => column === one.column && value === one.value);
  const open = values.filter((one) => !isChosen(one)).slice(0, 12);
  if (!open.length && !edits.values.length) return null;
  return html`<section class="card facets" aria-labelledby=${id}><h2 id=${id}>${t("fix.facets")}</h2>
    <p class="hint">${t("fix.facets.lead")}</p>
    <ul>${edits.values.map(
      (one) => html`<li key=${`${one.column} ${one.value}`} class="done"><span>${t("fix.facet.done", { n: one.rows, value: one.value, becomes: one.becomes, column: one.column })}
        ${one.remember && ` ${t("fix.facet.kept")}`}</span>
        <button type="button" class="text" aria-label=${t("fix.facet.undo.of", { value: one.value })} onClick=${() => drafts.keepValue(one)}>${t("fix.facet.undo")}</button></li>`,
    )}${open.map((one) => html`<${Facet} key=${`${one.column} ${one.value}`} facet=${one} drafts=${drafts} />`)}</ul></section>`;
}

function Facet({ facet, drafts }) {
  const id = useId();
  const becomes = useSignal(facet.suggestion ?? "");
  const remember = useSignal(false);
  const replace = (event) => {
    event.preventDefault();
    const { column, value, rows } = facet;
    drafts.replace({ column, value, rows, becomes: becomes.value.trim(), remember: remember.value });
    say(t("fix.facet.done", { n: rows, value, becomes: becomes.value.trim(), column }));
    requestAnimationFrame(() => (document.querySelector(".facets form input") ?? document.querySelector("[role=grid]"))?.focus());
  };
  return html`<li><form onSubmit=${replace}>
    <label for=${id}><strong>${t("fix.facet", { n: facet.rows, value: facet.value, column: facet.column })}</strong>
      <small>${facet.message}</small></label>
    <div class="facet-way"><input id=${id} value=${becomes.value} required maxlength="200" autocomplete="off" spellcheck=${false} onInput=${(event) => {
      becomes.value = event.target.value;
    }} />
    <button type="submit" class="quiet">${t("fix.facet.make", { n: facet.rows })}</button></div>
    ${REMEMBERED.has(facet.field) && html`<label class="check"><input type="checkbox" checked=${remember.value} onChange=${(event) => {
      remember.value = event.target.checked;
    }} />${t("fix.facet.remember")}</label>`}</form></li>`;
}
