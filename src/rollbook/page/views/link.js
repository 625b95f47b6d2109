// A one-time link: the person of a new account, or of a forgotten password, chooses a password.
import { choosePassword, openLink } from "../api.js";
import { useForm } from "../forms.js";
import { html, useEffect, useRef, useSignal } from "../html.js";
import { Failure, Loading } from "../parts.js";
import { t, when } from "../words.js";
import { CodeField, Mark } from "./sign_in.js";

export function Link({ token }) {
  const found = useSignal(null);
  const refused = useSignal(null);
  const isShown = useSignal(false);
  const asksCode = useSignal(false);
  const password = useRef(null);
  const code = useRef(null);
  const load = async () => {
    refused.value = null;
    try {
      found.value = await openLink(token);
    } catch (error) {
      refused.value = error;
    }
  };
  useEffect(() => {
    document.title = `${t("link.title")} – ${t("name")}`;
    load();
  }, []);

  const { form, submit, failure, isBusy } = useForm(async () => {
    try {
      await choosePassword(token, password.current.value, code.current?.value.trim() || undefined);
    } catch (error) {
      if (error.code === "second_factor_needed") asksCode.value = true;
      if (error.status !== 404) throw error;
      refused.value = error;
    }
  });

  const choice = () => html`<p class="lead">${t(`link.${found.value.kind}`, { email: found.value.user.email })}</p>
    <form ref=${form} onSubmit=${submit}>
      <input type="email" name="email" autocomplete="username" value=${found.value.user.email} readonly hidden />
      <div class="field"><label for="chosen">${t("password.new")}</label>
        <input id="chosen" ref=${password} type=${isShown.value ? "text" : "password"} autocomplete="new-password"
          minlength="12" required aria-describedby="chosen-hint" /></div>
      <p class="hint" id="chosen-hint">${t("link.hint")}</p>
      <label class="check"><input type="checkbox" checked=${isShown.value} onChange=${(event) => {
        isShown.value = event.target.checked;
      }} />${t("sign_in.show")}</label>
      ${asksCode.value && html`<${CodeField} id="link-code" field=${code} />`}
      ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
      <button type="submit" class="wide" disabled=${isBusy}>${t("link.button")}</button>
    </form>
    <p class="hint">${t("link.until", { until: when(found.value.expires_at) })}</p>`;

  return html`<main id="main" class="sign-in" tabindex="-1"><div class="card">
    <p class="brand"><${Mark} />${t("name")}</p>
    <h1>${t("link.title")}</h1>
    ${refused.value && html`<${Failure} error=${refused.value} onRetry=${refused.value.isPassing ? load : undefined} />
      <p><a href="#/">${t("link.sign_in")}</a></p>`}
    ${!found.value && !refused.value && html`<${Loading} />`}
    ${found.value && !refused.value && choice()}
  </div></main>`;
}
