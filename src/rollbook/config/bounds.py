"""The settings of what is waited for: no wait is without a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from rollbook.config.values import Positive

Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """When a connection whose other end says nothing counts as lost, in seconds."""

    #: Without traffic before the first probe.
    idle_s: int = 10
    #: Between two probes.
    interval_s: int = 5
    #: Probes without an answer.
    count: int = 3
    #: For which what was sent stays without an acknowledgement.
    user_timeout_s: int = 25


class BoundSettings(BaseSettings):
    """How long something is waited for, how often it is tried, and what must be free for it."""

    #: Of every connection to PostgreSQL and Redis: see ``KeepAlive``.
    keepalive_idle_s: Positive = 10
    keepalive_interval_s: Positive = 5
    keepalive_count: Positive = 3
    tcp_user_timeout_s: Positive = 25
    #: Seconds that PostgreSQL gets for one statement of the API, a worker or a watcher; a file's
    #: merge has job_timeout_s.
    database_answer_s: Seconds = 60
    #: Seconds that Redis gets for one command that doesn't block, with retries and new connections.
    redis_answer_s: Seconds = 5
    #: Seconds that a merge waits for members whom another transaction has locked.
    lock_wait_s: Seconds = 60
    #: Seconds between an attempt that a missing part ended and the next; it doubles from backoff_ms
    #: up to this.
    longest_backoff_s: Seconds = 300
    #: Seconds that the process for a file gets to start.
    child_start_s: Seconds = 60
    #: Seconds for which jobs may wait while a worker has free slots, before it connects again.
    deaf_after_s: Seconds = 30
    #: Checks of files before they are sent: how many at a time in each API process, seconds and
    #: megabytes that one gets, and hours after which a checked file that nobody sends is removed.
    checks_at_a_time: Positive = 2
    check_timeout_s: Seconds = 20
    check_memory_mb: Positive = 512
    #: Within the day after which a file that no record knows is removed.
    check_hours: Annotated[int, Field(ge=1, le=20)] = 1
    #: Hours after which a file that comes in by parts and isn't finished is removed; likewise.
    resume_hours: Annotated[int, Field(ge=1, le=20)] = 12
    #: Refused and doubtful rows of an upload whose cells are stored to be fixed on the page, and
    #: the most kilobytes of a request with fixed rows.
    fixable_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 200_000
    max_fixes_kb: Positive = 8192
    #: Free megabytes on the disk of the scratch folder under which a worker takes no job.
    scratch_free_mb: Annotated[int, Field(ge=0)] = 256
    #: Seconds by which a machine's clock may differ from PostgreSQL's.
    clock_tolerance_s: Seconds = 60
    #: Undoing: how many at a time in each process, seconds that one may take, and seconds that it
    #: waits for members whom another transaction has locked.
    undo_at_a_time: Positive = 2
    undo_timeout_s: Seconds = 300
    undo_lock_wait_s: Seconds = 10
    #: Times in a row that `rollbook up` starts an engine again before it ends.
    engine_restarts: Positive = 5
    #: Seconds that are waited for the head of a request, and its most kilobytes.
    head_timeout_s: Seconds = 15
    max_head_kb: Positive = 64
    #: Seconds for which a connection stays open after an answer without a further request, and for
    #: which what a refused client still sends is dropped, so that it can read the answer.
    idle_connection_s: Positive = 5
    #: Connections of one address at a time; a trusted reverse proxy's aren't counted.
    connections_per_address: Positive = 500
    #: Connections of Socket.IO that haven't signed in yet: all at a time, and those of one address.
    strangers: Positive = 1000
    strangers_per_address: Positive = 100
    #: Seconds that are waited for the body of a request at most, and bytes a second that it must
    #: bring on average, once that was waited for longer than the last. As much of an answer must be
    #: read.
    body_timeout_s: Seconds = 3600
    body_least_rate: Positive = 1024
    body_grace_s: Seconds = 30

    @property
    def keepalive(self) -> KeepAlive:
        """The four settings together."""
        return KeepAlive(
            self.keepalive_idle_s,
            self.keepalive_interval_s,
            self.keepalive_count,
            self.tcp_user_timeout_s,
        )
