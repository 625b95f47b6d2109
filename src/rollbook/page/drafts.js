// Fixed rows that aren't sent yet. They are kept in the tab: a reload or an ended sign-in loses none, and
// they end with the tab, as the session does, since they hold members' data.
import { user } from "./api.js";
import { signal } from "./html.js";

const KEPT_AS = "rollbook.fixes";

const key = (id) => `${KEPT_AS}.${user.peek()?.id}.${id}`;

/** Of a dry run: what was fixed and sent there counts for its real run too. */
const ofDryRun = (id) => `dry run ${id}`;
/** Of a real run: the dry run that it came from. */
const origin = (id) => key(`origin of ${id}`);

/** What is kept of an upload: {rows: {number: {header: value}}, values: [{column, value, becomes, remember, rows}]}. */
function kept(id) {
  try {
    const found = JSON.parse(sessionStorage.getItem(key(id)));
    return found?.rows && found?.values ? found : { rows: {}, values: [] };
  } catch {
    return { rows: {}, values: [] };
  }
}

function originOf(id) {
  try {
    return sessionStorage.getItem(origin(id));
  } catch {
    return null; // the browser keeps nothing
  }
}

/** Remember that an upload is the real run of a dry run. */
export function isRunOf(id, dryRun) {
  try {
    sessionStorage.setItem(origin(id), dryRun);
  } catch {
    // Without room, what was fixed in the dry run is not offered again; it is in that run's report.
  }
}

/** Nobody who signs in next in this tab may find them. */
export function forgetDrafts() {
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(`${KEPT_AS}.`)) sessionStorage.removeItem(name);
}

/**
 * The drafts of an upload: a signal `all`, and functions that change it.
 * `edit` takes [{row, column, value}], where undefined is the file's own value.
 */
export function draftsOf(id) {
  const all = signal(kept(id));
  const before = [];
  const after = [];
  /** False where the browser has no room for them. */
  const isKept = signal(true);

  function write(next) {
    all.value = next;
    try {
      if (isAny(next)) sessionStorage.setItem(key(id), JSON.stringify(next));
      else sessionStorage.removeItem(key(id));
      isKept.value = true;
    } catch {
      isKept.value = false;
    }
  }

  function change(next) {
    before.push(all.peek());
    after.length = 0;
    write(next);
  }

  function edit(changes) {
    const rows = { ...all.peek().rows };
    for (const { row, column, value } of changes) {
      const cells = { ...rows[row] };
      if (value === undefined) delete cells[column];
      else cells[column] = value;
      if (Object.keys(cells).length) rows[row] = cells;
      else delete rows[row];
    }
    change({ ...all.peek(), rows });
  }

  function step(from, to) {
    if (!from.length) return false;
    to.push(all.peek());
    write(from.pop());
    return true;
  }

  return {
    all,
    isKept,
    edit,
    replace: (value) => change({ ...all.peek(), values: [...without(all.peek().values, value), value] }),
    keepValue: (value) => change({ ...all.peek(), values: without(all.peek().values, value) }),
    undo: () => step(before, after),
    redo: () => step(after, before),
    /** Keep what is sent of this dry run for its real run. */
    keepForRun(sent) {
      try {
        sessionStorage.setItem(key(ofDryRun(id)), JSON.stringify(sent));
      } catch {
        isKept.value = false;
      }
    },
    /** Take what was fixed in the dry run that this is the real run of; gives whether there was any. */
    takeFromDryRun() {
      const dryRun = originOf(id);
      const found = kept(ofDryRun(dryRun));
      if (!dryRun || isAny(all.peek()) || !isAny(found)) return false;
      sessionStorage.removeItem(key(ofDryRun(dryRun)));
      write(found);
      return true;
    },
    /** Rows that are sent, or no longer there: undoing must not bring them back. */
    drop(numbers, values = []) {
      before.length = after.length = 0;
      const gone = new Set(numbers.map(String));
      const rows = Object.fromEntries(Object.entries(all.peek().rows).filter(([number]) => !gone.has(number)));
      write({ rows, values: values.reduce(without, all.peek().values) });
    },
  };
}

const isAny = ({ rows, values }) => Object.keys(rows).length > 0 || values.length > 0;

const without = (values, one) => values.filter(({ column, value }) => column !== one.column || value !== one.value);
