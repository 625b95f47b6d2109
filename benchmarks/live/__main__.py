"""Measures live messages: ``make bench-live``, or ``python -m benchmarks.live``."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import structlog
from benchmarks.live import chart, report, trial
from benchmarks.queue import machine

from rollbook.config import Settings
from rollbook.engines import Engines

RESULTS = Path(__file__).with_name("results.json")
#: What issue 6 promises, at the server, in milliseconds.
PROMISED_P99_MS = 250


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--uploads", type=int, default=20, help="that run at the same time")
    parser.add_argument("--rows", type=int, default=50_000, help="of each upload")
    parser.add_argument("--render", action="store_true", help="only write the page anew")
    return parser.parse_args()


def _measure(options: argparse.Namespace, *, hear_all: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with Engines(folder / "data") as addresses:
            settings = Settings(
                _env_file=None,
                database_url=addresses.database_url,
                redis_url=addresses.redis_url,
                data_dir=folder / "data",
                log_level="warning",
            )
            found = trial.run(
                folder,
                settings,
                clients=options.clients,
                uploads=options.uploads,
                rows=options.rows,
                hear_all=hear_all,
            )
    before, connected, after = found.rss
    return {
        "audience": "all hear everything" if hear_all else "a tenth national, the rest by province",
        "clients": found.clients,
        "uploads": found.uploads,
        "rows": found.rows,
        "seconds": round(found.seconds, 1),
        "events": found.events,
        "deliveries": found.deliveries,
        "wrong_clients": found.wrong,
        "lost_lines": found.lost_lines,
        "server_ms": _percentiles(found.server_ms),
        "client_ms": _percentiles(found.client_ms),
        "api_mb": [round(rss / 2**20, 1) for rss in found.rss],
        "kb_per_client": round((connected - before) / found.clients / 1024, 1),
        "kb_per_client_after": round((after - before) / found.clients / 1024, 1),
        "api_cpu_share": round(found.cpu_s / found.seconds, 2),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=1000, method="inclusive")
    return {
        "p50": round(cuts[499], 1),
        "p90": round(cuts[899], 1),
        "p99": round(cuts[989], 1),
        "p999": round(cuts[998], 1),
        "max": round(max(values), 1),
    }


def main() -> None:
    """Measure, write the results and the page, print the table."""
    options = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if not options.render:
        trials = []
        for hear_all in (False, True):
            trials.append(_measure(options, hear_all=hear_all))
            sys.stderr.write(f"{json.dumps(trials[-1])}\n")
        results = {
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "machine": machine.describe(),
            "trials": trials,
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    report.write(found)
    report.PICTURE.write_text(chart.draw(found["trials"]), encoding="utf-8")
    sys.stdout.write(report.figures(found))
    first = found["trials"][0]
    assert not first["wrong_clients"], "a client missed an event, or heard one twice"
    assert first["server_ms"]["p99"] <= PROMISED_P99_MS, "messages were late at the server"


if __name__ == "__main__":
    main()
