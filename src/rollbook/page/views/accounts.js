// Accounts: who has one, invite a person, change role and place, close, make a link for a password.
import { del, get, isOperator, patch, post, user } from "../api.js";
import { given, useForm } from "../forms.js";
import { html, useId, useRef, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading, Once, Pager, Question, Search } from "../parts.js";
import { pageNumber, place, refine } from "../router.js";
import { attempt, show } from "../said.js";
import { momentInFull, officeName, t } from "../words.js";
import { Invitations } from "./invitations.js";

const PAGE_SIZE = 50;
const ROLES = ["super_admin", "national_admin", "province_admin", "municipality_admin"];
const STATES = ["active", "invited", "closed"];
const LOOKS = { active: "done", invited: "pending", closed: "failed" };

export function Accounts() {
  const { query } = place.value;
  const page = pageNumber();
  const search = query.get("search") ?? "";
  const state = query.get("state") ?? "";
  const link = useSignal(null);
  const changed = useSignal(null);
  const asked = useSignal(null);
  const lost = useSignal(null);
  const { data, error, reload } = useLoaded(
    () => get("users", { search, state, page, page_size: PAGE_SIZE }),
    [page, search, state],
  );
  const mayInvite = isOperator.value || user.value.role === "province_admin";
  const onLink = (account) => {
    link.value = account;
    reload();
  };
  const reset = (account) =>
    attempt(async () => {
      const done = await post(`users/${account.user_id}/reset`);
      onLink(done.data);
      return done;
    });
  const open = async (account) => {
    await attempt(() => patch(`users/${account.user_id}`, { version: account.version, is_open: true }));
    reload();
  };
  const close = async (yes) => {
    const account = asked.value;
    asked.value = null;
    if (!yes) return;
    await attempt(() => del(`users/${account.user_id}?version=${account.version}`));
    reload();
  };
  const resetFactor = async (yes) => {
    const account = lost.value;
    lost.value = null;
    if (!yes) return;
    await attempt(() => del(`users/${account.user_id}/second-factor`));
    reload();
  };
  const acts = {
    change: (account) => {
      changed.value = account;
    },
    close: (account) => {
      asked.value = account;
    },
    open,
    reset,
    factor: (account) => {
      lost.value = account;
    },
  };
  return html`<h1 tabindex="-1">${t("accounts.title")}</h1>
    <p class="lead">${t(mayInvite ? "accounts.lead" : "accounts.lead.none")}</p>
    ${
      link.value
        ? html`<${Once} key=${link.value.invitation.address}
          title=${t(`accounts.link.${link.value.invitation.kind}`, { email: link.value.email })}
          label=${t("accounts.link")} value=${whole(link.value.invitation.address)}
          text=${[link.value.invitation.mail_error, t(link.value.invitation.is_mailed ? "accounts.link.mailed" : "accounts.link.text", { until: momentInFull(link.value.invitation.expires_at) })].filter(Boolean).join(" ")}
          onDone=${() => {
            link.value = null;
          }} />`
        : mayInvite && html`<${Invite} onDone=${onLink} />`
    }
    ${mayInvite && html`<${Invitations} whole=${whole} onDone=${reload} />`}
    <div class="filters">
      <${Search} value=${search} label=${t("accounts.search")} onInput=${(text) => refine({ search: text, page: "" })} />
      <${StateChoice} value=${state} onChange=${(chosen) => refine({ state: chosen, page: "" })} />
    </div>
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">${t("accounts.count", { n: data.total })}</p>
      ${
        data.total > 0 &&
        html`<div class="card ledger"><div class="table" tabindex="0" role="region" aria-label=${t("accounts.table")}><table>
        <thead><tr><th scope="col">${t("accounts.person")}</th><th scope="col">${t("keys.office")}</th>
          <th scope="col">${t("keys.state")}</th><th scope="col">${t("accounts.acts")}</th></tr></thead>
        <tbody>${data.items.map(
          (account) => html`<${Line} key=${account.user_id} of=${account} acts=${acts} />`,
        )}</tbody></table></div></div>`
      }
      <${Pager} page=${page} pageSize=${PAGE_SIZE} of=${data} label=${t("accounts.pages")}
        onPage=${(to) => refine({ page: to })} />`
    }
    ${
      changed.value &&
      html`<${Change} of=${changed.value} onDone=${() => {
        changed.value = null;
        reload();
      }} />`
    }
    ${
      lost.value &&
      html`<${Question} title=${t("accounts.factor.title")} text=${t("accounts.factor.text", { email: lost.value.email })}
      confirm=${t("accounts.factor")} isDangerous onAnswer=${resetFactor} />`
    }
    ${
      asked.value &&
      html`<${Question} title=${t("accounts.close.title")} text=${t("accounts.close.text", { email: asked.value.email })}
      confirm=${t("accounts.close")} isDangerous onAnswer=${close} />`
    }`;
}

/** A link's whole address, where the server doesn't know its own: this page's. */
const whole = (address) =>
  address.startsWith("/") ? new URL(address.slice(1), document.baseURI).href : address;

function StateChoice({ value, onChange }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${t("keys.state")}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      <option value="">${t("filter.all")}</option>
      ${STATES.map((name) => html`<option key=${name} value=${name}>${t(`accounts.state.${name}`)}</option>`)}
    </select></div>`;
}

