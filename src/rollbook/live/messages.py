"""What a client hears: a message, encoded once for all who hear it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rollbook import clock

if TYPE_CHECKING:
    from rollbook.model import Scope

MessageType = Literal[
    "snapshot",
    "bulk_upload_progress",
    "bulk_upload_complete",
    "bulk_upload_failed",
    "bulk_upload_cancelled",
    "queue_stats",
    "rate_limit_warning",
    "rate_limit_exceeded",
    "heartbeat",
]

#: Numbers for each millisecond. An id of the stream is a time and a counter within it; a product of
#: the two stays a whole number that JavaScript can hold until the year 2248.
PER_MS = 1024


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it goes over the line."""

    type: MessageType
    seq: int
    #: JSON.
    text: str
    #: Whose upload it is about; None for what everybody may hear.
    place: Scope | None = None
    #: Empty where it is about no upload.
    job_id: str = ""
    #: For progress: the attempt and the percent, of which neither may go back for a listener.
    step: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Its length on the line, in characters."""
        return len(self.text)


def seq_of(stream_id: str) -> int:
    """The number of an event in Redis's stream: it grows as the ids do."""
    milliseconds, _, counter = stream_id.partition("-")
    return int(milliseconds) * PER_MS + int(counter or 0)


def event(
    kind: MessageType,
    seq: int,
    data: dict[str, Any],
    *,
    job_id: str = "",
    place: Scope | None = None,
    step: tuple[int, int] | None = None,
) -> Message:
    """Something that happened; its time is the one at which Redis took it down."""
    at = dt.datetime.fromtimestamp(seq // PER_MS / 1000, dt.UTC)
    return Message(kind, seq, _encoded(kind, seq, at, data, job_id), place, job_id, step)


def state(kind: MessageType, seq: int, data: dict[str, Any]) -> Message:
    """How things are now, after the event of this number."""
    return Message(kind, seq, _encoded(kind, seq, clock.now(), data, ""))


def as_json(data: object) -> str:
    """JSON without blanks."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def timestamp(at: dt.datetime) -> str:
    """A moment in the form that every message has: UTC, to the millisecond."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def _encoded(kind: str, seq: int, at: dt.datetime, data: dict[str, Any], job_id: str) -> str:
    return as_json(
        {"type": kind, "seq": seq, "job_id": job_id or None, "at": timestamp(at), "data": data}
    )
