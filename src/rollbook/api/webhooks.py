"""The routes of offices' webhooks and of their deliveries."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, Field

from rollbook.api.access import SystemParam, UserParam, audited, failures, routes
from rollbook.api.pages import CountedPage, Pages50, listed
from rollbook.backends.database import Row
from rollbook.contract import Answer, Page
from rollbook.notifications import webhooks
from rollbook.notifications.outbox import Kind
from rollbook.service.system import System

router = routes("/webhooks", "webhooks", 401, 403)

Event = Literal["upload.completed", "upload.failed", "upload.cancelled", "upload.verified"]
Events = Annotated[list[Event], Field(min_length=1, max_length=10)]
Url = Annotated[
    str,
    Field(
        max_length=webhooks.URL_LENGTH,
        description="Begins with https://. Its name is looked up at each delivery.",
        examples=["https://hooks.example.org/rollbook"],
    ),
]
#: ``msg_`` and 32 hexadecimal digits.
DeliveryId = Annotated[
    str,
    Path(pattern=r"^msg_[0-9a-f]{32}$", description="The id that the receiver got (webhook-id)."),
]
_ALL: list[Event] = ["upload.completed", "upload.failed", "upload.cancelled", "upload.verified"]


class NewWebhook(BaseModel, strict=True):
    """Where messages are posted, and about what."""

    url: Url
    events: Events = Field(
        _ALL,
        description="`upload.verified`: the voter roll's last answer about an upload has come.",
    )


class WebhookChange(BaseModel, strict=True):
    """A change of a webhook; fields that are left out stay as they are."""

    url: Url | None = None
    events: Events | None = None
    is_active: bool | None = Field(
        None, description="False: nothing is sent or recorded for it until it is started again."
    )
    new_secret: bool = Field(
        default=False,
        description="Make another secret; the former one signs beside it for "
        "ROLLBOOK_WEBHOOK_FORMER_SECRET_H hours.",
    )


class OfficeWebhook(BaseModel):
    """A webhook, without its secret."""

    webhook_id: UUID | None = Field(description="Null: the one of the settings.")
    url: str = Field(description="What follows a ? is left out, because it may be a secret.")
    events: list[Event]
    province: str | None = Field(description="With the municipality: whose uploads it reports.")
    municipality: str | None
    is_active: bool
    is_from_settings: bool = Field(description="It reports all uploads, and can't be changed here.")
    made_by: str | None = Field(description="The maker's e-mail address.")
    created_at: dt.datetime | None
    changed_at: dt.datetime | None

    @classmethod
    def of(cls, row: Row) -> OfficeWebhook:
        """A webhook from a row of the list."""
        return cls.model_validate(
            {
                **row,
                "webhook_id": row["id"],
                "url": _shown(row["url"]),
                "events": [f"upload.{kind}" for kind in row["events"]],
                "is_from_settings": False,
            }
        )


class MadeWebhook(OfficeWebhook):
    """A webhook with a secret that was just made."""

    secret: str | None = Field(description="Signs messages; shown this once. Null: as before.")


class Delivery(BaseModel):
    """A message to a webhook, and the result of its delivery."""

    delivery_id: str = Field(description="The header `webhook-id` of each try.")
    event: Event
    job_id: UUID
    state: Literal["waiting", "delivered", "given_up"]
    tries: int
    answer_status: int | None = Field(
        description="Of the last answer; null where there was none, as after a time-out."
    )
    error: str | None = Field(description="Why the last try failed.")
    error_code: str | None
    created_at: dt.datetime
    tried_at: dt.datetime | None
    due_at: dt.datetime | None = Field(description="Of the next try; null where there is none.")
    delivered_at: dt.datetime | None

    @classmethod
    def of(cls, row: Row) -> Delivery:
        """A delivery from a row of the log."""
        state = "waiting"
        if row["delivered_at"] is not None:
            state = "delivered"
        elif row["given_up_at"] is not None:
            state = "given_up"
        return cls.model_validate(
            {
                **row,
                "delivery_id": row["id"],
                "event": f"upload.{row['kind']}",
                "job_id": row["upload_id"],
                "state": state,
                "due_at": row["due_at"] if state == "waiting" else None,
            }
        )


@router.get("")
async def list_webhooks(
    system: SystemParam, user: UserParam, paging: Pages50
) -> Answer[Page[OfficeWebhook]]:
    """List the webhooks of your scope, newest first; for operators, the one of the settings too."""
    found = await webhooks.listed(system, user, paging)
    items = [OfficeWebhook.of(row) for row in found.rows]
    if user.role.is_operator and system.settings.webhook_url is not None:
        found = replace(found, total=found.total + 1)
        if paging.page == 1:
            items.insert(0, _of_settings(system))
    return listed(Page[OfficeWebhook], items, found, paging, "{} webhooks.")


@router.post("", status_code=201, **audited("webhook_add", 409))
async def add_webhook(
    body: NewWebhook, system: SystemParam, user: UserParam
) -> Answer[MadeWebhook]:
    """Add a webhook for the uploads of your office; the answer shows its secret once."""
    row, secret = await webhooks.add(system, user, url=body.url, events=_kinds(body.events))
    data = MadeWebhook(**OfficeWebhook.of(row).model_dump(), secret=secret)
    return Answer(message="The webhook is added. Its secret is shown this once.", data=data)


@router.patch("/{webhook_id}", **audited("webhook_change", 404))
async def change_webhook(
    webhook_id: UUID, body: WebhookChange, system: SystemParam, user: UserParam
) -> Answer[MadeWebhook]:
    """Change a webhook's address, events or secret, or stop it."""
    row, secret = await webhooks.change(
        system,
        user,
        webhook_id,
        url=body.url,
        events=None if body.events is None else _kinds(body.events),
        is_active=body.is_active,
        new_secret=body.new_secret,
    )
    data = MadeWebhook(**OfficeWebhook.of(row).model_dump(), secret=secret)
    return Answer(message="The webhook is changed.", data=data)


