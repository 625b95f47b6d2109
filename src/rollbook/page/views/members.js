// The members of the scope: search, filters, and the list as a file.
import { download, get, post } from "../api.js";
import { html, useEffect, useId, useRef, useSignal } from "../html.js";
import { freshness } from "../live.js";
import { useLoaded, useRested } from "../loading.js";
import { Failure, Go, Loading, Pager, Search } from "../parts.js";
import { pageNumber, place, refine } from "../router.js";
import { attempt, show } from "../said.js";
import { listChanged } from "../uploads.js";
import { t } from "../words.js";
import { Removal } from "./removal.js";

const PAGE_SIZE = 25;
const ROLLS = ["registered", "without_district", "not_registered", "deceased", "international", "not_asked"];
/** The filters beside the search, as the API and the address name them. */
const FILTERS = ["municipality", "status", "roll", "expires_before"];
/** A whole ID number or passport number goes into a body, never into an address. */
const ID_NUMBER = /^\d{13}$/;
/** Digits only are a phone number, and a name has no digit; with a space inside, it is a name and a phone number. */
const PASSPORT = /^(?=.*\d)(?=.*[a-z])[a-z\d]{5,15}$/i;
/** Milliseconds until a list that misses members is loaded again. */
const INDEX_MS = 2000;
/** Milliseconds between two looks whether a file is ready. */
const LOOK_MS = 1000;

