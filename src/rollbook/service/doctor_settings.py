"""Checks of settings that don't fit one another, this machine, or the proxies of our files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from rollbook.service.findings import Finding, checked
from rollbook.service.system import ANSWER_MARGIN_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.config import Settings

#: Seconds for which the proxies of deploy/compose and docs/how-to/tls.md wait for an answer.
PROXY_S = 360
#: Megabytes of a worker's own process.
WORKER_MB = 250
#: Limits of memory of a container, by the two versions of cgroups.
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
#: A setting that must be lower than another one, and what happens otherwise.
_LOWER = (
    (
        "lock_wait_s",
        "job_timeout_s",
        "An attempt that waits for locked members is killed, and counted, before it gives up.",
    ),
    (
        "undo_lock_wait_s",
        "undo_timeout_s",
        "An undo that waits for locked members ends without saying so.",
    ),
    (
        "member_lock_wait_s",
        "database_answer_s",
        "A correction that waits for a locked member ends as if PostgreSQL were away.",
    ),
    (
        "members_timeout_s",
        "database_answer_s",
        "A slow search ends as if PostgreSQL were away.",
    ),
    (
        "requests_per_minute",
        "office_requests_per_minute",
        "One user can take all requests of an office.",
    ),
    (
        "waiting_uploads_per_user",
        "waiting_uploads_per_office",
        "One user can take all waiting uploads of an office.",
    ),
)


def settings_findings(settings: Settings) -> Iterator[Finding]:
    """The findings about settings, without a look at a server."""
    yield from _pairs(settings)
    yield _answers(settings)
    yield _memory(settings)


def _pairs(settings: Settings) -> Iterator[Finding]:
    for name, other, consequence in _LOWER:
        value, most = getattr(settings, name), getattr(settings, other)
        if value >= most:
            remedy = f"{consequence} Raise {_environment(other)}, or lower {_environment(name)}."
            found = f"{value:g}, not below {_environment(other)} ({most:g})"
            yield Finding("settings", _environment(name), "warning", found, remedy)


def _answers(settings: Settings) -> Finding:
    """Whether a proxy may wait as long as a request may take before its answer begins."""
    waits = {
        "undo_timeout_s": settings.undo_timeout_s + ANSWER_MARGIN_S,
        "database_answer_s": settings.database_answer_s,
        # For a free slot, and for the check itself.
        "check_timeout_s": 2 * settings.check_timeout_s,
        "clamd_timeout_s": settings.clamd_timeout_s if settings.clamd_url else 0,
        "invitations_mail_s": settings.invitations_mail_s,
    }
    name = max(waits, key=lambda name: waits[name])
    return checked(
        ("settings", "longest answer", f"{waits[name]:g} s, by {_environment(name)}"),
        bad=waits[name] >= PROXY_S,
        level="warning",
        remedy=f"A proxy that waits for {PROXY_S // 60} minutes, as in deploy/compose/Caddyfile, "
        "gives up first, and the request goes on unseen. Raise its time limit over this "
        "(docs/reference/settings.md).",
    )


def _memory(settings: Settings) -> Finding:
    """Whether the machine, or the container, has the memory that a worker may take."""
    most_mb = WORKER_MB + (settings.concurrency + 1) * settings.child_memory_mb
    there_mb = min([psutil.virtual_memory().total, *_container_bytes()]) >> 20
    return checked(
        ("this machine", "memory", f"{there_mb} MB; a worker may take {most_mb} MB"),
        bad=most_mb > there_mb,
        level="warning",
        remedy="The kernel could end the worker, or another process, for what one large file "
        "needs. Lower ROLLBOOK_CHILD_MEMORY_MB or ROLLBOOK_CONCURRENCY where workers run here.",
    )


def _container_bytes() -> Iterator[int]:
    for path in CGROUP_LIMITS:
        try:
            yield int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # of the other version, or "max": no limit
            continue


def _environment(name: str) -> str:
    return f"ROLLBOOK_{name.upper()}"
