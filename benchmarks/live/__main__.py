"""Measures live messages: ``make bench-live``, or ``python -m benchmarks.live``."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import statistics
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import structlog
from benchmarks.live import chart, report, trial
from benchmarks.queue import machine

from rollbook.config import Settings
from rollbook.engines import Engines

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).with_name("results.json")
#: What issue 6 promises, at the server, in milliseconds.
PROMISED_P99_MS = 250


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--uploads", type=int, default=20, help="that run at the same time")
    parser.add_argument("--rows", type=int, default=20_000, help="of each upload")
    parser.add_argument("--render", action="store_true", help="only write the page anew")
    return parser.parse_args()


def _setups(options: argparse.Namespace) -> list[trial.Setup]:
    """The promise first; then everything on the same cores, as installed, and the most there is."""
    cores = sorted(os.sched_getaffinity(0))
    promise = trial.Setup(
        clients=options.clients,
        uploads=options.uploads,
        rows=options.rows,
        at_once=options.uploads,
        hears_all=False,
        api_cores=cores[:1],
        other_cores=cores[1:],
    )
    together = replace(promise, api_cores=cores, other_cores=cores)
    as_installed = replace(together, at_once=Settings.model_fields["concurrency"].default)
    return [promise, as_installed, replace(promise, hears_all=True), together]


@contextmanager
def _kept_to(cores: list[int]) -> Iterator[None]:
    """Let this process, and the engines that it starts, use these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _valkey(folder: Path) -> psutil.Process:
    """The engine of this trial that takes events down and hands them on."""
    [engine] = [
        process
        for process in psutil.process_iter(["cmdline"])
        if (command := process.info["cmdline"])
        and command[0].endswith("valkey-server")
        and any(str(folder) in part for part in command)
    ]
    return engine


def _measure(setup: trial.Setup) -> dict[str, Any]:
    with _kept_to(setup.other_cores), tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with Engines(folder / "data") as addresses:
            settings = Settings(
                _env_file=None,
                database_url=addresses.database_url,
                redis_url=addresses.redis_url,
                data_dir=folder / "data",
                log_level="warning",
            )
            _valkey(folder).cpu_affinity(setup.api_cores)
            found = trial.run(folder, settings, setup)
    before, connected, after = found.rss
    return {
        "name": (
            f"{'all hear everything' if setup.hears_all else 'by province'}, "
            f"{setup.at_once} run at once, "
            f"{'cores shared' if setup.api_cores == setup.other_cores else 'a core for the API'}"
        ),
        "hears_all": setup.hears_all,
        "at_once": setup.at_once,
        "has_own_core": setup.api_cores != setup.other_cores,
        "clients": setup.clients,
        "uploads": setup.uploads,
        "rows": setup.rows,
        "seconds": round(found.seconds, 1),
        "events": found.events,
        "deliveries": found.deliveries,
        "wrong_clients": found.wrong,
        "lost_lines": found.lost_lines,
        "server_ms": _percentiles(found.server_ms),
        "client_ms": _percentiles(found.client_ms),
        "api_mb": [round(rss / 2**20, 1) for rss in found.rss],
        "kb_per_client": round((connected - before) / setup.clients / 1024, 1),
        "kb_per_client_after": round((after - before) / setup.clients / 1024, 1),
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
        for setup in _setups(options):
            trials.append(_measure(setup))
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
    for one in found["trials"]:
        assert not one["wrong_clients"], "a client missed an event, or heard one twice"
        assert not one["lost_lines"], "a client's line broke off"
    first = found["trials"][0]
    assert first["server_ms"]["p99"] <= PROMISED_P99_MS, "messages were late at the server"


if __name__ == "__main__":
    main()
