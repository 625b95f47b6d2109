"""Turns the queue's events into messages, and drops events of attempts that were fenced off.

A message is made from its event, so that every API process makes the same one. The record adds
whose upload it is, and the sentence that says why it failed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from rollbook.contract import FileReading, UploadVerification
from rollbook.errors import title_of
from rollbook.live.messages import Message, MessageType, event, seq_of, timestamp
from rollbook.masking import masked
from rollbook.model import OUTCOMES, Scope
from rollbook.uploads.waits import Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rollbook.backends.database import Row
    from rollbook.queue.subscriber import QueueEvent

#: How many uploads are remembered: those with the latest events.
REMEMBERED: Final = 20_000
#: The events that become messages.
ANNOUNCED: Final = frozenset(
    {"waiting", "delayed", "progress", "ended", "rate_limit_warning", "rate_limit_exceeded"}
)
#: Of these, the ones that need the record as it is now.
_FRESH = frozenset({"waiting", "delayed", "ended"})
_ENDS: Final[dict[str, MessageType]] = {
    "completed": "bulk_upload_complete",
    "failed": "bulk_upload_failed",
    "cancelled": "bulk_upload_cancelled",
}
#: What a client needs to show an upload that is new to it.
_FACTS = (
    "file_name", "file_bytes", "province", "municipality", "dry_run", "existing", "all_or_nothing",
    "priority",
)  # fmt: skip


@dataclass(slots=True)
class _Upload:
    """What the messages so far said of an upload."""

    place: Scope
    owner: UUID
    file_name: str
    #: The latest attempt.
    attempt: int | None = None
    percent: int = 0
    #: The attempt and the status of the last end.
    end: tuple[int, str] | None = None


class Chronicle:
    """Remembers what the messages said of each upload."""

    def __init__(self) -> None:
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()

    def needs(self, events: Iterable[QueueEvent]) -> set[UUID]:
        """The uploads whose records are needed for the messages of these events."""
        own = [one for one in events if one.name in ANNOUNCED]
        fresh = {_uuid(one.job_id) for one in own if one.name in _FRESH} - {None}
        return cast("set[UUID]", fresh) | self.unknown(one.job_id for one in own)

    def unknown(self, job_ids: Iterable[str]) -> set[UUID]:
        """Of these jobs, the possible uploads that aren't remembered."""
        found = {_uuid(job_id) for job_id in job_ids if job_id not in self._uploads}
        return cast("set[UUID]", found - {None})

    def place(self, job_id: str) -> Scope | None:
        """Where an upload was sent from; None when it isn't remembered."""
        known = self._uploads.get(job_id)
        return None if known is None else known.place

    def owner(self, job_id: str) -> UUID | None:
        """The account that sent an upload; None when it isn't remembered."""
        known = self._uploads.get(job_id)
        return None if known is None else known.owner

    def add(self, records: Iterable[Row]) -> None:
        """Remember uploads."""
        for record in records:
            job_id = str(record["id"])
            if job_id not in self._uploads:
                place = Scope(record["province"], record["municipality"])
                self._uploads[job_id] = _Upload(place, record["owner_id"], record["file_name"])
            self._uploads.move_to_end(job_id)
        while len(self._uploads) > REMEMBERED:
            self._uploads.popitem(last=False)

    def message(self, one: QueueEvent, records: Mapping[str, Row]) -> Message | None:
        """The message of an event; None when there is nothing to send.

        Events must come in their order. ``records`` has those that ``needs`` asked for, by job id;
        they are remembered already.
        """
        if one.name.startswith("rate_limit_"):
            kind: MessageType = (
                "rate_limit_warning" if one.name == "rate_limit_warning" else "rate_limit_exceeded"
            )
            data = {name: int(one.data[name]) for name in ("used", "limit")}
            return event(kind, seq_of(one.id), data)
        known = self._uploads.get(one.job_id)
        if known is None or one.name not in ANNOUNCED:
            return None  # another program's job on the same queue
        if one.name == "progress":
            return _progress(one, known)
        record = records.get(one.job_id)
        if record is None:
            return None  # since removed from the record
        return _end(one, known, record) if one.name == "ended" else _waiting(one, known, record)


