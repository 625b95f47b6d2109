"""Turns the queue's events into messages, and leaves out what an attempt says out of turn.

What an event means is read from the event itself, so that every API process makes the same message
of it; the record adds whose upload it is, and in words why it failed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from rollbook.contract import FileReading
from rollbook.errors import title_of
from rollbook.live.messages import Message, MessageType, event, seq_of, timestamp
from rollbook.masking import masked
from rollbook.model import OUTCOMES, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rollbook.backends.database import Row
    from rollbook.queue.subscriber import QueueEvent

#: How many uploads are remembered, the ones heard of last.
REMEMBERED: Final = 20_000
#: The events that a message is made of.
TOLD: Final = frozenset(
    {"waiting", "delayed", "progress", "ended", "rate_limit_warning", "rate_limit_exceeded"}
)
#: Of these, the ones for which the record must be looked at as it is now.
_FRESH = frozenset({"waiting", "delayed", "ended"})
_ENDS: Final[dict[str, MessageType]] = {
    "completed": "bulk_upload_complete",
    "failed": "bulk_upload_failed",
    "cancelled": "bulk_upload_cancelled",
}
#: What a listener who hears of an upload for the first time needs to show it.
_FACTS = (
    "file_name", "file_bytes", "province", "municipality", "dry_run", "existing", "all_or_nothing",
    "priority",
)  # fmt: skip


@dataclass(slots=True)
class _Told:
    """What has been told of an upload."""

    place: Scope
    file_name: str
    #: The latest attempt that was heard of.
    attempt: int | None = None
    percent: int = 0
    #: The attempt and the status of the end that was told last.
    end: tuple[int, str] | None = None


class Chronicle:
    """Knows what was told of each upload."""

    def __init__(self) -> None:
        self._uploads: OrderedDict[str, _Told] = OrderedDict()

    def lacks(self, events: Iterable[QueueEvent]) -> set[UUID]:
        """The uploads whose records must be read before these events can be told."""
        told = [one for one in events if one.name in TOLD]
        fresh = {_uuid(one.job_id) for one in told if one.name in _FRESH} - {None}
        return cast("set[UUID]", fresh) | self.strangers(one.job_id for one in told)

    def strangers(self, job_ids: Iterable[str]) -> set[UUID]:
        """Of these jobs, the ones that may be uploads of ours and haven't been met."""
        found = {_uuid(job_id) for job_id in job_ids if job_id not in self._uploads}
        return cast("set[UUID]", found - {None})

    def place(self, job_id: str) -> Scope | None:
        """Where an upload was sent from; None when it hasn't been heard of."""
        told = self._uploads.get(job_id)
        return None if told is None else told.place

    def meet(self, records: Iterable[Row]) -> None:
        """Get to know uploads."""
        for record in records:
            job_id = str(record["id"])
            if job_id not in self._uploads:
                place = Scope(record["province"], record["municipality"])
                self._uploads[job_id] = _Told(place, record["file_name"])
            self._uploads.move_to_end(job_id)
        while len(self._uploads) > REMEMBERED:
            self._uploads.popitem(last=False)

    def tell(self, one: QueueEvent, records: Mapping[str, Row]) -> Message | None:
        """The message that an event becomes; None for one that nobody needs to hear.

        Args:
            one: the event; the events come in their order.
            records: by job id, those that ``lacks`` asked for; they are met already.
        """
        if one.name.startswith("rate_limit_"):
            kind: MessageType = (
                "rate_limit_warning" if one.name == "rate_limit_warning" else "rate_limit_exceeded"
            )
            data = {name: int(one.data[name]) for name in ("used", "limit")}
            return event(kind, seq_of(one.id), data)
        told = self._uploads.get(one.job_id)
        if told is None or one.name not in TOLD:
            return None  # another program's job on the same queue
        if one.name == "progress":
            return _progress(one, told)
        record = records.get(one.job_id)
        if record is None:
            return None  # removed from the record since
        return _end(one, told, record) if one.name == "ended" else _waiting(one, told, record)


