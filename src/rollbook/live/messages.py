"""The messages, each encoded once for all its clients."""

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

#: Numbers per millisecond. An id in the stream is a time in milliseconds and a counter; as one
#: number it is exact in JavaScript until the year 2248.
PER_MS = 1024


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it is sent."""

    type: MessageType
    seq: int
    #: JSON.
    text: str
    #: Where its upload was sent from; None for a message to everybody.
    place: Scope | None = None
    #: Empty for a message about no upload.
    job_id: str = ""
    #: For progress: attempt and percent; neither goes back for a client.
    step: tuple[int, int] | None = None

    def __len__(self) -> int:
        """The length of the text, in characters."""
        return len(self.text)


def seq_of(stream_id: str) -> int:
    """The number of an event in Redis' stream; it grows with the ids."""
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
    """A message of an event; its time is that of the event's id in Redis."""
    at = dt.datetime.fromtimestamp(seq // PER_MS / 1000, dt.UTC)
    return Message(kind, seq, _encoded(kind, seq, at, data, job_id), place, job_id, step)


def state(kind: MessageType, seq: int, data: dict[str, Any]) -> Message:
    """A message of the state after the event of this number."""
    return Message(kind, seq, _encoded(kind, seq, clock.now(), data, ""))


def as_json(data: object) -> str:
    """JSON without spaces."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def timestamp(at: dt.datetime) -> str:
    """A time as messages have it: UTC, to the millisecond."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def _encoded(kind: str, seq: int, at: dt.datetime, data: dict[str, Any], job_id: str) -> str:
    return as_json(
        {"type": kind, "seq": seq, "job_id": job_id or None, "at": timestamp(at), "data": data}
    )
