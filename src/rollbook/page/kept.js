// The files that aren't sent yet, in this browser: a reload or an ended sign-in loses none.
// In IndexedDB, since it takes files. Where the browser has none (as in some private windows) the
// files are in the page alone, as before.

const NAME = "rollbook";
const STORE = "files";
/** Milliseconds after which a file is forgotten whose owner didn't come back. */
const MOST_MS = 24 * 3600 * 1000;

const asked = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

async function store(mode) {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "key" });
  const database = await asked(opening);
  const transaction = database.transaction(STORE, mode);
  transaction.oncomplete = () => database.close();
  return transaction.objectStore(STORE);
}

/** Keep a file, {key, owner, file, ...}, in place of an earlier one with its key. Did it work? */
export async function keep(entry) {
  try {
    await asked((await store("readwrite")).put(entry));
    return true;
  } catch {
    return false;
  }
}

/** Forget the file of a key. */
export async function forget(key) {
  try {
    await asked((await store("readwrite")).delete(key));
  } catch {
    // Nothing is kept here.
  }
}

/** The files of an owner, in the order in which they were chosen. */
export async function keptOf(owner) {
  try {
    const all = await asked((await store("readonly")).getAll());
    const found = all.filter(({ chosenAt }) => Date.now() - chosenAt < MOST_MS);
    for (const entry of all) if (!found.includes(entry)) await forget(entry.key);
    return found.filter((entry) => entry.owner === owner).sort((one, other) => one.chosenAt - other.chosenAt);
  } catch {
    return [];
  }
}

/** Forget the files of all: on an office's shared computer, who signs out leaves nothing. */
export async function forgetAll() {
  try {
    await asked((await store("readwrite")).clear());
  } catch {
    // Nothing is kept here.
  }
}