def _progress(one: QueueEvent, told: _Told) -> Message | None:
    attempt, percent = one.attempt, one.data.get("percent")
    if attempt is None or not isinstance(percent, int):
        return None  # not from a worker of ours
    percent = min(percent, 99)  # 100 is the end's
    if (attempt, percent) < (told.attempt or 0, told.percent):
        return None  # an attempt that was fenced off, and doesn't know it yet
    if told.end is not None and attempt <= told.end[0]:
        return None
    told.attempt, told.percent = attempt, percent
    data = {
        "status": "processing",
        "queue_state": "active",
        "attempt": attempt,
        "stage": one.data.get("stage"),
        "progress": percent,
        "rows_done": one.data.get("rows_done", 0),
        "rows_total": one.data.get("rows_total"),
        "rows_per_second": one.data.get("rows_per_second"),
        "file_name": told.file_name,
    }
    return _of_upload("bulk_upload_progress", one, told, data, step=(attempt, percent))


def _waiting(one: QueueEvent, told: _Told, record: Row) -> Message:
    if told.attempt is None and "prev" not in one.data:
        told.attempt = 0  # it has just been added
    attempt = told.attempt
    # After the attempt that failed, and before the next one.
    step = None if attempt is None else (attempt, 101)
    waits = record["status"] == "pending"
    data = {
        "status": "pending",
        "queue_state": one.name,
        "attempt": attempt,
        "stage": None,
        "progress": 0,
        "rows_done": 0,
        "rows_total": None,
        "rows_per_second": None,
        "error_code": record["error_code"] if waits else None,
        "error": record["error"] if waits else None,
        **{name: record[name] for name in _FACTS},
        "sheet": record["sheet"] and masked(record["sheet"]),
        "owner": record["owner_email"],
        "created_at": timestamp(record["created_at"]),
    }
    return _of_upload("bulk_upload_progress", one, told, data, step=step)


def _end(one: QueueEvent, told: _Told, record: Row) -> Message | None:
    status = one.data.get("status")
    if one.attempt is None or status not in _ENDS:
        return None
    end = (one.attempt, status)
    if told.end == end or one.attempt < (told.attempt or 0):
        return None  # told before, or of an attempt that others have come after
    told.attempt, told.percent, told.end = one.attempt, 0, end
    is_same = (record["attempt"], record["status"]) == end
    data: dict[str, Any] = {
        "status": status,
        "queue_state": None,
        "attempt": one.attempt,
        "file_name": told.file_name,
        "finished_at": timestamp(record["finished_at"]) if is_same else None,
    }
    if status != "cancelled":
        data["report_available"] = is_same and record["report_key"] is not None
        data["failed_rows_available"] = is_same and record["refused_key"] is not None
        data["error_code"] = one.data.get("code") or None
        data["error"] = _reason(one, record) if status == "failed" else None
    if status == "completed":
        data |= {
            "stage": "report",
            "progress": 100,
            "rows_done": record["rows_total"],
            "rows_total": record["rows_total"],
            "outcomes": {name: record[name] for name in OUTCOMES},
            "stage_seconds": record["stage_seconds"],
            "dry_run": record["dry_run"],
            **FileReading.facts(record),
        }
    return _of_upload(_ENDS[status], one, told, data)


def _reason(one: QueueEvent, record: Row) -> str:
    """Why it failed; in general words where it was retried since, and the record says no more."""
    is_same = (record["attempt"], record["status"]) == (one.attempt, "failed")
    return (record["error"] if is_same else None) or f"{title_of(one.data.get('code', ''))}."


def _of_upload(
    kind: MessageType,
    one: QueueEvent,
    told: _Told,
    data: dict[str, Any],
    *,
    step: tuple[int, int] | None = None,
) -> Message:
    return event(kind, seq_of(one.id), data, job_id=one.job_id, place=told.place, step=step)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
