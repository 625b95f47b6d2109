"""The table from our names to those of the first system's clients.

Each call that differs has one entry in ``CALLS``. Their names are added to the answer beside ours.
A name that both systems use, such as ``status`` or ``success_rate``, keeps our meaning.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

API: Final = "/api/v1"
BASE: Final = f"{API}/bulk-upload"
Facts = Mapping[str, Any]
#: Their name, and how its value follows from our facts.
Names = Mapping[str, Callable[[Facts], Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """What a call of theirs has that ours has not."""

    #: Names in the query, and ours for each.
    query: Mapping[str, str] = field(default_factory=dict)
    #: Members of the JSON body, and ours for each.
    body: Mapping[str, str] = field(default_factory=dict)
    #: Names in each of the items of ``data``.
    items: Names = field(default_factory=dict)
    #: Names in ``data``, computed after those of the items.
    data: Names = field(default_factory=dict)


# --- one upload -----------------------------------------------------------------------------------


def report_path(upload: Facts) -> str | None:
    """The API path of the report; None where there is none."""
    return f"{BASE}/report/{upload['job_id']}" if upload["report_available"] else None


def processing_duration_ms(upload: Facts) -> int | None:
    """Milliseconds from the start of the last attempt to the end; None before it."""
    if upload["started_at"] is None or upload["finished_at"] is None:
        return None
    return _ms(upload["finished_at"]) - _ms(upload["started_at"])


def _ms(moment: str) -> int:
    """Whole milliseconds since 1970, which is the precision of live messages."""
    since = dt.datetime.fromisoformat(moment) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return since // dt.timedelta(milliseconds=1)


def validation_stats(upload: Facts) -> dict[str, Any] | None:
    """Rows by what validation found; None until the upload has completed.

    ``total_records`` is the sum of ``valid_records``, ``invalid_ids`` and ``duplicates``. Rows
    of other offices are valid, and counted as errors of the database. A row that was refused for
    another reason than its ID number counts under ``invalid_ids`` too: their clients have no other
    place for it.
    """
    if upload["status"] != "completed":
        return None
    rows = upload["outcomes"]
    return {
        "total_records": upload["rows_total"],
        "valid_records": sum(
            rows[name] for name in ("inserted", "updated", "unchanged", "out_of_scope")
        ),
        "invalid_ids": rows["invalid"],
        "duplicates": rows["duplicate"],
        # Not those about whom the roll is still to be asked.
        "not_registered": upload["verification"]["results"]["not_registered"],
    }


def database_stats(upload: Facts) -> dict[str, int] | None:
    """Valid rows by what was written; None until the upload has completed.

    ``errors`` are valid rows that were not written because they belong to another office. Rows that
    changed nothing are in none of the three.
    """
    if upload["status"] != "completed":
        return None
    rows = upload["outcomes"]
    return {
        "inserts": rows["inserted"],
        "updates": rows["updated"],
        "errors": rows["out_of_scope"],
    }


UPLOAD: Final[Names] = {
    "uploaded_by": itemgetter("owner"),
    "uploaded_at": itemgetter("created_at"),
    "processing_duration_ms": processing_duration_ms,
    "error_message": itemgetter("error"),
    "report_path": report_path,
    "validation_stats": validation_stats,
    "database_stats": database_stats,
}
JOB: Final[Names] = {
    "jobId": itemgetter("job_id"),
    "fileName": itemgetter("file_name"),
    "status": itemgetter("status"),
    "progress": itemgetter("progress"),
    "uploadedBy": itemgetter("owner"),
}

# --- lists, statistics and the folder -------------------------------------------------------------


def pagination(page: Facts) -> dict[str, int]:
    """The page's place among all pages."""
    return {
        "page": page["page"],
        "limit": page["page_size"],
        "total_count": page["total"],
        "total_pages": math.ceil(page["total"] / page["page_size"]),
    }


def _jobs(page: Facts) -> list[dict[str, Any]]:
    return [added(job, JOB) for job in page["items"]]


def _mean_ms(stats: Facts) -> int | None:
    seconds = stats["mean_seconds"]
    return None if seconds is None else round(seconds * 1000)


STATS: Final[Names] = {
    "total_uploads": itemgetter("uploads"),
    "successful_uploads": itemgetter("completed"),
    "failed_uploads": itemgetter("failed"),
    "avg_processing_time_ms": _mean_ms,
    "total_records_processed": itemgetter("rows"),
    "total_inserts": lambda stats: stats["outcomes"]["inserted"],
    "total_updates": lambda stats: stats["outcomes"]["updated"],
}
MONITOR: Final[Names] = {
    # Ours says what was asked for; a watcher that doesn't live takes no file.
    "isRunning": lambda state: state["is_running"] and bool(state["watchers"]),
    "enabled": lambda state: state["folder"] is not None,
    "watchDir": itemgetter("folder"),
}
_ITEMS = itemgetter("items")
_LIMIT: Final = {"limit": "page_size"}

#: By method and path below ``BASE``, as the route has it.
CALLS: Final[Mapping[str, Call]] = {
    "GET /status/{job_id}": Call(data=UPLOAD),
    "POST /cancel/{job_id}": Call(data=UPLOAD),
    "POST /queue/retry/{job_id}": Call(data=UPLOAD),
    "GET /history": Call(
        query=_LIMIT,
        items=UPLOAD,
        data={"uploads": _ITEMS, "jobs": _ITEMS, "pagination": pagination},
    ),
    "GET /queue/jobs": Call(
        query=_LIMIT, items=UPLOAD, data={"jobs": _jobs, "pagination": pagination}
    ),
    "GET /stats": Call(data=STATS),
    "POST /queue/clean": Call(body={"gracePeriodHours": "grace_period_hours"}),
    "GET /monitor/status": Call(data=MONITOR),
    "POST /monitor/start": Call(data=MONITOR),
    "POST /monitor/stop": Call(data=MONITOR),
    "POST /monitor/process": Call(body={"fileName": "file_name"}),
    "POST /reports/cleanup": Call(
        body={"retention_days": "older_than_days"},
        data={"count": lambda cleaned: cleaned["reports"] + cleaned["orphans"]},
    ),
}


def added(facts: Facts, names: Names) -> dict[str, Any]:
    """Their names with the values for these facts."""
    return {name: value(facts) for name, value in names.items()}