export function Members() {
  const { query } = place.value;
  const page = pageNumber();
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const typed = useSignal(query.get("search") ?? "");
  const search = useRested(typed.value.trim());
  const bare = search.replace(/[\s-]/g, "");
  const isIdNumber = ID_NUMBER.test(bare);
  const isNumber = isIdNumber || PASSPORT.test(search.replaceAll("-", ""));
  const asked = isIdNumber ? { id_number: bare } : isNumber ? { passport_number: bare } : { search };
  const given = Object.fromEntries(Object.entries({ ...asked, ...filters }).filter(([, value]) => value));
  // After whom each page begins, so that members who come and go meanwhile move nobody to another page.
  const begins = useRef({ of: "", after: {} });
  const { data, error, isLoading, reload } = useLoaded(
    async () => {
      refine({ search: isNumber ? "" : search, page: page === 1 ? "" : page });
      const of = JSON.stringify(given);
      if (begins.current.of !== of) begins.current = { of, after: {} };
      const { after } = begins.current;
      const where = after[page] ? { after: after[page] } : { page };
      const found = (await post("members/search", { ...given, ...where, page_size: PAGE_SIZE })).data;
      after[page + 1] = found.next;
      return found;
    },
    [search, page, ...Object.values(filters)],
    [listChanged, freshness],
  );
  // The address may also change by going back, or by the menu.
  useEffect(() => {
    if (!isNumber && (query.get("search") ?? "") !== search) typed.value = query.get("search") ?? "";
  }, [place.value]);
  const isBehind = data !== null && (data.index_is_filling || data.uploads_not_indexed > 0);
  useEffect(() => {
    if (!isBehind) return undefined;
    const timer = setTimeout(reload, INDEX_MS);
    return () => clearTimeout(timer);
  }, [data]);
  return html`<h1 tabindex="-1">${t("members.title")}</h1>
    <p class="lead">${t("members.lead")}</p>
    <div class="filters">
      <${Search} label=${t("members.search")} value=${typed.value} onInput=${(text) => {
        typed.value = text;
        refine({ page: "" });
      }} />
      <${Filter} name="municipality" value=${filters.municipality} />
      <${Filter} name="status" value=${filters.status} />
      <${Filter} name="expires_before" value=${filters.expires_before} type="date" />
      <${RollChoice} value=${filters.roll} />
    </div>
    ${error && html`<${Failure} error=${error} onRetry=${error.isPassing && reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${data && html`<${Found} data=${data} isLoading=${isLoading} page=${page} given=${given} />`}
    <p class="dotted"><span><${Go} path="members-report">${t("report.title")}<//></span><span><${Go}
      path="duplicates">${t("duplicates.title")}<//></span></p>
    <${Removal} given=${given} />`;
}

function Filter({ name, value, type = "text" }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${t(`members.${name}`)}</label>
    <input id=${id} type=${type} autocomplete="off" maxlength="200" value=${value}
      onChange=${(event) => refine({ [name]: event.target.value.trim(), page: "" })} /></div>`;
}

function RollChoice({ value }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${t("members.roll")}</label>
    <select id=${id} value=${value} onChange=${(event) => refine({ roll: event.target.value, page: "" })}>
      <option value="">${t("filter.all")}</option>
      ${ROLLS.map((name) => html`<option key=${name} value=${name}>${t(`members.roll.${name}`)}</option>`)}
    </select></div>`;
}

function Found({ data, isLoading, page, given }) {
  const n = data.total;
  return html`<p class="count" role="status">${t(data.has_more ? "members.more" : "members.count", { n })}</p>
    ${data.index_is_filling && html`<p class="notice">${t("members.filling")}</p>`}
    ${
      !data.index_is_filling &&
      data.uploads_not_indexed > 0 &&
      html`<p class="notice">${t("members.behind", { n: data.uploads_not_indexed })}</p>`
    }
    ${
      n > 0 &&
      html`<div class="card ledger ${isLoading ? "stale" : ""}"><div class="table" tabindex="0" role="region"
        aria-label=${t("members.table")}><table>
      <thead><tr>${["name", "id_number", "municipality", "ward", "status", "expiry_date", "roll"].map(
        (name) => html`<th key=${name} scope="col">${t(`members.${name}`)}</th>`,
      )}</tr></thead>
      <tbody>${data.items.map((member) => html`<${Line} key=${member.member_id} member=${member} />`)}</tbody>
    </table></div></div>
    <${Export} given=${given} />`
    }
    <${Pager} page=${page} pageSize=${PAGE_SIZE} of=${data} label=${t("members.pages")}
      onPage=${(to) => refine({ page: to })} />`;
}

const Line = ({ member }) => html`<tr>
  <th scope="row"><${Go} path="members/${member.member_id}">${member.surname}, ${member.firstname}<//></th>
  <td data-label=${t("members.id_number")}>${member.id_number}</td>
  <td data-label=${t("members.municipality")}>${[member.municipality, member.province].filter(Boolean).join(", ") || "–"}</td>
  <td data-label=${t("members.ward")}>${member.ward ?? "–"}</td>
  <td data-label=${t("members.status")}>${member.status ?? "–"}</td>
  <td data-label=${t("members.expiry_date")}>${member.expiry_date ?? "–"}</td>
  <td data-label=${t("members.roll")}>${t(`members.roll.${member.roll}`)}</td></tr>`;

/** The members that are shown, as a file. */
function Export({ given }) {
  return html`<div class="actions left">${["xlsx", "csv"].map(
    (format) => html`<${FileButton} key=${format} label=${t(`members.export.${format}`)}
      ask=${() => post("members/export", { ...given, format })} />`,
  )}</div>`;
}

/** A button that asks for a file, waits until it is made, and saves it. */
export function FileButton({ label, ask }) {
  const isBusy = useSignal(false);
  const isShown = useRef(true);
  useEffect(
    () => () => {
      isShown.current = false;
    },
    [],
  );
  async function run() {
    const { message, data } = await ask();
    show(message);
    let file = data;
    while (file.status === "pending" && isShown.current) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      file = await get(`members/files/${file.job_id}`);
    }
    if (!isShown.current) return null;
    await download(`members/files/${file.job_id}/content`);
    return { message: t("members.file.saved") };
  }
  return html`<button type="button" class="quiet" disabled=${isBusy.value} onClick=${async () => {
    isBusy.value = true;
    await attempt(run);
    isBusy.value = false;
  }}>${isBusy.value ? t("members.file.busy") : label}</button>`;
}
