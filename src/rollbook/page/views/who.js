// Who I am, what I may do and see.
import { isOperator, session, signOut, user } from "../api.js";
import { html } from "../html.js";
import { Go } from "../parts.js";
import { t, when } from "../words.js";

export function Who() {
  const { email, name, role, province, municipality } = user.value;
  const place = [municipality, province].filter(Boolean).join(", ") || t("who.everywhere");
  return html`<h1 tabindex="-1">${t("who.title")}</h1>
    <div class="card who">
      <dl class="facts">
        ${name && html`<div><dt>${t("who.name")}</dt><dd>${name}</dd></div>`}
        <div><dt>${t("sign_in.email")}</dt><dd>${email}</dd></div>
        <div><dt>${t("who.role")}</dt><dd>${t(`role.${role}`)}</dd></div>
        <div><dt>${t("who.scope")}</dt><dd>${place}</dd></div>
        <div><dt>${t("who.until")}</dt><dd>${when(new Date(session.value.ends))}</dd></div>
      </dl>
      <p>${t(province ? "who.scope.own" : "who.scope.all")} ${t(isOperator.value ? "who.operator" : "who.no_operator")}</p>
      <p><${Go} path="audit/mine">${t("audit.mine")}<//></p>
      <button type="button" class="quiet" onClick=${() => signOut()}>${t("sign_out")}</button>
    </div>`;
}
