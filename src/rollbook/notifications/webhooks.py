"""Webhooks of offices: each hears the uploads of its own place (docs/decisions/0044).

Secrets are stored as they are, because workers sign with them and have no other secret than the
address of the database.
"""

from __future__ import annotations

import base64
import secrets
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, get_args
from urllib.parse import urlsplit

from rollbook.accounts import audit
from rollbook.backends.database import (
    FIRST_PAGE,
    Paging,
    fetch_listed,
    fetch_one,
    fetch_page,
    fetch_row,
    lock,
    queries,
)  # fmt: skip
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    NotificationRefusedError,
)
from rollbook.notifications.outbox import Kind
from rollbook.notifications.webhook import Guard, Target, is_host

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from rollbook.backends.database import Listed, Row
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

KINDS: tuple[Kind, ...] = get_args(Kind)
URL_LENGTH: Final = 2000
SECRET_BYTES: Final = 32

_SQL = queries("webhooks")
_UNKNOWN = "There is no such webhook. Check its id."


async def add(system: System, user: User, *, url: str, events: Collection[Kind]) -> tuple[Row, str]:
    """Add a webhook of the user's office, for uploads that end in one of these ways.

    Returns:
        The webhook as ``listed`` shows it, and its secret, which is shown this once.

    Raises:
        InvalidRequestError: the address can't be used.
        NotAllowedError: it is a private one, and the office isn't national.
        ConflictError: the office has as many as the settings allow.
    """
    url = checked_url(system.settings, user, url)
    secret = secrets.token_bytes(SECRET_BYTES)
    place = {"province": user.scope.province, "municipality": user.scope.municipality}
    parameters = {
        **place,
        "made_by": user.id,
        "url": url,
        "events": sorted(set(events)),
        "secret": secret,
    }
    async with system.pool.connection() as connection:
        await lock(connection, f"webhooks of {user.scope}")
        counted = await fetch_one(connection, _SQL["count"], place)
        if counted is not None and counted["webhooks"] >= system.settings.webhooks_per_office:
            raise ConflictError(
                f"Your office has {counted['webhooks']} webhooks, which is the limit. Remove one "
                "first; none was added."
            )
        added = await fetch_row(connection, _SQL["add"], parameters)
        await audit.record(connection, "webhook_add", who=user, about=_host(url))
    return await get(system, user, added["id"]), _shown(secret)


async def listed(
    system: System, user: User, paging: Paging = FIRST_PAGE, *, webhook_id: UUID | None = None
) -> Listed:
    """A page of the webhooks in the reader's scope."""
    parameters = {"id": webhook_id, **user.scope.parameters()}
    return await fetch_page(system.pool, _SQL["list"], parameters, paging)


async def get(system: System, user: User, webhook_id: UUID) -> Row:
    """One webhook.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    found = await listed(system, user, webhook_id=webhook_id)
    if not found.rows:
        raise NotFoundError(_UNKNOWN)
    return found.rows[0]


async def change(
    system: System,
    user: User,
    webhook_id: UUID,
    *,
    url: str | None = None,
    events: Collection[Kind] | None = None,
    is_active: bool | None = None,
    new_secret: bool = False,
) -> tuple[Row, str | None]:
    """Change a webhook; None leaves what there is.

    Returns:
        The webhook, and its new secret where one was asked for. The former one signs beside it for
        ROLLBOOK_WEBHOOK_FORMER_SECRET_H.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
        What ``add`` raises for the address.
    """
    before = await get(system, user, webhook_id)
    if url is not None:
        url = checked_url(system.settings, user, url, is_national=before["province"] is None)
    secret = secrets.token_bytes(SECRET_BYTES) if new_secret else None
    parameters = {
        "id": webhook_id,
        "url": url,
        "events": None if events is None else sorted(set(events)),
        "is_active": is_active,
        "secret": secret,
        "former_hours": system.settings.webhook_former_secret_h,
        **user.scope.parameters(),
    }
    async with system.pool.connection() as connection:
        changed = await fetch_one(connection, _SQL["change"], parameters)
        if changed is None:
            raise NotFoundError(_UNKNOWN)
        given = {"address": url, "events": events, "state": is_active, "secret": secret}
        what = ", ".join(name for name, value in given.items() if value is not None)
        about = f"{_host(changed['url'])}: {what or 'nothing'}"
        await audit.record(connection, "webhook_change", who=user, about=about)
    return await get(system, user, webhook_id), None if secret is None else _shown(secret)


async def remove(system: System, user: User, webhook_id: UUID) -> None:
    """Delete a webhook with its deliveries; those that wait are not made.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    parameters = {"id": webhook_id, **user.scope.parameters()}
    async with system.pool.connection() as connection:
        gone = await fetch_one(connection, _SQL["remove"], parameters)
        if gone is None:
            raise NotFoundError(_UNKNOWN)
        await audit.record(connection, "webhook_remove", who=user, about=_host(gone["url"]))


