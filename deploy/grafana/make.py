"""Writes ``rollbook.json`` beside it: ``python deploy/grafana/make.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${source}"}
QUANTILES = (("half", 0.5), ("95 %", 0.95))

#: Title, unit, and what is drawn: an expression and its legend. Units are Grafana's.
Panel = tuple[str, str, list[tuple[str, str]]]


def quantiles(metric: str, by: str = "") -> list[tuple[str, str]]:
    """The middle and the slow end of a histogram."""
    labels, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    return [
        (
            f"histogram_quantile({share}, "
            f"sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))",
            f"{legend}{name}",
        )
        for name, share in QUANTILES
    ]


def rate(metric: str, by: str, selector: str = "") -> list[tuple[str, str]]:
    """How many a second, by a label."""
    return [(f"sum by ({by}) (rate({metric}{selector}[$__rate_interval]))", f"{{{{{by}}}}}")]


NUMBERS: list[Panel] = [
    ("Parts that answer", "none", [("min by (part) (rollbook_up)", "{{part}}")]),
    ("Waiting", "none", [('max(rollbook_queue_jobs{state="waiting"})', "")]),
    ("Oldest waits", "s", [("max(rollbook_oldest_waiting_seconds)", "")]),
    (
        "Slots in use",
        "percentunit",
        [("max(rollbook_worker_slots_in_use) / max(rollbook_worker_slots)", "")],
    ),
    ("Workers", "none", [("max(rollbook_workers)", "")]),
    ("Live clients", "none", [("sum(rollbook_live_clients)", "")]),
]
CURVES: list[Panel] = [
    ("Jobs in the queue", "none", [("max by (state) (rollbook_queue_jobs)", "{{state}}")]),
    ("Uploads ended", "ops", rate("rollbook_jobs_total", "result")),
    ("Rows by outcome", "ops", rate("rollbook_rows_total", "outcome")),
    (
        "Rows a second, now",
        "ops",
        [("sum(rollbook_running_rows_per_second)", "all attempts under way")],
    ),
    ("Attempts ended", "ops", rate("rollbook_attempts_total", "result")),
    ("Wait for a slot", "s", quantiles("rollbook_job_wait_seconds")),
    ("Attempts", "s", quantiles("rollbook_attempt_duration_seconds", "result")),
    ("Stages", "s", quantiles("rollbook_stage_duration_seconds", "stage")),
    (
        "Attempts that failed, by code",
        "ops",
        rate("rollbook_attempt_failures_total", "code"),
    ),
    (
        "Retries, stalled, reconciled",
        "ops",
        [
            *rate("rollbook_retries_total", "by"),
            *rate("rollbook_worker_queue_events_total", "event"),
            *rate("rollbook_reconciled_uploads_total", "action"),
        ],
    ),
    (
        "Memory of child processes",
        "bytes",
        [
            ("sum by (component, instance) (rollbook_child_memory_bytes)", "all of {{instance}}"),
            ("max(rollbook_child_memory_bytes)", "largest"),
            ("max(rollbook_child_memory_limit_bytes)", "limit of one"),
        ],
    ),
    (
        "Memory and descriptors of processes",
        "bytes",
        [
            ("process_resident_memory_bytes", "{{component}} {{instance}}"),
            ("process_open_fds", "descriptors of {{component}} {{instance}}"),
        ],
    ),
    (
        "Connections to PostgreSQL",
        "none",
        [
            (
                "sum by (component, pool, state) (rollbook_database_connections)",
                "{{component}} {{pool}} {{state}}",
            ),
            (
                "sum by (component, pool) (rollbook_database_connections_max)",
                "{{component}} {{pool}} at most",
            ),
            ("max(rollbook_lock_waits)", "sessions that wait for a lock"),
            (
                "sum(increase(rollbook_merge_waits_total[$__rate_interval]))",
                "merges that began to wait for members",
            ),
        ],
    ),
    (
        "Files taken in",
        "Bps",
        [
            ("sum(rate(rollbook_uploads_recorded_bytes_total[$__rate_interval]))", "bytes"),
            *rate("rollbook_uploads_recorded_total", "kind"),
        ],
    ),
    ("Requests by status", "ops", rate("rollbook_http_requests_total", "status")),
    (
        "Requests, the slowest routes",
        "s",
        [
            (
                "topk(8, histogram_quantile(0.95, sum by (le, method, route) (rate("
                "rollbook_http_request_duration_seconds_bucket[$__rate_interval]))))",
                "{{method}} {{route}}",
            )
        ],
    ),
    ("Lag of live messages", "s", quantiles("rollbook_live_lag_seconds")),
    (
        "Live messages not taken, clients let go",
        "none",
        [
            ("sum(rollbook_live_messages_waiting)", "waiting"),
            *rate("rollbook_live_clients_let_go_total", "reason"),
        ],
    ),
    (
        "Voter roll: budget",
        "none",
        [
            ("max(rollbook_voter_roll_budget_used)", "used"),
            ("max(rollbook_voter_roll_budget_limit)", "limit"),
        ],
    ),
    ("Voter roll: requests", "ops", rate("rollbook_voter_roll_requests_total", "outcome")),
    (
        "Notifications and files of the folder",
        "ops",
        [
            *rate("rollbook_notifications_total", "result"),
            *rate("rollbook_folder_files_total", "result"),
        ],
    ),
    ("Maintenance", "ops", rate("rollbook_maintenance_rounds_total", "result")),
]


def panel(number: int, kind: str, place: dict[str, int], drawn: Panel) -> dict[str, Any]:
    """One panel as Grafana reads it."""
    title, unit, curves = drawn
    return {
        "id": number,
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": expr,
                "legendFormat": legend,
            }
            for i, (expr, legend) in enumerate(curves)
        ],
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    panels = [
        panel(i + 1, "stat", {"x": 4 * i, "y": 0, "w": 4, "h": 4}, number)
        for i, number in enumerate(NUMBERS)
    ]
    for i, curve in enumerate(CURVES):
        place = {"x": 12 * (i % 2), "y": 4 + 8 * (i // 2), "w": 12, "h": 8}
        panels.append(panel(len(panels) + 1, "timeseries", place, curve))
    return {
        "uid": "rollbook",
        "title": "Rollbook",
        "tags": ["rollbook"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "source",
                    "label": "Source",
                    "type": "datasource",
                    "query": "prometheus",
                    "current": {},
                    "hide": 0,
                }
            ]
        },
        "panels": panels,
    }


if __name__ == "__main__":
    text = json.dumps(dashboard(), indent=1)
    (HERE / "rollbook.json").write_text(text + "\n", encoding="utf-8")
