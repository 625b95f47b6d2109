"""What is still to be told, in PostgreSQL: the queue can be made anew from it at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, LiteralString

from rollbook.backends.database import queries
from rollbook.model import OUTCOMES, RESULTS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from uuid import UUID

    from rollbook.backends.database import Pool, Row
    from rollbook.errors import NotificationError

Channel = Literal["email", "webhook"]
#: ``verified``: the report of an upload that had completed was written again.
Kind = Literal["completed", "failed", "cancelled", "verified"]

_SQL = queries("notifications")


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver."""

    #: The same however often it is sent.
    id: str
    kind: Kind
    channel: Channel
    #: When the upload ended.
    ended_at: dt.datetime
    #: How often it was sent before.
    tries: int
    #: Seconds for which it is to wait still.
    due_in_s: float
    #: The uploader's address.
    email: str
    upload_id: UUID
    sent_at: dt.datetime
    is_dry_run: bool
    rows_total: int | None
    error_code: str | None
    #: Rows by outcome.
    outcomes: dict[str, int]
    #: Rows by what the voter roll said of them; None where it isn't asked.
    roll: dict[str, int] | None
    #: Does it tell how the upload stands? Not when the upload was retried since.
    is_current: bool

    @classmethod
    def from_row(cls, row: Row) -> Notification:
        """A notification from a row of the query ``get``."""
        same = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        is_asked = row["verification"] != "off"
        return cls(
            **same,
            ended_at=row["created_at"],
            is_dry_run=row["dry_run"],
            outcomes={name: row[name] for name in OUTCOMES},
            roll={name: row[f"roll_{name}"] for name in RESULTS} if is_asked else None,
        )


def entry(
    upload_id: UUID, kind: Kind, channels: Iterable[Channel]
) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that notes an end: ``connection.execute(*entry(...))``, blocking or not.

    Args:
        upload_id: the upload whose end is written in the same transaction, before.
        kind: how it ended.
        channels: see ``Settings.notification_channels``; without any, nothing is noted.
    """
    return _SQL["add"], {"upload_id": upload_id, "kind": kind, "channels": list(channels)}


async def due(
    pool: Pool, channels: Iterable[Channel], *, upload_id: UUID | None = None
) -> list[str]:
    """The ids of what is to be sent now: of one upload, or of all."""
    parameters = {"upload_id": upload_id, "channels": list(channels)}
    async with pool.connection() as connection:
        found = await (await connection.execute(_SQL["due"], parameters)).fetchall()
    return [row["id"] for row in found]


async def get(pool: Pool, notification_id: str) -> Notification | None:
    """A notification; None when it has been delivered or given up, or its upload is gone."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_SQL["get"], {"id": notification_id})).fetchone()
    return Notification.from_row(row) if row else None


async def note_delivered(pool: Pool, notification: Notification) -> None:
    """The receiver has taken it."""
    async with pool.connection() as connection:
        await connection.execute(_SQL["delivered"], {"id": notification.id})


async def postpone(
    pool: Pool, notification: Notification, error: NotificationError, *, wait_s: float
) -> None:
    """It is sent again after so many seconds."""
    parameters = {"error_code": error.code, "error": error.message, "wait_s": wait_s}
    async with pool.connection() as connection:
        await connection.execute(_SQL["postpone"], {"id": notification.id, **parameters})


async def give_up(pool: Pool, notification: Notification, error: NotificationError) -> None:
    """It isn't sent again."""
    parameters = {"error_code": error.code, "error": error.message}
    async with pool.connection() as connection:
        await connection.execute(_SQL["give_up"], {"id": notification.id, **parameters})