function Line({ of: account, acts }) {
  const { email, name, role, state } = account;
  const office = officeName(account);
  const factor = account.has_second_factor ? ["factor"] : [];
  const shown = state === "closed" ? ["open"] : ["change", "reset", ...factor, "close"];
  return html`<tr>
    <th scope="row"><span>${name || email}</span>${name && html`<small>${email}</small>`}</th>
    <td data-label=${t("keys.office")}><span>${office}</span><small>${t(`role.${role}`)}</small></td>
    <td data-label=${t("keys.state")}><span class="badge ${LOOKS[state]}">${t(`accounts.state.${state}`)}</span>${
      account.link_expires_at &&
      html`<small>${t("accounts.until", { until: momentInFull(account.link_expires_at) })}</small>`
    }</td>
    <td data-label=${t("accounts.acts")}>${
      account.may_change
        ? shown
            .filter((act) => act !== "change" || !account.is_of_provider)
            .map(
              (act) => html`<button key=${act} type="button" class="quiet small ${act === "close" ? "danger" : ""}"
          onClick=${() => acts[act](account)}>${t(`accounts.${act}`)}<span class="unseen"> ${email}</span></button> `,
            )
        : html`<span>${t(email === user.value.email ? "accounts.own" : "accounts.not_yours")}</span>`
    }</td></tr>`;
}

/** Role and place of an account, as far as this administrator may choose them. */
function RoleAndPlace({ id, role, province, municipality }) {
  const chosen = useSignal(role);
  const roles = isOperator.value
    ? ROLES.slice(ROLES.indexOf(user.value.role))
    : ["municipality_admin"];
  const hasProvince = isOperator.value && chosen.value.startsWith("province_");
  const hasBoth = chosen.value === "municipality_admin";
  return html`<div class="field"><label for="${id}-role">${t("who.role")}</label>
      <select id="${id}-role" name="role" value=${chosen.value} onChange=${(event) => {
        chosen.value = event.target.value;
      }}>${roles.map((one) => html`<option key=${one} value=${one}>${t(`role.${one}`)}</option>`)}</select></div>
    ${
      (hasProvince || (hasBoth && isOperator.value)) &&
      html`<div class="field"><label for="${id}-province">${t("accounts.province")}</label>
      <input id="${id}-province" name="province" maxlength="100" required autocomplete="off" defaultValue=${province ?? ""} /></div>`
    }
    ${
      hasBoth &&
      html`<div class="field"><label for="${id}-municipality">${t("accounts.municipality")}</label>
      <input id="${id}-municipality" name="municipality" maxlength="100" required autocomplete="off"
        defaultValue=${municipality ?? ""} /></div>`
    }`;
}

function Invite({ onDone }) {
  const id = useId();
  const { form, submit, failure, isBusy } = useForm(async (filled) => {
    onDone((await post("users", given(filled))).data);
  });
  return html`<section class="card who" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${t("accounts.new")}</h2>
    <form ref=${form} onSubmit=${submit}>
      <div class="field"><label for="${id}-email">${t("sign_in.email")}</label>
        <input id="${id}-email" name="email" type="email" maxlength="320" required autocomplete="off" /></div>
      <div class="field"><label for="${id}-name">${t("accounts.name")}</label>
        <input id="${id}-name" name="name" maxlength="200" autocomplete="off" /></div>
      <${RoleAndPlace} id=${id} role="municipality_admin" />
      ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
      <button type="submit" disabled=${isBusy}>${t("accounts.invite")}</button>
    </form></section>`;
}

function Change({ of: account, onDone }) {
  const id = useId();
  const dialog = useRef(null);
  const { form, submit, failure, isBusy } = useForm(async (filled) => {
    const body = { version: account.version, ...given(filled) };
    const { message } = await patch(`users/${account.user_id}`, body);
    dialog.current.close();
    show(message);
  });
  const opened = (element) => {
    dialog.current = element;
    if (element && !element.open) element.showModal();
  };
  return html`<dialog ref=${opened} aria-labelledby="${id}-title" onClose=${onDone}>
    <h2 id="${id}-title">${t("accounts.change.title", { email: account.email })}</h2>
    <p>${t("accounts.change.text")}</p>
    <form ref=${form} onSubmit=${submit}>
      <${RoleAndPlace} id=${id} role=${account.role} province=${account.province} municipality=${account.municipality} />
      ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
      <div class="actions">
        <button type="button" class="quiet" onClick=${() => dialog.current.close()}>${t("question.no")}</button>
        <button type="submit" disabled=${isBusy}>${t("accounts.change.button")}</button>
      </div>
    </form></dialog>`;
}
