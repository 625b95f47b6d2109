// Who I am, what I may do and see.
import { changePassword, chooseLanguage, isOperator, leave, session, user } from "../api.js";
import { forgetDrafts } from "../drafts.js";
import { useForm } from "../forms.js";
import { html, useRef, useSignal } from "../html.js";
import { LANGUAGES } from "../languages.js";
import { Go } from "../parts.js";
import { officeName, t, when } from "../words.js";
import { LanguagePicker } from "./language.js";
import { SecondFactor } from "./second_factor.js";
import { Sessions } from "./sessions.js";

/** Sign out; what was fixed and not sent goes too, since the next person may be another one. */
function signOut() {
  forgetDrafts();
  return leave();
}

export function Who() {
  const { email, name, role, province, lacks_second_factor: lacksFactor } = user.value;
  if (lacksFactor) {
    return html`<h1 tabindex="-1">${t("who.title")}</h1>
      <p class="notice" role="status">${t("factor.needed")}</p>
      <${SecondFactor} email=${email} />
      <button type="button" class="quiet" onClick=${signOut}>${t("sign_out")}</button>`;
  }
  return html`<h1 tabindex="-1">${t("who.title")}</h1>
    <div class="card who">
      <dl class="facts">
        ${name && html`<div><dt>${t("who.name")}</dt><dd>${name}</dd></div>`}
        <div><dt>${t("sign_in.email")}</dt><dd>${email}</dd></div>
        <div><dt>${t("who.role")}</dt><dd>${t(`role.${role}`)}</dd></div>
        <div><dt>${t("who.scope")}</dt><dd>${officeName(user.value)}</dd></div>
        <div><dt>${t("who.until")}</dt><dd>${when(new Date(session.value.ends))}</dd></div>
      </dl>
      <p>${t(province ? "who.scope.own" : "who.scope.all")} ${t(isOperator.value ? "who.operator" : "who.no_operator")}</p>
      <p><${Go} path="audit/mine">${t("audit.mine")}<//></p>
      <p><${Go} path="who/accounts">${t("accounts.title")}<//></p>
      <p><${Go} path="who/keys">${t("keys.title")}<//></p>
      <p><${Go} path="who/webhooks">${t("webhooks.title")}<//></p>
      <button type="button" class="quiet" onClick=${signOut}>${t("sign_out")}</button>
    </div>
    <${Language} />
    <${Password} email=${email} />
    <${SecondFactor} email=${email} />
    <${Sessions} />`;
}

/** Choosing the language of one's account. */
function Language() {
  const failure = useSignal(null);
  if (LANGUAGES.length < 2) return null;
  const choose = async (tag) => {
    failure.value = null;
    try {
      await chooseLanguage(tag);
    } catch (error) {
      failure.value = error.message;
    }
  };
  return html`<section class="card who" aria-labelledby="language-title">
    <h2 id="language-title">${t("language.label")}</h2>
    <${LanguagePicker} choose=${choose} hint=${t("language.hint")} />
    ${failure.value && html`<p class="notice bad" role="alert">${failure.value}</p>`}
  </section>`;
}

/** Changing one's own password. */
function Password({ email }) {
  const done = useSignal(null);
  const current = useRef(null);
  const wanted = useRef(null);
  const { form, submit, failure, isBusy } = useForm(async (filled) => {
    done.value = null;
    done.value = await changePassword(current.current.value, wanted.current.value);
    filled.reset();
  });
  return html`<section class="card who" aria-labelledby="password-title">
    <h2 id="password-title">${t("password.title")}</h2>
    <form ref=${form} onSubmit=${submit}>
      <input type="email" name="email" autocomplete="username" value=${email} readonly hidden />
      <div class="field"><label for="current">${t("password.current")}</label>
        <input id="current" ref=${current} type="password" autocomplete="current-password" required /></div>
      <div class="field"><label for="wanted">${t("password.new")}</label>
        <input id="wanted" ref=${wanted} type="password" autocomplete="new-password" minlength="12" required
          aria-describedby="password-hint" /></div>
      <p class="hint" id="password-hint">${t("password.hint")}</p>
      ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
      ${done.value && html`<p class="notice" role="status">${done.value}</p>`}
      <button type="submit" class="quiet" disabled=${isBusy}>${t("password.button")}</button>
    </form>
  </section>`;
}
