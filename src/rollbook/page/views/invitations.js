// A list of accounts to invite: check a file first, then invite all people or those of the right rows.
import { download, request, saveAs, session } from "../api.js";
import { effect, html, signal, useEffect, useId, useRef, useSignal } from "../html.js";
import { Question } from "../parts.js";
import { attempt } from "../said.js";
import { KINDS } from "../sending.js";
import { officeName, t } from "../words.js";

const COLUMNS = ["row_number", "email", "name", "role", "province", "municipality", "state"];
const LOOKS = { right: "pending", invited: "done", at_fault: "failed" };

/** The file, and the answer about it: {message, data}. They outlive the view: the links are shown this once. */
const chosen = signal(null);
const found = signal(null);
const isStored = signal(false);
effect(() => {
  if (session.value) return;
  chosen.value = null;
  found.value = null;
});
addEventListener("beforeunload", (event) => {
  if (found.peek()?.data.invited && !isStored.peek()) event.preventDefault();
});

/** A cell that no spreadsheet program runs as a formula, as CSV writes it. */
const cell = (value) => {
  const text = `${value ?? ""}`;
  return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
};

/** The rows as the text of a CSV file, each with its link. */
function asCsv(rows) {
  const lines = rows.map(({ faults, invitation, ...row }) => [
    ...COLUMNS.map((name) => row[name]),
    faults.join(" "),
    invitation?.address,
    invitation?.expires_at,
    invitation?.is_mailed,
  ]);
  const headers = [...COLUMNS, "faults", "link", "link_expires_at", "is_mailed"];
  return `\ufeff${[headers, ...lines].map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** whole: makes a link's address whole; onDone: called when accounts were added. */
export function Invitations({ whole, onDone }) {
  const id = useId();
  const refused = useSignal(null);
  const isBusy = useSignal(false);
  const isLeaving = useSignal(false);
  const input = useRef(null);
  const title = useRef(null);
  useEffect(() => {
    if (found.value) title.current?.focus();
  }, [found.value]);

  async function send(path, fields) {
    const form = new FormData();
    const file = chosen.peek();
    for (const [name, value] of Object.entries({ ...fields, file })) form.append(name, value);
    isBusy.value = true;
    refused.value = null;
    try {
      const answer = await request("POST", path, { form });
      // What is shown is about the file that the next button sends.
      if (chosen.peek() !== file && !answer.data.invited) return;
      isStored.value = false;
      found.value = answer;
      if (answer.data.invited) onDone();
    } catch (error) {
      refused.value = error.message;
    } finally {
      isBusy.value = false;
    }
  }
  function choose() {
    [chosen.value = null] = input.current.files;
    found.value = null;
    refused.value = null;
  }
  function check(event) {
    event.preventDefault();
    send("users/invitations/check", {});
  }
  const rows = () =>
    found.value.data.rows.map((row) =>
      row.invitation ? { ...row, invitation: { ...row.invitation, address: whole(row.invitation.address) } } : row,
    );
  function store() {
    saveAs(new Blob([asCsv(rows())], { type: "text/csv" }), t("invitations.result.name"));
    isStored.value = true;
  }
  function end(yes) {
    isLeaving.value = false;
    if (!yes) return;
    found.value = null;
    chosen.value = null;
  }
  const data = found.value?.data;
  return html`<details class="card invitations"><summary>${t("invitations.title")}</summary>
    <p class="hint">${t("invitations.lead")}</p>
    ${
      data?.invited
        ? html`<h2 ref=${title} tabindex="-1">${t("invitations.done", { n: data.invited })}</h2>`
        : html`<p><button type="button" class="quiet" onClick=${() => attempt(() => download("users/template"))}>
        ${t("invitations.template")}</button></p>
      <form onSubmit=${check}>
        <div class="field"><label for="${id}-file">${t("invitations.file")}</label>
          <input id="${id}-file" ref=${input} type="file" accept=${KINDS} required disabled=${isBusy.value} onChange=${choose} /></div>
        <button type="submit" disabled=${isBusy.value}>${t("invitations.check")}</button>
      </form>
      ${data && html`<h2 ref=${title} tabindex="-1">${t("invitations.checked", { file: data.file_name })}</h2>`}`
    }
    ${refused.value && html`<p class="notice bad" role="alert">${refused.value}</p>`}
    ${
      data &&
      html`<p role="status">${found.value.message}</p>
      ${["columns", "sheets"].map(
        (what) =>
          data[`${what}_not_read`].length > 0 &&
          html`<p key=${what} class="hint">${t(`invitations.${what}`, { names: data[`${what}_not_read`].join(", ") })}</p>`,
      )}
      ${data.hidden_rows.length > 0 && html`<p class="hint">${t("invitations.hidden", { n: data.hidden_rows.length })}</p>`}
      <div class="table" tabindex="0" role="region" aria-label=${t("invitations.table")}><table>
        <thead><tr><th scope="col" class="n">${t("rows.row")}</th><th scope="col">${t("accounts.person")}</th>
          <th scope="col">${t("keys.office")}</th><th scope="col">${t("keys.state")}</th></tr></thead>
        <tbody>${rows().map((row) => html`<${Line} key=${row.row_number} of=${row} />`)}</tbody></table></div>
      <div class="actions">${
        data.invited
          ? html`<button type="button" onClick=${store}>${t("invitations.store")}</button>
            <button type="button" class="quiet" onClick=${() => {
              isLeaving.value = true;
            }}>${t("invitations.leave")}</button>`
          : data.right > 0 &&
            html`<button type="button" disabled=${isBusy.value}
              onClick=${() => send("users/invitations", { only_right: data.at_fault > 0 })}>
              ${t(data.at_fault ? "invitations.right" : "invitations.all", { n: data.right })}</button>`
      }</div>`
    }
    ${
      isLeaving.value &&
      html`<${Question} title=${t("invitations.leave.title")} text=${t("invitations.leave.text")}
        confirm=${t("invitations.leave.yes")} onAnswer=${end} />`
    }</details>`;
}

function Line({ of: row }) {
  const { email, name, role, state, faults, invitation } = row;
  return html`<tr><th scope="row" class="n">${row.row_number}</th>
    <td><bdi>${name || email}</bdi>${name && html`<small>${email}</small>`}</td>
    <td>${role ? html`<span>${officeName(row)}</span><small>${t(`role.${role}`)}</small>` : [row.province, row.municipality].filter(Boolean).join(" / ")}</td>
    <td><span class="badge ${LOOKS[state]}">${t(`invitations.state.${state}`)}</span>
      ${faults.length > 0 && html`<small>${faults.join(" ")}</small>`}
      ${invitation?.is_mailed && html`<small>${t("invitations.mailed")}</small>`}
      ${invitation?.mail_error && html`<small>${invitation.mail_error}</small>`}
      ${invitation && html`<small class="code">${invitation.address}</small>`}</td></tr>`;
}
