"""How fast the rows of a file with 100,000 refused ones are listed, checked and sent.

Run from the root of the project: ``make bench-fixes``. A running ``rollbook up`` is asked as the
page asks: the first page of rows and one far down, the facets, single edits, and a value that is
replaced in all rows.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import psutil
from benchmarks import sections
from tests.acceptance.conftest import start
from tests.files import HEADERS, id_number

if TYPE_CHECKING:
    import httpx
    from tests.acceptance.conftest import Running

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs/explanation/scaling.md"
BEGIN: Final = "<!-- fixes: written by `make bench-fixes` -->"
END: Final = "<!-- end of fixes -->"
#: Issue 21 of the project asks for these.
FIRST_ROWS_S: Final = 1.0
EDIT_P95_S: Final = 0.2
BASE: Final = "/bulk-upload"


def refused_file(rows: int) -> bytes:
    """A CSV in which every row lacks its surname and names a province that isn't one."""
    frame = pl.DataFrame(
        {
            "ID Number": [id_number(n) for n in range(rows)],
            "Firstname": [f"First{n}" for n in range(rows)],
            "Surname": pl.Series([None] * rows, dtype=pl.String),
            "Cell Number": [f"082{n:07}" for n in range(rows)],
            "Province": ["Joburg side"] * rows,
            "Municipality": pl.Series([None] * rows, dtype=pl.String),
            "Ward": ["79800001"] * rows,
        }
    )
    return frame.select(HEADERS).write_csv().encode()


def ended(api: httpx.Client, job_id: str) -> float:
    """Wait for an upload's end; the seconds that it took."""
    began = time.monotonic()
    while time.monotonic() - began < 600:
        found = api.get(f"{BASE}/status/{job_id}").json()["data"]
        if found["status"] == "completed":
            return round(time.monotonic() - began, 1)
        assert found["status"] in {"pending", "processing"}, found
        time.sleep(0.2)
    raise AssertionError("the upload has not ended")


def timed(api: httpx.Client, method: str, path: str, **more: Any) -> tuple[float, Any]:
    """The seconds of a request, and the data of its answer."""
    began = time.monotonic()
    answer = api.request(method, path, **more)
    seconds = time.monotonic() - began
    assert answer.is_success, answer.text
    return seconds, answer.json()["data"]


def api_memory_mb(running: Running) -> dict[str, float]:
    """Resident memory of the API and of the processes that it has started, in MB."""
    for process in psutil.Process(running.process.pid).children(recursive=True):
        if "serve" in process.cmdline():
            children = sum(one.memory_info().rss for one in process.children(recursive=True))
            return {
                "api": round(process.memory_info().rss / 2**20),
                "children": round(children / 2**20),
            }
    raise AssertionError("there is no API")


def measure(rows: int, edits: int) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        running = start(
            Path(folder) / "data",
            ROLLBOOK_REQUESTS_PER_MINUTE="100000",
            ROLLBOOK_OFFICE_REQUESTS_PER_MINUTE="100000",
        )
        try:
            with running.api() as api:
                return _measured(running, api, rows, edits)
        finally:
            running.process.send_signal(signal.SIGTERM)
            running.process.wait(timeout=60)


def _measured(running: Running, api: httpx.Client, rows: int, edits: int) -> dict[str, Any]:
    before = api_memory_mb(running)
    file = ("refused.csv", refused_file(rows))
    _, sent = timed(api, "POST", f"{BASE}/process", files={"file": file})
    job_id = sent["job_id"]
    upload_s = ended(api, job_id)
    path = f"{BASE}/mend/{job_id}"
    first = [timed(api, "GET", path, params={"is_open": True})[0] for _ in range(5)]
    deep = [
        timed(api, "GET", path, params={"is_open": True, "skip": rows - 150})[0] for _ in range(5)
    ]
    facets_s, facets = timed(api, "GET", f"{BASE}/facets/{job_id}")
    assert facets["values"][0]["rows"] == rows
    seconds = []
    for n in range(edits):
        body = {"rows": [{"row_number": 2 + n, "cells": {"Surname": f"Nkosi{n}"}}]}
        took, [checked] = timed(api, "POST", f"{path}/check", json=body)
        assert checked["verdict"] == "valid"
        seconds.append(took)
    value = {"column": "Province", "value": "Joburg side", "becomes": "GP"}
    send_s, follow_up = timed(api, "POST", path, json={"values": [value]})
    return {
        "rows": rows,
        "upload_s": upload_s,
        "first_s": round(max(first), 3),
        "deep_s": round(max(deep), 3),
        "facets_s": round(facets_s, 3),
        "cold_edit_s": round(seconds[0], 3),
        "edit_p50_s": round(statistics.median(seconds[1:]), 3),
        "edit_p95_s": round(statistics.quantiles(seconds[1:], n=20)[18], 3),
        "edits": edits,
        "send_s": round(send_s, 2),
        "follow_up_s": ended(api, follow_up["job_id"]),
        "before_mb": before,
        "after_mb": api_memory_mb(running),
        "load": round(psutil.getloadavg()[0], 1),
        "machine": f"{psutil.cpu_count()} cores, {platform.platform(terse=True)}",
        "date": time.strftime("%Y-%m-%d"),
    }


def section(found: dict[str, Any]) -> str:
    """The section of the page."""
    before, after = found["before_mb"], found["after_mb"]
    return f"""
A file of {found["rows"]:,} rows that are all refused, [fixed](../how-to/fix-rows.md) as the page does it:

| what | seconds |
|---|---|
| the first 100 rows, with the counts of all | {found["first_s"]:.2f} |
| 100 rows at the end | {found["deep_s"]:.2f} |
| the facets of all columns | {found["facets_s"]:.2f} |
| an edit checked, median | {found["edit_p50_s"]:.3f} |
| an edit checked, 95th percentile of {found["edits"]} | {found["edit_p95_s"]:.3f} |
| the first edit, which starts the child process | {found["cold_edit_s"]:.2f} |
| a value replaced in all rows: until the follow-up is queued | {found["send_s"]:.1f} |

The API's process takes {after["api"]:.0f} MB afterwards ({before["api"]:.0f} before), and its child {after["children"]:.0f} MB.
Measured on {found["date"]}, {found["machine"]}, load {found["load"]} (`make bench-fixes`).
"""  # noqa: E501 - lines of the page


def main() -> None:
    """Measure, write the section and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--edits", type=int, default=200)
    given = parser.parse_args()
    found = measure(given.rows, given.edits)
    print(json.dumps(found, indent=1))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sections.replace(PAGE, BEGIN, END, section(found))
    if found["first_s"] > FIRST_ROWS_S or found["edit_p95_s"] > EDIT_P95_S:
        raise SystemExit(f"promised: {FIRST_ROWS_S} s for the first rows, {EDIT_P95_S} s an edit")


if __name__ == "__main__":
    main()
