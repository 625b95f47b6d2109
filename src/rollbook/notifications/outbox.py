"""Notifications still to be delivered, recorded in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, LiteralString

from rollbook.backends.database import execute, fetch_one, lock, queries
from rollbook.model import OUTCOMES, RESULTS
from rollbook.service.due import pause_s

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from uuid import UUID

    from rollbook.backends.database import Connection, Pool, Row
    from rollbook.errors import NotificationError

#: ``webhook`` is the one of the settings.
Channel = Literal["email", "webhook", "office_webhook"]
#: ``verified``: the report of a completed upload was rewritten with the voter roll's answers.
Kind = Literal["completed", "failed", "cancelled", "verified"]

#: Seconds between two looks while nobody is to be notified of anything.
UNAWAITED_S: Final = 5.0

_SQL = queries("notifications")


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver."""

    #: The same for every try.
    id: str
    kind: Kind
    channel: Channel
    #: When the upload ended.
    ended_at: dt.datetime
    #: How often delivery was tried before.
    tries: int
    #: The uploader's address.
    email: str
    upload_id: UUID
    sent_at: dt.datetime
    file_name: str
    is_dry_run: bool
    rows_total: int | None
    rows_with_warnings: int | None
    error_code: str | None
    #: Rows by outcome.
    outcomes: dict[str, int]
    #: Rows by the voter roll's result; None if the roll isn't asked.
    roll: dict[str, int] | None
    #: Is the upload still as it ended? False if it was retried since.
    is_current: bool
    #: Of an office's webhook.
    webhook_id: UUID | None = None
    #: Of a mail: the uploader's, or the upload's; None where an older version has sent it.
    language: str | None = None

    @classmethod
    def from_row(cls, row: Row) -> Notification:
        """A notification from a row of the query ``claim``."""
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
    """The statement that records notifications: ``connection.execute(*entry(...))``.

    The upload has ended earlier in the same transaction. Without channels, nothing is recorded.
    """
    return _SQL["add"], {"upload_id": upload_id, "kind": kind, "channels": list(channels)}


async def claim(pool: Pool, channels: Iterable[Channel], *, lease_s: float) -> Notification | None:
    """Claim the notification that has been due longest for these channels; None when none is due.

    After ``lease_s`` seconds another process may claim it.
    """
    parameters = {"channels": list(channels), "lease_s": lease_s}
    while True:
        async with pool.connection() as connection:
            row = await fetch_one(connection, _SQL["claim"], parameters)
            if row is None:
                return None
            if row["webhook_id"] is None or await _is_only_one(connection, row):
                return Notification.from_row(row)
            await connection.rollback()  # and what is due next is claimed


async def _is_only_one(connection: Connection, claimed: Row) -> bool:
    """Whether nothing else is delivered to the claimed notification's webhook.

    Two claims at the same moment don't see each other. The second one waits here for the first.
    """
    await lock(connection, f"webhook {claimed['webhook_id']}")
    return await fetch_one(connection, _SQL["other_delivery"], claimed) is None


async def next_look_in_s(pool: Pool, channels: Iterable[Channel]) -> float:
    """Seconds until the next look for a due notification.

    Longer where nothing can become due meanwhile: no mail is sent and no office has a webhook.
    """
    parameters = {"channels": list(channels)}
    row = await fetch_one(pool, _SQL["next_due"], parameters)
    if row is None or (row["due_in_s"] is None and not row["is_awaited"]):
        return UNAWAITED_S
    return pause_s(row["due_in_s"])


async def note_delivered(pool: Pool, notification: Notification, status: int | None) -> None:
    """Record that the receiver accepted it, with the status of a webhook's answer."""
    await execute(pool, _SQL["delivered"], {"id": notification.id, "answer_status": status})


async def postpone(
    pool: Pool, notification: Notification, error: NotificationError, *, wait_s: float
) -> None:
    """Record a failed try; the next one is due after ``wait_s`` seconds."""
    parameters = {**_failure(notification, error), "wait_s": wait_s}
    await execute(pool, _SQL["postpone"], parameters)


async def give_up(pool: Pool, notification: Notification, error: NotificationError) -> None:
    """Record a failed try that was the last."""
    await execute(pool, _SQL["give_up"], _failure(notification, error))


def _failure(notification: Notification, error: NotificationError) -> dict[str, Any]:
    return {
        "id": notification.id,
        "error_code": error.code,
        "error": error.message,
        "answer_status": error.members.get("answer_status"),
    }
