// Signing in.
import {
  isBackFromProvider,
  provider,
  providerStart,
  signedOutBecause,
  signIn,
  signInFromProvider,
} from "../api.js";
import { html, useEffect, useRef, useSignal } from "../html.js";
import { chooseIn } from "../languages.js";
import { t } from "../words.js";
import { LanguagePicker } from "./language.js";

export function SignIn() {
  const failure = useSignal(null);
  const isBusy = useSignal(false);
  const isShown = useSignal(false);
  const outside = useSignal(null);
  const asksCode = useSignal(false);
  const email = useRef(null);
  const password = useRef(null);
  const code = useRef(null);
  useEffect(() => {
    document.title = `${t("sign_in.title")} – ${t("name")}`;
    email.current.focus();
    // Without an answer there is the form, which works without it.
    provider()
      .then(({ is_set, name }) => {
        outside.value = is_set ? name : null;
      })
      .catch(() => null);
    if (isBackFromProvider()) comeBack();
  }, []);

  async function comeBack() {
    isBusy.value = true;
    try {
      await signInFromProvider();
    } catch (error) {
      failure.value = error.message;
    } finally {
      isBusy.value = false;
    }
  }

  async function submit(event) {
    event.preventDefault();
    failure.value = null;
    isBusy.value = true;
    try {
      await signIn(email.current.value.trim(), password.current.value, code.current?.value.trim() || undefined);
    } catch (error) {
      const isFirst = error.code === "second_factor_needed" && !asksCode.value;
      if (isFirst) asksCode.value = true;
      else failure.value = error.message;
      requestAnimationFrame(() => (asksCode.value ? code : password).current?.select());
    } finally {
      isBusy.value = false;
    }
  }

  return html`<main id="main" class="sign-in" tabindex="-1">
    <div class="card">
      <p class="brand"><${Mark} />${t("name")}</p>
      <h1>${t("sign_in.title")}</h1>
      <p class="lead">${t("sign_in.lead")}</p>
      ${signedOutBecause.value && html`<p class="notice" role="status">${signedOutBecause.value}</p>`}
      <form onSubmit=${submit} aria-describedby=${failure.value ? "sign-in-failure" : undefined}>
        <div class="field"><label for="email">${t("sign_in.email")}</label>
          <input id="email" ref=${email} type="email" name="email" autocomplete="username" required /></div>
        <div class="field"><label for="password">${t("sign_in.password")}</label>
          <input id="password" ref=${password} type=${isShown.value ? "text" : "password"} name="password"
            autocomplete="current-password" required /></div>
        <label class="check"><input type="checkbox" checked=${isShown.value} onChange=${(event) => {
          isShown.value = event.target.checked;
        }} />${t("sign_in.show")}</label>
        ${asksCode.value && html`<${CodeField} id="code" field=${code} />`}
        ${failure.value && html`<p class="notice bad" role="alert" id="sign-in-failure">${failure.value}</p>`}
        <button type="submit" class="wide" disabled=${isBusy.value}>
          ${isBusy.value ? t("sign_in.busy") : t("sign_in.button")}</button>
      </form>
      ${outside.value && html`<p class="outside"><a class="button quiet wide" href=${providerStart}>
        ${t("sign_in.outside", { name: outside.value })}</a></p>`}
      <p class="hint">${t("sign_in.help")}</p>
      <${LanguagePicker} choose=${chooseIn} />
    </div>
  </main>`;
}

/** The code of an authenticator app, or a recovery code. */
export function CodeField({ id, field }) {
  useEffect(() => {
    field.current.focus();
  }, []);
  return html`<div class="field"><label for=${id}>${t("code.label")}</label>
    <input id=${id} ref=${field} name="code" autocomplete="one-time-code" autocapitalize="none" spellcheck=${false}
      maxlength="40" required aria-describedby="${id}-hint" /></div>
    <p class="hint" id="${id}-hint">${t("code.hint")}</p>`;
}

/** The mark beside the name. */
export const Mark =
  () => html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" />
  <g><path d="M8 9.500h9M8 16h6.500M8 22.500h9" /><path d="m18.500 16.500 2.600 2.700L25.500 13.500" /></g></svg>`;
