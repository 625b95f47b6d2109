// Webhooks of the office: add one, see what was sent to it and what it answered, send that again.
import { del, get, patch, post } from "../api.js";
import { useForm } from "../forms.js";
import { html, useId, useSignal } from "../html.js";
import { freshness } from "../live.js";
import { useLoaded } from "../loading.js";
import { Failure, Go, Loading, Once, Pager, Question } from "../parts.js";
import { pageNumber, refine } from "../router.js";
import { attempt } from "../said.js";
import { listChanged } from "../uploads.js";
import { counted, momentInFull, officeName, t } from "../words.js";

const PAGE_SIZE = 50;
const EVENTS = ["upload.completed", "upload.failed", "upload.cancelled", "upload.verified"];
const LOOKS = { waiting: "dry", delivered: "done", given_up: "failed" };

export function Webhooks() {
  const page = pageNumber();
  const made = useSignal(null);
  const { data, error, reload } = useLoaded(
    () => get("webhooks", { page, page_size: PAGE_SIZE }),
    [page],
    [freshness],
  );
  const onMade = (webhook) => {
    made.value = webhook;
    reload();
  };
  return html`<h1 tabindex="-1">${t("webhooks.title")}</h1>
    <p class="lead">${t("webhooks.lead")}</p>
    ${
      made.value
        ? html`<${Once} title=${t("webhooks.made", { url: made.value.url })} label=${t("webhooks.secret")}
          value=${made.value.secret} text=${t("webhooks.made.text")} onDone=${() => {
            made.value = null;
          }} />`
        : html`<${NewWebhook} onMade=${onMade} />`
    }
    ${error && html`<${Failure} error=${error} onRetry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${
      data &&
      html`<p class="count" role="status">${t("webhooks.count", { n: data.total })}</p>
      ${data.items.map(
        (webhook) =>
          html`<${One} key=${webhook.webhook_id ?? "settings"} of=${webhook} reload=${reload} onMade=${onMade} />`,
      )}
      <${Pager} page=${page} pageSize=${PAGE_SIZE} of=${data} label=${t("webhooks.title")}
        onPage=${(to) => refine({ page: to })} />`
    }`;
}

function One({ of: webhook, reload, onMade }) {
  const isAsked = useSignal(false);
  const isOpen = useSignal(false);
  const { webhook_id: id, url, events, is_active: isActive, made_by: by } = webhook;
  const office = officeName(webhook);
  const toggle = async () => {
    await attempt(() => patch(`webhooks/${id}`, { is_active: !isActive }));
    reload();
  };
  const renew = () =>
    attempt(async () => {
      const { data, message } = await patch(`webhooks/${id}`, { new_secret: true });
      onMade(data);
      return { message };
    });
  const remove = async (yes) => {
    isAsked.value = false;
    if (!yes) return;
    await attempt(() => del(`webhooks/${id}`));
    reload();
  };
  return html`<section class="card webhook" aria-label=${url}>
    <p><strong class="path">${url}</strong> <span class="badge ${isActive ? "done" : "dry"}">${t(
      isActive ? "webhooks.active" : "webhooks.stopped",
    )}</span></p>
    <p class="hint">${office} · ${events.map((event) => t(`event.${event}`)).join(", ")}${by && ` · ${t("keys.by", { email: by })}`}</p>
    ${
      webhook.is_from_settings
        ? html`<p class="hint">${t("webhooks.settings")}</p>`
        : html`<div class="actions left">
      <button type="button" class="quiet small" aria-expanded=${isOpen.value ? "true" : "false"} onClick=${() => {
        isOpen.value = !isOpen.value;
      }}>${t("webhooks.deliveries")}</button>
      <button type="button" class="quiet small" onClick=${toggle}>${t(isActive ? "webhooks.stop" : "webhooks.start")}</button>
      <button type="button" class="quiet small" onClick=${renew}>${t("webhooks.renew")}</button>
      <button type="button" class="quiet small danger" onClick=${() => {
        isAsked.value = true;
      }}>${t("webhooks.remove")}</button></div>`
    }
    ${isOpen.value && html`<${Deliveries} id=${id} />`}
    ${
      isAsked.value &&
      html`<${Question} title=${t("webhooks.remove.title")} text=${t("webhooks.remove.text", { url })}
      confirm=${t("webhooks.remove")} isDangerous onAnswer=${remove} />`
    }</section>`;
}

function Deliveries({ id }) {
  const page = useSignal(1);
  const { data, error, reload } = useLoaded(
    () => get(`webhooks/${id}/deliveries`, { page: page.value, page_size: PAGE_SIZE }),
    [page.value],
    [listChanged, freshness],
  );
  if (error) return html`<${Failure} error=${error} onRetry=${reload} />`;
  if (!data) return html`<${Loading} />`;
  const again = async (delivery) => {
    await attempt(() => post(`webhooks/${id}/deliveries/${delivery.delivery_id}/again`));
    reload();
  };
  return html`<p class="count" role="status">${counted("deliveries", data)}</p>
    ${
      data.total > 0 &&
      html`<div class="ledger"><div class="table" tabindex="0" role="region" aria-label=${t("deliveries.table")}><table>
      <thead><tr><th scope="col">${t("audit.when")}</th><th scope="col">${t("deliveries.event")}</th>
        <th scope="col">${t("deliveries.answer")}</th><th scope="col">${t("keys.state")}</th></tr></thead>
      <tbody>${data.items.map((one) => html`<${Line} key=${one.delivery_id} of=${one} again=${again} />`)}</tbody>
    </table></div></div>`
    }
    <${Pager} page=${page.value} pageSize=${PAGE_SIZE} of=${data} label=${t("deliveries.pages")} isByTime
      onPage=${(to) => {
        page.value = to;
      }} />`;
}

function Line({ of: delivery, again }) {
  const { created_at: at, event, job_id: job, state, tries, answer_status: status, error, due_at: due } = delivery;
  return html`<tr>
    <th scope="row"><time datetime=${at}>${momentInFull(at)}</time></th>
    <td data-label=${t("deliveries.event")}><span>${t(`event.${event}`)}</span>
      <small><${Go} path="uploads/${job}">${t("audit.upload", { id: job.slice(0, 8) })}<//></small></td>
    <td data-label=${t("deliveries.answer")}><span>${status ?? t("deliveries.none")}</span>${error && html`<small>${error}</small>`}</td>
    <td data-label=${t("keys.state")}><span class="badge ${LOOKS[state]}">${t(`deliveries.state.${state}`)}</span>
      <small>${t("deliveries.tries", { n: tries })}${due && tries > 0 && `, ${t("deliveries.next", { when: momentInFull(due) })}`}</small>
      <button type="button" class="quiet small" onClick=${() => again(delivery)}>${t("deliveries.again")}<span
        class="unseen"> ${delivery.delivery_id}</span></button></td></tr>`;
}

function NewWebhook({ onMade }) {
  const id = useId();
  const { form, submit, failure, isBusy } = useForm(async (filled) => {
    const made = new FormData(filled);
    const body = { url: made.get("url").trim(), events: made.getAll("event") };
    onMade((await post("webhooks", body)).data);
  });
  return html`<section class="card who" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${t("webhooks.new")}</h2>
    <form ref=${form} onSubmit=${submit}>
      <div class="field"><label for="${id}-url">${t("webhooks.url")}</label>
        <input id="${id}-url" name="url" type="url" maxlength="2000" required autocomplete="off"
          aria-describedby="${id}-hint" /></div>
      <p class="hint" id="${id}-hint">${t("webhooks.url.hint")}</p>
      <fieldset class="checks"><legend>${t("webhooks.events")}</legend>${EVENTS.map(
        (event) => html`<label key=${event}><input type="checkbox" name="event" value=${event} defaultChecked />
        ${t(`event.${event}`)}</label>`,
      )}</fieldset>
      ${failure && html`<p class="notice bad" role="alert">${failure}</p>`}
      <button type="submit" disabled=${isBusy}>${t("webhooks.add")}</button>
    </form></section>`;
}