@router.delete("/{webhook_id}", **audited("webhook_remove", 404))
async def remove_webhook(webhook_id: UUID, system: SystemParam, user: UserParam) -> Answer[None]:
    """Remove a webhook with its deliveries; those that wait are not made."""
    await webhooks.remove(system, user, webhook_id)
    return Answer(message="The webhook is removed, with its deliveries.", data=None)


@router.get("/{webhook_id}/deliveries", responses=failures(404))
async def list_deliveries(
    webhook_id: UUID, system: SystemParam, user: UserParam, paging: Pages50
) -> Answer[CountedPage[Delivery]]:
    """List a webhook's deliveries, newest first, each with the receiver's last answer."""
    found = await webhooks.deliveries(system, user, webhook_id, paging)
    items = [Delivery.of(row) for row in found.rows]
    return listed(CountedPage[Delivery], items, found, paging, "{} deliveries.")


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/again",
    status_code=202,
    **audited("webhook_again", 404, 409),
)
async def deliver_again(
    webhook_id: UUID, delivery_id: DeliveryId, system: SystemParam, user: UserParam
) -> Answer[Delivery]:
    """Send a message again, now, under the same id."""
    row = await webhooks.deliver_again(system, user, webhook_id, delivery_id)
    return Answer(message="The message is sent again within seconds.", data=Delivery.of(row))


def _kinds(events: list[Event]) -> list[Kind]:
    named = {f"upload.{kind}": kind for kind in webhooks.KINDS}
    return [named[event] for event in events]


def _of_settings(system: System) -> OfficeWebhook:
    url = system.settings.webhook_url
    assert url is not None
    return OfficeWebhook(
        webhook_id=None,
        url=_shown(url.get_secret_value()),
        events=_ALL,
        province=None,
        municipality=None,
        is_active=system.settings.notifications_enabled,
        is_from_settings=True,
        made_by=None,
        created_at=None,
        changed_at=None,
    )


def _shown(url: str) -> str:
    return urlsplit(url)._replace(query="").geturl()
