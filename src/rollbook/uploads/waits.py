"""What a running attempt waits for: another change of the same members, in its merge.

The worker looks for it beside the heartbeat and writes it to the record (``waits`` of ``uploads``).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from rollbook.backends.database import fetch_one, queries
from rollbook.model import EVERYWHERE, Scope

if TYPE_CHECKING:
    from rollbook.backends.database import Pool, Row

_SQL = queries("uploads")


class Waits(BaseModel):
    """What the status says of a wait."""

    waits_since: dt.datetime | None = Field(
        None, description="Since when its merge waits for another change of the same members."
    )
    waits_for: UUID | None = Field(
        None, description="The upload that it waits for; null where you may not see it."
    )


def in_words(upload: Waits) -> str:
    """A wait as the sentence of an answer has it."""
    if upload.waits_for is None:
        return "waits for another change of the same members"
    return f"waits for another upload of the same members ({str(upload.waits_for)[:8]})"


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait for members that another transaction has locked."""

    since: dt.datetime
    #: The upload that holds the locks; None: it is no upload, or can't be found.
    upload_id: UUID | None = None
    #: Where that upload was sent from.
    place: Scope | None = None

    @classmethod
    def of(cls, upload: Row) -> Self | None:
        """The wait in a row of ``uploads``; None where its latest attempt isn't waiting."""
        found = upload["waits"]
        if (
            found is None
            or upload["status"] != "processing"
            or found["attempt"] != upload["attempt"]
        ):
            return None
        return cls.from_json(found)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """A wait as ``as_json`` gives it."""
        since = dt.datetime.fromisoformat(found["since"])
        if found["upload_id"] is None:
            return cls(since)
        place = Scope(found["province"], found["municipality"])
        return cls(since, UUID(found["upload_id"]), place)

    def as_json(self, attempt: int) -> dict[str, Any]:
        """The wait of this attempt, for the record and the queue's stream."""
        place = self.place or EVERYWHERE
        return {
            "attempt": attempt,
            "since": self.since.isoformat(),
            "upload_id": self.upload_id and str(self.upload_id),
            **asdict(place),
        }

    def seen_by(self, scope: Scope) -> UUID | None:
        """The upload that is waited for, where those with this scope may see it."""
        if self.place is None or not scope.includes(self.place):
            return None
        return self.upload_id


def facts(upload: Row, scope: Scope) -> dict[str, Any]:
    """The members of ``Waits`` for a reader with this scope."""
    wait = Wait.of(upload)
    if wait is None:
        return {}
    return {"waits_since": wait.since, "waits_for": wait.seen_by(scope)}


async def look(pool: Pool, upload: Row, before: Wait | None) -> Wait | None:
    """What the sessions of an attempt wait for now; it waits since ``before`` where it did then."""
    session = f"rollbook-child {upload['id']} {upload['attempt']}"
    found = await fetch_one(pool, _SQL["waits_for_members"], {"session": session})
    if found is None:
        return None
    since = before.since if before is not None else found["now"]
    if found["upload_id"] is None:
        return Wait(since)
    return Wait(since, found["upload_id"], Scope(found["province"], found["municipality"]))
