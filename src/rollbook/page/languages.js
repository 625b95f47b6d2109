// The page's language: the one that was chosen in this browser, or the one that the server chose by
// what the browser prefers. The languages themselves are in texts/all.js, which the server makes.
import { LANGUAGES } from "./texts/all.js";

const KEPT_AS = "rollbook.language";

const chosen = () => {
  try {
    return localStorage.getItem(KEPT_AS);
  } catch {
    return null; // the browser keeps nothing
  }
};

const isThere = (tag) => LANGUAGES.some((language) => language.tag === tag);

/** The language of this page, until it is loaded again. */
export const LANGUAGE = [chosen(), document.documentElement.lang, "en"].find(isThere);
document.documentElement.lang = LANGUAGE;
