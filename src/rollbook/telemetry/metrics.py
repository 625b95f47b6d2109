"""The metrics of this process.

Names follow Prometheus' conventions: one prefix, base units (seconds, bytes), ``_total`` for
counters. No label holds an id, a path or a user's text: each has a small, fixed set of values.
What the whole installation shares (the queue, the record) is in ``api.gauges``.
"""

from __future__ import annotations

from typing import Final

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from rollbook import __version__
from rollbook.backends.database import SCHEMA_REVISION

# The series' creation times are of no use here, and nearly double the number of series.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

#: Buckets for files from ten rows to a million, in seconds.
LONG_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
#: Buckets for requests and messages, in seconds.
SHORT_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: Buckets for the wait in the queue, in seconds.
WAIT_S: Final = (0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600)

BUILD: Final = Gauge(
    "rollbook_build_info",
    "1, with the version and the schema that it needs.",
    ["version", "schema"],
)
BUILD.labels(version=__version__, schema=SCHEMA_REVISION).set(1)

# --- the API: requests and live messages
HTTP_REQUESTS: Final = Counter(
    "rollbook_http_requests", "Requests answered.", ["method", "route", "status"]
)
HTTP_SECONDS: Final = Histogram(
    "rollbook_http_request_duration_seconds",
    "From a request to the end of its answer, streams of events left out.",
    ["method", "route"],
    buckets=SHORT_S,
)
HTTP_OPEN: Final = Gauge("rollbook_http_requests_in_progress", "Requests being answered.")
RECORDED: Final = Counter("rollbook_uploads_recorded", "Files taken in, by kind.", ["kind"])
RECORDED_BYTES: Final = Counter("rollbook_uploads_recorded_bytes", "Their size.")
LIVE_CLIENTS: Final = Gauge(
    "rollbook_live_clients", "Clients connected for live messages (WebSocket and events)."
)
LIVE_WAITING: Final = Gauge(
    "rollbook_live_messages_waiting", "Messages that clients have not taken yet, over all clients."
)
LIVE_READING: Final = Gauge(
    "rollbook_live_reading",
    "1 while the queue's events come in, 0 while clients get no new messages.",
)
LIVE_LAG: Final = Histogram(
    "rollbook_live_lag_seconds",
    "From an event of the queue, by Redis' clock, to when it is handed to the clients.",
    buckets=SHORT_S,
)
LIVE_LET_GO: Final = Counter(
    "rollbook_live_clients_let_go", "Clients whose line we closed, by reason.", ["reason"]
)

# --- the queue, as this process meets it
QUEUE_EVENTS: Final = Counter("rollbook_queue_events", "Events of the queue, by kind.", ["event"])
WORKER_EVENTS: Final = Counter(
    "rollbook_worker_queue_events", "Errors and stalled jobs that a worker met.", ["event"]
)
RECONCILED: Final = Counter(
    "rollbook_reconciled_uploads", "What the reconciler had to put right.", ["action"]
)
ROUNDS: Final = Counter(
    "rollbook_maintenance_rounds", "Rounds of the maintenance services.", ["service", "result"]
)

DATABASE_CONNECTIONS: Final = Gauge(
    "rollbook_database_connections",
    "Connections of this process's pools: open, idle, and asked for without getting one yet.",
    ["pool", "state"],
)
DATABASE_CONNECTIONS_MAX: Final = Gauge(
    "rollbook_database_connections_max", "The most connections of each pool.", ["pool"]
)
CLOCK_DIFFERENCE: Final = Gauge(
    "rollbook_clock_difference_seconds",
    "By how much this machine's clock is ahead of PostgreSQL's.",
)

# --- the worker: jobs, attempts, stages, rows
JOBS: Final = Counter("rollbook_jobs", "Uploads that came to their end here.", ["result"])
ATTEMPTS: Final = Counter("rollbook_attempts", "Attempts that ended here.", ["result"])
FAILURES: Final = Counter(
    "rollbook_attempt_failures", "Attempts that failed, by the code of the error.", ["code"]
)
RETRIES: Final = Counter(
    "rollbook_retries", "Attempts that are to be made again, by who wanted it.", ["by"]
)
MERGE_WAITS: Final = Counter(
    "rollbook_merge_waits", "Times that a merge waited for members that another change had locked."
)
ATTEMPT_SECONDS: Final = Histogram(
    "rollbook_attempt_duration_seconds", "From claim to end.", ["result"], buckets=LONG_S
)
STAGE_SECONDS: Final = Histogram(
    "rollbook_stage_duration_seconds", "Of completed attempts.", ["stage"], buckets=LONG_S
)
WAIT_SECONDS: Final = Histogram(
    "rollbook_job_wait_seconds", "From when an upload began to wait to its claim.", buckets=WAIT_S
)
ROWS: Final = Counter("rollbook_rows", "Rows of completed uploads, by outcome.", ["outcome"])
ROWS_PER_SECOND: Final = Gauge(
    "rollbook_running_rows_per_second", "The pace of the attempts under way here, all together."
)
WORKER_PROBLEM: Final = Gauge(
    "rollbook_worker_problem", "1 while this keeps the worker from taking jobs.", ["part"]
)
RECONNECTED: Final = Counter(
    "rollbook_worker_reconnected", "Times that jobs waited, slots were free and nothing was taken."
)
SLOTS: Final = Gauge("rollbook_slots", "Attempts that this worker makes at a time.")
SLOTS_IN_USE: Final = Gauge("rollbook_slots_in_use", "Attempts that it is making.")
CHILD_MEMORY: Final = Gauge(
    "rollbook_child_memory_bytes", "Resident memory of each child process.", ["slot"]
)
CHILD_LIMIT: Final = Gauge(
    "rollbook_child_memory_limit_bytes", "Over which a child is killed (ROLLBOOK_CHILD_MEMORY_MB)."
)
CHILDREN_STARTED: Final = Counter("rollbook_children_started", "Child processes started.")

# --- beside it
ROLL_REQUESTS: Final = Counter(
    "rollbook_voter_roll_requests", "Requests to the voter roll, by what came of them.", ["outcome"]
)
NOTIFICATIONS: Final = Counter(
    "rollbook_notifications", "Notifications tried, by channel and result.", ["channel", "result"]
)
for _channel in ("email", "webhook"):  # born at 0, or increase() misses the first: it is an alert
    NOTIFICATIONS.labels(channel=_channel, result="given_up")
FOLDER_FILES: Final = Counter(
    "rollbook_folder_files", "Files of the watched folder, by result.", ["result"]
)
FOLDER_WAITING: Final = Gauge(
    "rollbook_folder_files_waiting", "Files that are there and not taken yet."
)
