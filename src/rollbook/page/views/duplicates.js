// Members who may be one person: each pair is decided by hand.
import { get, post } from "../api.js";
import { html, useId, useRef, useSignal } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Go, Loading, Pager } from "../parts.js";
import { pageNumber, place, refine } from "../router.js";
import { attempt } from "../said.js";
import { counted, t } from "../words.js";

const PAGE_SIZE = 25;
const STATUSES = ["open", "joined", "different"];
const SHOWN = ["id_number", "municipality", "ward", "status", "expiry_date"];

export function Duplicates() {
  const id = useId();
  const page = pageNumber();
  const asked = place.value.query.get("status");
  const status = STATUSES.includes(asked) ? asked : "open";
  const { data, error, isLoading, reload } = useLoaded(
    () => get("members/duplicates", { status, page, page_size: PAGE_SIZE }),
    [status, page],
  );
  return html`<p class="back"><${Go} path="members">${t("member.back")}<//></p>
    <h1 tabindex="-1">${t("duplicates.title")}</h1>
    <p class="lead">${t("duplicates.lead")}</p>
    <div class="field"><label for="${id}-status">${t("duplicates.status")}</label>
      <select id="${id}-status" value=${status}
        onChange=${(event) => refine({ status: event.target.value, page: "" })}>${STATUSES.map(
          (name) => html`<option key=${name} value=${name}>${t(`duplicates.status.${name}`)}</option>`,
        )}</select></div>
    ${error && html`<${Failure} error=${error} onRetry=${error.isPassing && reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">${counted("duplicates", data)}</p>
        ${data.is_behind && html`<p class="notice">${t("duplicates.behind")}</p>`}
        <div class=${isLoading ? "stale" : ""}>${data.items.map(
          (pair) => html`<${Pair} key=${pair.pair_id} pair=${pair} reload=${reload} />`,
        )}</div>
        <${Pager} page=${page} pageSize=${PAGE_SIZE} of=${data} label=${t("duplicates.pages")}
          onPage=${(to) => refine({ page: to })} />`
    }`;
}

function Pair({ pair, reload }) {
  const id = useId();
  const isBusy = useSignal(false);
  const reason = useRef(null);
  const path = `members/duplicates/${pair.pair_id}`;
  const names = pair.members.map(({ surname, firstname }) => `${surname}, ${firstname}`);
  async function act(work) {
    isBusy.value = true;
    await attempt(work);
    isBusy.value = false;
    reload();
  }
  function give(work) {
    if (reason.current.reportValidity()) act(() => work(reason.current.value.trim()));
  }
  const join = (member) => give((why) => post(`${path}/join`, { keep: member.member_id, reason: why }));
  const separate = () => give((why) => post(`${path}/separate`, { reason: why }));
  const nameOf = (member, index) =>
    // The record that went has no page.
    pair.status === "joined" && member.member_id !== pair.kept
      ? names[index]
      : html`<${Go} path="members/${member.member_id}">${names[index]}<//>`;
  const decision = (member) => {
    if (pair.status === "joined") return t(member.member_id === pair.kept ? "duplicates.kept" : "duplicates.gone");
    if (pair.status === "different") return t("duplicates.status.different");
    return html`<button type="button" class="quiet small" disabled=${isBusy.value}
      onClick=${() => join(member)}>${t("duplicates.keep")}<span class="unseen">
      ${member.id_number}</span></button>`;
  };
  return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${names.join(" – ")}</h2>
    <p class="hint">${t(`duplicates.why.${pair.why}`)} ${t("duplicates.score", { n: pair.score })}</p>
    <div class="table" tabindex="0" role="region" aria-label=${names.join(", ")}><table>
      <thead><tr><th scope="col">${t("members.name")}</th>${SHOWN.map(
        (name) => html`<th key=${name} scope="col">${t(`members.${name}`)}</th>`,
      )}<th scope="col">${t("duplicates.decide")}</th></tr></thead>
      <tbody>${pair.members.map(
        (member, index) => html`<tr key=${member.member_id}>
          <th scope="row">${nameOf(member, index)}</th>
          ${SHOWN.map((name) => html`<td key=${name} data-label=${t(`members.${name}`)}>${member[name] ?? "–"}</td>`)}
          <td data-label=${t("duplicates.decide")}>${decision(member)}</td></tr>`,
      )}</tbody></table></div>
    ${
      pair.status !== "different" &&
      html`<div class="field"><label for="${id}-reason">${t("duplicates.reason")}</label>
        <input id="${id}-reason" ref=${reason} type="text" autocomplete="off" required minlength="3" maxlength="500" /></div>`
    }
    ${
      pair.status === "open" &&
      html`<div class="actions left"><button type="button" class="quiet" disabled=${isBusy.value}
        onClick=${() => act(() => post(`${path}/different`))}>${t("duplicates.different")}</button></div>`
    }
    ${
      pair.status === "joined" &&
      html`<div class="actions left"><button type="button" class="quiet" disabled=${isBusy.value}
        onClick=${separate}>${t("duplicates.separate")}</button></div>`
    }</section>`;
}
