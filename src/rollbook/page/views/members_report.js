// How many members the office has: by place, status, end of membership and month; shared phones.
import { download, get } from "../api.js";
import { html, useId } from "../html.js";
import { useLoaded } from "../loading.js";
import { Failure, Go, Loading } from "../parts.js";
import { attempt } from "../said.js";
import { number, t } from "../words.js";
import { Bars, Columns } from "./charts.js";

const FIELDS = ["province", "municipality", "ward", "status"];
/** When a membership ends, as the API names it, with its text. */
const ENDS = [
  ["expired", "report.expiring.expired"],
  ["within_30", "report.expiring.within_30"],
  ["within_60", "report.expiring.within_60"],
  ["within_90", "report.expiring.within_90"],
  ["later", "report.expiring.later"],
  ["unknown", "report.expiring.unknown"],
];
/** Values that a chart shows. */
const SHOWN = 15;

export function MembersReport() {
  const { data, error, reload } = useLoaded(() => get("members/report"));
  const save = () =>
    attempt(async () => {
      await download("members/report/content");
      return { message: t("report.saved") };
    });
  return html`<p class="back"><${Go} path="members">${t("member.back")}<//></p>
    <h1 tabindex="-1">${t("report.title")}</h1>
    ${error && html`<${Failure} error=${error} onRetry=${error.isPassing && reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="lead">${t("report.lead", { day: data.day })}</p>
        <dl class="tiles"><div class="card tile"><dt>${t("report.members")}</dt><dd>${number(data.members)}</dd></div></dl>
        <div class="actions left"><button type="button" class="quiet" onClick=${save}>${t("report.download")}</button></div>
        <div class="charts"><${Charts} of=${data} /></div>
        <${Phones} phones=${data.shared_phones} />`
    }`;
}

function Charts({ of }) {
  const ends = ENDS.map(([name, text]) => ({ key: name, label: t(text), value: of.expiring[name] }));
  const months = of.by_month.map(({ month, joined, renewed }) => ({
    key: month,
    label: month.slice(0, 7),
    values: { joined, renewed },
  }));
  return html`<div class="card"><${Bars} title=${t("report.expiring")} format=${number} items=${ends} /></div>
    <div class="card"><${Columns} title=${t("report.months")} format=${number} items=${months} series=${[
      { name: "joined", label: t("report.joined"), pattern: "plain" },
      { name: "renewed", label: t("report.renewed"), pattern: "hatch" },
    ]} /></div>
    ${FIELDS.map(
      (name) => html`<div class="card" key=${name}><${Bars} title=${t(`report.by.${name}`)} format=${number}
        items=${of.by_field[name].slice(0, SHOWN).map(({ value, members }) => ({
          key: value ?? "",
          label: value ?? t("report.none"),
          value: members,
        }))} /></div>`,
    )}`;
}

function Phones({ phones }) {
  const id = useId();
  return html`<section class="card ledger" aria-labelledby=${id}><h2 id=${id}>${t("report.phones")}</h2>
    ${
      phones.length === 0
        ? html`<p>${t("report.phones.none")}</p>`
        : html`<div class="table" tabindex="0" role="region" aria-label=${t("report.phones.table")}><table>
      <thead><tr><th scope="col">${t("report.phone")}</th><th scope="col" class="n">${t("report.members")}</th></tr></thead>
      <tbody>${phones.map(
        ({ phone, members }) => html`<tr key=${phone}><th scope="row"><${Go} path="members"
          query=${{ search: phone }}>${phone}<//></th>
          <td class="n" data-label=${t("report.members")}>${number(members)}</td></tr>`,
      )}</tbody></table></div>`
    }</section>`;
}