def _progress(one: QueueEvent, known: _Upload) -> Message | None:
    attempt, percent = one.attempt, one.data.get("percent")
    if attempt is None or not isinstance(percent, int):
        return None  # not from our worker
    percent = min(percent, 99)  # 100 belongs to the end
    if (attempt, percent) < (known.attempt or 0, known.percent):
        return None  # an attempt that doesn't know yet that it is fenced off
    if known.end is not None and attempt <= known.end[0]:
        return None
    known.attempt, known.percent = attempt, percent
    data = {
        "status": "processing",
        "queue_state": "active",
        "attempt": attempt,
        "stage": one.data.get("stage"),
        "progress": percent,
        "rows_done": one.data.get("rows_done", 0),
        "rows_total": one.data.get("rows_total"),
        "rows_per_second": one.data.get("rows_per_second"),
        "file_name": known.file_name,
        **_waits(one.data.get("waits"), known),
    }
    return _of_upload("bulk_upload_progress", one, known, data, step=(attempt, percent))


def _waits(found: object, known: _Upload) -> dict[str, str | None]:
    """What it waits for. Every client gets the same message, so it names no upload of others."""
    if not isinstance(found, dict):
        return {"waits_since": None, "waits_for": None}
    wait = Wait.from_json(found)
    upload_id = wait.seen_by(known.place)
    return {
        "waits_since": timestamp(wait.since),
        "waits_for": None if upload_id is None else str(upload_id),
    }


def _waiting(one: QueueEvent, known: _Upload, record: Row) -> Message:
    if known.attempt is None and "prev" not in one.data:
        known.attempt = 0  # just added
    attempt = known.attempt
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
    return _of_upload("bulk_upload_progress", one, known, data, step=step)


def _end(one: QueueEvent, known: _Upload, record: Row) -> Message | None:
    status = one.data.get("status")
    if one.attempt is None or status not in _ENDS:
        return None
    end = (one.attempt, status)
    if known.end == end or one.attempt < (known.attempt or 0):
        return None  # sent before, or of an earlier attempt
    known.attempt, known.percent, known.end = one.attempt, 0, end
    is_same = (record["attempt"], record["status"]) == end
    data: dict[str, Any] = {
        "status": status,
        "queue_state": None,
        "attempt": one.attempt,
        "file_name": known.file_name,
        "finished_at": timestamp(record["finished_at"]) if is_same else None,
    }
    if status != "cancelled":
        data["report_available"] = is_same and record["report_key"] is not None
        data["failed_rows_available"] = is_same and record["refused_key"] is not None
        data["error_code"] = one.data.get("code") or None
        data["error"] = _reason(one, record) if status == "failed" else None
    if status == "failed":
        data["stage"] = record["stage"] if is_same else None
    if status == "completed":
        data |= {
            "stage": "report",
            "progress": 100,
            "rows_done": record["rows_total"],
            "rows_total": record["rows_total"],
            "outcomes": {name: record[name] for name in OUTCOMES},
            "stage_seconds": record["stage_seconds"],
            "dry_run": record["dry_run"],
            "started_at": timestamp(record["started_at"]),
            "verification": UploadVerification.of(record).model_dump(mode="json"),
            **FileReading.facts(record),
        }
    return _of_upload(_ENDS[status], one, known, data)


def _reason(one: QueueEvent, record: Row) -> str:
    """Why it failed. After a retry the record doesn't say it any more: then the error's title."""
    is_same = (record["attempt"], record["status"]) == (one.attempt, "failed")
    return (record["error"] if is_same else None) or f"{title_of(one.data.get('code', ''))}."


def _of_upload(
    kind: MessageType,
    one: QueueEvent,
    known: _Upload,
    data: dict[str, Any],
    *,
    step: tuple[int, int] | None = None,
) -> Message:
    return event(kind, seq_of(one.id), data, job_id=one.job_id, place=known.place, step=step)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
