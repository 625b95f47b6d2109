// The choice of the page's language, each in its own name.
import { html } from "../html.js";
import { LANGUAGE, LANGUAGES } from "../languages.js";
import { t } from "../words.js";

/** A list of languages, where there are several; `choose` gets the tag of the chosen one. */
export function LanguagePicker({ choose, hint }) {
  if (LANGUAGES.length < 2) return null;
  const chosen = LANGUAGES.find(({ tag }) => tag === LANGUAGE);
  return html`<div class="field language"><label for="language">${t("language.label")}</label>
    <select id="language" value=${LANGUAGE} onChange=${(event) => choose(event.target.value)}
      aria-describedby="language-hint">${LANGUAGES.map(
        ({ tag, name, isReviewed }) => html`<option key=${tag} value=${tag} lang=${tag} selected=${tag === LANGUAGE}>
          ${isReviewed ? name : t("language.machine", { name })}</option>`,
      )}</select>
    <p class="hint" id="language-hint">${hint}${" "}${!chosen.isReviewed && t("language.unreviewed")}</p></div>`;
}
