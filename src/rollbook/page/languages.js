// The page's language: the one that was chosen in this browser, or the one that the server chose by
// what the browser prefers. The languages themselves are in texts/all.js, which the server makes.
// Another language is another load of the page: chosen files and edited rows outlive that.
import { LANGUAGES } from "./texts/all.js";

const KEPT_AS = "rollbook.language";
/** Chosen in front of a sign-in, to be kept with the account. */
const CHOSEN_AS = "rollbook.language.chosen";

const read = (storage, name) => {
  try {
    return storage().getItem(name);
  } catch {
    return null; // the browser keeps nothing
  }
};
/** Whether it is kept: a browser that keeps nothing goes on in the language that it prefers. */
const keep = (storage, name, value) => {
  try {
    storage().setItem(name, value);
    return true;
  } catch {
    return false;
  }
};
const local = () => localStorage;
const ofTab = () => sessionStorage;

export const isThere = (tag) => LANGUAGES.some((language) => language.tag === tag);

/** The language of this page, until it is loaded again. */
export const LANGUAGE = [read(local, KEPT_AS), document.documentElement.lang, "en"].find(isThere);
document.documentElement.lang = LANGUAGE;

/** Load the page in another language, which this browser remembers. */
export function loadIn(tag) {
  if (keep(local, KEPT_AS, tag)) location.reload();
}

/** Load it in the language that somebody chose who isn't signed in yet. */
export function chooseIn(tag) {
  keep(ofTab, CHOSEN_AS, tag);
  loadIn(tag);
}

/** The language that was chosen in front of the sign-in, once, or null. */
export function takeChosen() {
  const tag = read(ofTab, CHOSEN_AS);
  if (tag !== null) sessionStorage.removeItem(CHOSEN_AS);
  return tag;
}

export { LANGUAGES };