async def deliveries(system: System, user: User, webhook_id: UUID, paging: Paging) -> Listed:
    """A page of a webhook's deliveries, the newest first.

    Raises:
        NotFoundError: there is no such webhook in the reader's scope.
    """
    await get(system, user, webhook_id)
    parameters = {"id": webhook_id, **user.scope.parameters()}
    most = system.settings.list_most_counted
    return await fetch_listed(system.pool, _SQL, "deliveries", parameters, paging, most=most)


async def deliver_again(system: System, user: User, webhook_id: UUID, delivery_id: str) -> Row:
    """Have a delivery made again, now, under the same id.

    Raises:
        NotFoundError: there is no such delivery in the reader's scope.
        ConflictError: the webhook is stopped, or the delivery is being made.
    """
    parameters = {"id": webhook_id, "delivery_id": delivery_id, **user.scope.parameters()}
    async with system.pool.connection() as connection:
        found = await fetch_one(connection, _SQL["delivery"], parameters)
        if found is None:
            raise NotFoundError("There is no such delivery. It may be gone with its retention.")
        if not found["is_active"]:
            raise ConflictError("The webhook is stopped. Start it first; nothing was sent.")
        again = await fetch_one(connection, _SQL["deliver_again"], parameters)
        if again is None:
            raise ConflictError("The delivery is being made at this moment. Look again shortly.")
        await audit.record(
            connection, "webhook_again", who=user, job_id=again["upload_id"], about=delivery_id
        )
        return await fetch_row(connection, _SQL["delivery"], parameters)


async def target(system: System, webhook_id: UUID) -> Target:
    """Where the messages of an office's webhook go now.

    Raises:
        NotificationRefusedError: the webhook is stopped, or was removed.
    """
    row = await fetch_one(system.pool, _SQL["target"], {"id": webhook_id})
    if row is None:
        raise NotificationRefusedError("The webhook is stopped.")
    keys = tuple(bytes(key) for key in (row["secret"], row["former_secret"]) if key is not None)
    return Target(row["url"], keys, _networks(system.settings, is_national=row["is_national"]))


def checked_url(
    settings: Settings, user: User, url: str, *, is_national: bool | None = None
) -> str:
    """An address to which something can be sent, with its scheme in small letters.

    A name is looked up at each delivery and not here: what it leads to may change. ``is_national``
    says whose webhook it is; None: the user's office's.

    Raises:
        InvalidRequestError: it is no address, names no host that there can be, isn't encrypted, or
            has a user in it.
        NotAllowedError: it names an address that the office's webhooks may not reach.
    """
    if is_national is None:
        is_national = user.scope.province is None
    networks = _networks(settings, is_national=is_national)
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        parts, has_port = urlsplit(""), False
    is_plain = url.isprintable() and url.isascii() and " " not in url and len(url) <= URL_LENGTH
    is_encrypted = parts.scheme == "https"
    if not (
        parts.hostname
        and is_host(parts.hostname)
        and ("[" in parts.netloc) == (":" in parts.hostname)
        and has_port
        and is_plain
        and not parts.username
        and not parts.fragment
        and (is_encrypted or (parts.scheme == "http" and networks))
    ):
        raise InvalidRequestError(
            "A webhook's address begins with https:// and the name of a host, has at most "
            f"{URL_LENGTH} plain characters, and no user, space or # in it. Nothing was changed."
        )
    url = parts.scheme + url[len(parts.scheme) :]
    try:
        address = ip_address(parts.hostname)
    except ValueError:
        return url
    if not Guard(networks, is_encrypted=is_encrypted).may_reach(address):
        raise NotAllowedError(
            "The webhook's address is private, this machine's or a cloud's own, so nothing was "
            "changed. An operator can allow a network, for national webhooks, with "
            "ROLLBOOK_WEBHOOK_ALLOWED_NETWORKS."
        )
    return url


def _networks(settings: Settings, *, is_national: bool) -> tuple[Any, ...]:
    # The operator's own network isn't for offices to explore by the answers' statuses.
    return settings.webhook_networks if is_national else ()


def _shown(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def _host(url: str) -> str:
    """The part of an address that is no secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"
