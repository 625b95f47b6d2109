"""Live messages as the events of the first system's Socket.IO, for one client each."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from rollbook.api.first_system.names import (
    database_stats,
    processing_duration_ms,
    report_path,
    validation_stats,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    from rollbook.live.messages import Message
    from rollbook.model import User

#: The name of an event, and its data.
Event = tuple[str, dict[str, Any]]

#: Jobs to which one client may subscribe at a time.
MOST_JOBS: Final = 1000
#: Their stage and its sentence, in the order of the work. Ours alternate in the beginning; theirs
#: never go back within an attempt.
_STAGES: Final[Mapping[str | None, tuple[str, str]]] = {
    None: ("initialization", "Starting."),
    "read": ("file_reading", "Reading the file."),
    "normalise": ("pre_validation", "Checking the rows."),
    "validate": ("pre_validation", "Checking the rows."),
    "match": ("pre_validation", "Checking the rows."),
    "verify": ("iec_verification", "Asking the voter roll."),
    "merge": ("database_operations", "Writing the members."),
    "report": ("report_generation", "Writing the report."),
}
_ORDER: Final = {stage: number for number, stage in enumerate(dict(_STAGES.values()))}
_CANCELLED: Final = "Cancelled. No member was changed by it."


class Listener:
    """What one client subscribed to, and what it was sent."""

    def __init__(self, user: User, owner_of: Callable[[str], UUID | None]) -> None:
        """Without a subscription, the client is sent the events of its own uploads.

        ``owner_of`` returns the account that sent an upload; None where it isn't known.
        """
        self._user = user
        self._owner_of = owner_of
        #: Where there are any, the client is sent the events of these jobs only.
        self.jobs: set[str] = set()
        #: The uploads whose events the client was sent, but not their end.
        self._open: set[str] = set()
        #: Ends that were sent: the status at a subscription may have said one already.
        self._ends: set[tuple[str, int, str]] = set()
        self._positions: dict[str, tuple[int, int | None]] = {}
        #: The attempt and the furthest stage of each upload.
        self._furthest: dict[str, tuple[int, str | None]] = {}

    def events(self, message: Message) -> Iterator[Event]:
        """The events that a message is for this client."""
        if message.type == "snapshot":
            yield from self._of_snapshot(json.loads(message.text)["data"])  # of one client
        elif message.type == "queue_stats":
            data = _content(message)["data"]
            yield from self._of_positions(data["positions"], data["estimates"])
        elif message.job_id and self._is_wanted(message.job_id):
            content = _content(message)
            upload = {**content["data"], "job_id": message.job_id}
            yield from self._of_upload(upload, content["at"])

    def of_status(self, upload: Mapping[str, Any], at: str) -> Iterator[Event]:
        """The events that say how far an upload is, for a client that begins to follow it."""
        if upload["status"] != "pending":
            self._ends.discard((upload["job_id"], upload["attempt"], upload["status"]))
            yield from self._of_upload(upload, at)
        elif upload["queue_position"]:
            job_id = upload["job_id"]
            yield from self._of_positions({job_id: upload["queue_position"]}, {job_id: upload})

    def _is_wanted(self, job_id: str) -> bool:
        return job_id in self.jobs if self.jobs else self._owner_of(job_id) == self._user.id

    def _of_snapshot(self, data: Mapping[str, Any]) -> Iterator[Event]:
        """What is open; and ends that the client may have missed, where events were lost."""
        for upload in reversed(data["uploads"]):
            job_id = upload["job_id"]
            is_wanted = job_id in self.jobs if self.jobs else upload["owner"] == self._user.email
            if is_wanted and (upload["status"] == "processing" or job_id in self._open):
                yield from self._of_upload(upload, upload["finished_at"] or upload["started_at"])
        self._positions.clear()
        yield from self._of_positions(data["queue"]["positions"], data["queue"]["estimates"])

    def _of_positions(
        self, positions: Mapping[str, int], estimates: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[Event]:
        for job_id, position in positions.items():
            if not self._is_wanted(job_id):
                continue
            wait_s = estimates[job_id]["estimated_wait_seconds"]
            minutes = None if wait_s is None else math.ceil(wait_s / 60)
            if self._positions.get(job_id) == (position, minutes):
                continue
            self._positions[job_id] = (position, minutes)
            self._open.add(job_id)
            yield "queue_position_update", {
                "job_id": job_id, "position": position, "estimated_wait_minutes": minutes,
            }  # fmt: skip

    def _of_upload(self, upload: Mapping[str, Any], at: str | None) -> Iterator[Event]:
        job_id, status = upload["job_id"], upload["status"]
        if status == "pending":  # its position is an event of its own
            self._open.add(job_id)
            return
        self._positions.pop(job_id, None)
        if status == "processing":
            self._open.add(job_id)
            yield "bulk_upload_progress", self._progress(upload, at)
            return
        self._open.discard(job_id)
        self._furthest.pop(job_id, None)
        end = (job_id, upload["attempt"], status)
        if end in self._ends:
            return
        if len(self._ends) >= MOST_JOBS:
            self._ends.clear()
        self._ends.add(end)
        facts = {"job_id": job_id, "status": status, "timestamp": at}
        if status == "completed":
            yield (
                "bulk_upload_complete",
                {
                    **facts,
                    "validation_stats": validation_stats(upload),
                    "database_stats": database_stats(upload),
                    "report_path": report_path(upload),
                    "processing_duration_ms": processing_duration_ms(upload),
                },
            )
        else:
            # Theirs knows no other event for an end; the status says that it was cancelled.
            error = _CANCELLED if status == "cancelled" else upload["error"]
            stage, _ = _STAGES[upload.get("stage")]
            yield "bulk_upload_failed", {**facts, "error": error, "stage": stage}

    def _progress(self, upload: Mapping[str, Any], at: str | None) -> dict[str, Any]:
        job_id, attempt, stage = upload["job_id"], upload["attempt"], upload["stage"]
        before, furthest = self._furthest.get(job_id, (attempt, None))
        if before == attempt and _ORDER[_STAGES[furthest][0]] > _ORDER[_STAGES[stage][0]]:
            stage = furthest
        self._furthest[job_id] = (attempt, stage)
        name, sentence = _STAGES[stage]
        if upload["rows_total"]:
            sentence += f" {upload['rows_done']} of {upload['rows_total']} rows."
        return {
            "job_id": job_id,
            "stage": name,
            "progress": upload["progress"],
            "message": sentence,
            "status": "processing",
            "timestamp": at,
        }


@lru_cache(maxsize=256)
def _content(message: Message) -> dict[str, Any]:
    """A message's content; one message goes to many clients."""
    content: dict[str, Any] = json.loads(message.text)
    return content
