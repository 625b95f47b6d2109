// The second factor: set it up by an authenticator app, new recovery codes, switch it off.
import { checkAccount, confirmFactor, get, post } from "../api.js";
import { useForm } from "../forms.js";
import { html, useEffect, useId, useRef, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading } from "../parts.js";
import { say } from "../said.js";
import { t, when } from "../words.js";

const LABELS = {
  begin: "factor.begin",
  replace: "factor.replace",
  codes: "factor.codes",
  off: "factor.off.button",
};

export function SecondFactor({ email }) {
  const id = useId();
  const begun = useSignal(null);
  const codes = useSignal(null);
  const act = useSignal(null);
  const { data, error, reload } = useLoaded(() => get("auth/second-factor"));
  const onCodes = ({ message, data: made }) => {
    act.value = null;
    begun.value = null;
    codes.value = made.recovery_codes;
    say(message);
    reload();
  };
  const onOff = ({ message }) => {
    act.value = null;
    say(message);
    reload();
  };
  const end = () => {
    codes.value = null;
    // What the account may see has changed, where it lacked a second factor that it needs.
    checkAccount().catch(() => null);
  };
  const sends = {
    begin: async (body) => {
      begun.value = (await post("auth/second-factor", body)).data;
      act.value = null;
    },
    codes: async (body) => onCodes(await post("auth/second-factor/recovery-codes", body)),
    off: async (body) => onOff(await post("auth/second-factor/off", body)),
  };
  const choices = () => [data.is_on ? "replace" : "begin", ...(data.is_on ? ["codes"] : []),
    ...(data.is_on && !data.is_required ? ["off"] : [])];
  return html`<section class="card who" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${t("factor.title")}</h2>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${codes.value && html`<${RecoveryCodes} codes=${codes.value} onDone=${end} />`}
    ${begun.value && html`<${Confirm} begun=${begun.value} onCodes=${onCodes} />`}
    ${
      data &&
      !codes.value &&
      !begun.value &&
      html`<p>${
        data.is_on
          ? t("factor.on", { since: when(data.since), n: String(data.recovery_codes_left) })
          : t("factor.off")
      }</p>
      ${
        act.value
          ? html`<${Shown} key=${act.value} email=${email} asksCode=${data.is_on} button=${t(LABELS[act.value])}
            send=${sends[act.value === "replace" ? "begin" : act.value]} />`
          : html`<div class="actions">${choices().map(
              (name) => html`<button key=${name} type="button" class="quiet ${name === "off" ? "danger" : ""}"
            onClick=${() => {
              act.value = name;
            }}>${t(LABELS[name])}</button>`,
            )}</div>`
      }`
    }
  </section>`;
}

/** The password, and a code where the second factor is on: a session alone isn't enough. */
function Shown({ email, asksCode, button, send }) {
  const id = useId();
  const password = useRef(null);
  const code = useRef(null);
  const { form, submit, failure, isBusy } = useForm(async () => {
    await send({ current_password: password.current.value, code: code.current?.value.trim() || undefined });
  });
  useEffect(() => {
    password.current.focus();
  }, []);
  return html`<form ref=${form} onSubmit=${submit}>
    <input type="email" name="email" autocomplete="username" value=${email} readonly hidden />
    <div class="field"><label for="${id}-password">${t("factor.password")}</label>
      <input id="${id}-password" ref=${password} type="password" autocomplete="current-password" required /></div>
    ${
      asksCode &&
      html`<div class="field"><label for="${id}-code">${t("code.label")}</label>
      <input id="${id}-code" ref=${code} autocomplete="one-time-code" autocapitalize="none" spellcheck=${false}
        maxlength="40" required aria-describedby="${id}-hint" /></div>
      <p class="hint" id="${id}-hint">${t("code.hint")}</p>`
    }
    ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
    <button type="submit" class="quiet" disabled=${isBusy}>${button}</button>
  </form>`;
}

/** The new secret as an image and as text, and the first code. */
function Confirm({ begun, onCodes }) {
  const id = useId();
  const code = useRef(null);
  const { form, submit, failure, isBusy } = useForm(async () => {
    onCodes(await confirmFactor(code.current.value.trim()));
  });
  return html`<p>${t("factor.scan")}</p>
    <${Image} svg=${begun.qr} />
    <p>${t("factor.secret")} <code class="code">${begun.secret.match(/.{1,4}/g).join(" ")}</code></p>
    <form ref=${form} onSubmit=${submit}>
      <div class="field"><label for="${id}-code">${t("factor.first")}</label>
        <input id="${id}-code" ref=${code} inputmode="numeric" autocomplete="one-time-code" maxlength="40" required /></div>
      ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
      <button type="submit" disabled=${isBusy}>${t("factor.confirm")}</button>
    </form>`;
}

/** The server's image; only its lines are taken over, so it can bring no script. */
function Image({ svg }) {
  const image = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  const lines = image.querySelector("path")?.getAttribute("d") ?? "";
  return html`<svg class="qr" viewBox=${image.getAttribute("viewBox")} role="img" aria-label=${t("factor.image")}>
    <path class="paper" d="M0 0h999v999h-999z" /><path class="ink" d=${lines} /></svg>`;
}

function RecoveryCodes({ codes, onDone }) {
  const title = useRef(null);
  useEffect(() => {
    title.current.focus();
  }, []);
  return html`<h3 ref=${title} tabindex="-1">${t("factor.recovery")}</h3>
    <p>${t("factor.recovery.text")}</p>
    <ul class="codes">${codes.map((code) => html`<li key=${code} class="code">${code}</li>`)}</ul>
    <button type="button" onClick=${onDone}>${t("once.done")}</button>`;
}
