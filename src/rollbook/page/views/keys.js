// Keys for programs: make one, see which there are and when they were used, revoke one.
import { del, get, isOperator, post, user } from "../api.js";
import { useForm } from "../forms.js";
import { html, useId, useSignal } from "../html.js";
import { freshness } from "../live.js";
import { useLoaded } from "../loading.js";
import { Failure, Loading, Once, Pager, Question } from "../parts.js";
import { pageNumber, refine } from "../router.js";
import { attempt } from "../said.js";
import { momentInFull, officeName, t } from "../words.js";

const PAGE_SIZE = 50;
const SCOPES = ["upload", "read", "operate", "members"];
const DEFAULT_DAYS = 90;
const MOST_DAYS = 3650;
const DAY_MS = 24 * 3600 * 1000;
const LOOKS = { active: "done", stopped: "dry", expired: "dry", revoked: "failed" };

export function Keys() {
  const page = pageNumber();
  const made = useSignal(null);
  const asked = useSignal(null);
  const { data, error, reload } = useLoaded(
    () => get("keys", { page, page_size: PAGE_SIZE }),
    [page],
    [freshness],
  );
  const revoke = async (yes) => {
    const key = asked.value;
    asked.value = null;
    if (!yes) return;
    await attempt(() => del(`keys/${key.key_id}`));
    reload();
  };
  const onMade = (key) => {
    made.value = key;
    reload();
  };
  return html`<h1 tabindex="-1">${t("keys.title")}</h1>
    <p class="lead">${t("keys.lead")}</p>
    ${
      made.value
        ? html`<${Once} title=${t("keys.made", { name: made.value.name })} label=${t("keys.key")}
          value=${made.value.key} text=${t("keys.made.text")} onDone=${() => {
            made.value = null;
          }} />`
        : html`<${NewKey} onMade=${onMade} />`
    }
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">${t("keys.count", { n: data.total })}</p>
      ${
        data.total > 0 &&
        html`<div class="card ledger"><div class="table" tabindex="0" role="region" aria-label=${t("keys.table")}><table>
        <thead><tr><th scope="col">${t("keys.key")}</th><th scope="col">${t("keys.scopes")}</th>
          <th scope="col">${t("keys.office")}</th><th scope="col">${t("keys.ends")}</th>
          <th scope="col">${t("keys.used")}</th><th scope="col">${t("keys.state")}</th></tr></thead>
        <tbody>${data.items.map(
          (key) => html`<${Line} key=${key.key_id} of=${key} onRevoke=${() => {
            asked.value = key;
          }} />`,
        )}</tbody></table></div></div>`
      }
      <${Pager} page=${page} pageSize=${PAGE_SIZE} of=${data} label=${t("keys.pages")}
        onPage=${(to) => refine({ page: to })} />`
    }
    ${
      asked.value &&
      html`<${Question} title=${t("keys.revoke.title")} text=${t("keys.revoke.text", { name: asked.value.name })}
      confirm=${t("keys.revoke")} isDangerous onAnswer=${revoke} />`
    }`;
}

function Line({ of: key, onRevoke }) {
  const { name, hint, scopes, role, state, made_by: by, expires_at: ends, last_used_at: used } = key;
  const office = officeName(key);
  const mayRevoke = state !== "revoked" && (by === user.value.email || isOperator.value);
  return html`<tr>
    <th scope="row"><span>${name}</span><small class="code">${hint}…</small><small>${t("keys.by", { email: by })}</small></th>
    <td data-label=${t("keys.scopes")}><span>${scopes.map((scope) => t(`keys.scope.${scope}`)).join("; ")}</span></td>
    <td data-label=${t("keys.office")}><span>${office}</span><small>${t(`role.${role}`)}</small></td>
    <td data-label=${t("keys.ends")}><time datetime=${ends}>${momentInFull(ends)}</time></td>
    <td data-label=${t("keys.used")}><span>${used ? momentInFull(used) : t("keys.never")}</span>${
      key.last_used_from && html`<small>${t("keys.used.from", { address: key.last_used_from })}</small>`
    }</td>
    <td data-label=${t("keys.state")}><span class="badge ${LOOKS[state]}">${t(`keys.state.${state}`)}</span>${
      mayRevoke &&
      html` <button type="button" class="quiet small danger" onClick=${onRevoke}>${t("keys.revoke")}<span
        class="unseen"> ${name}</span></button>`
    }</td></tr>`;
}

function NewKey({ onMade }) {
  const id = useId();
  const { form, submit, failure, isBusy } = useForm(async (filled) => {
    const made = new FormData(filled);
    const days = Number(made.get("days"));
    const body = {
      name: made.get("name").trim(),
      scopes: made.getAll("scope"),
      // A minute less, because the server's clock may be behind.
      expires_at: new Date(Date.now() + days * DAY_MS - 60_000).toISOString(),
    };
    for (const part of ["province", "municipality"])
      if (made.get(part)?.trim()) body[part] = made.get(part).trim();
    onMade((await post("keys", body)).data);
  });
  const { province, municipality } = user.value;
  return html`<section class="card who" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${t("keys.new")}</h2>
    <form ref=${form} onSubmit=${submit}>
      <div class="field"><label for="${id}-name">${t("keys.name")}</label>
        <input id="${id}-name" name="name" maxlength="80" required autocomplete="off" aria-describedby="${id}-name-hint" /></div>
      <p class="hint" id="${id}-name-hint">${t("keys.name.hint")}</p>
      <fieldset class="checks"><legend>${t("keys.scopes")}</legend>${SCOPES.filter(
        (scope) => scope !== "operate" || isOperator.value,
      ).map(
        (scope) => html`<label key=${scope}><input type="checkbox" name="scope" value=${scope}
          defaultChecked=${scope === "upload" || scope === "read"} /> ${t(`keys.scope.${scope}`)}</label>`,
      )}</fieldset>
      ${
        !province &&
        html`<div class="field"><label for="${id}-province">${t("keys.province")}</label>
        <input id="${id}-province" name="province" maxlength="100" aria-describedby="${id}-place-hint" /></div>`
      }
      ${
        !municipality &&
        html`<div class="field"><label for="${id}-municipality">${t("keys.municipality")}</label>
        <input id="${id}-municipality" name="municipality" maxlength="100" aria-describedby="${id}-place-hint" /></div>
        <p class="hint" id="${id}-place-hint">${t("keys.place.hint")}</p>`
      }
      <div class="field"><label for="${id}-days">${t("keys.days")}</label>
        <input id="${id}-days" name="days" type="number" min="1" max=${MOST_DAYS} required value=${DEFAULT_DAYS} /></div>
      ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
      <button type="submit" disabled=${isBusy}>${t("keys.make")}</button>
    </form></section>`;
}
