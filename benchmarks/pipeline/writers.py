"""The report alone, by our own writer and by the fastest ones that were found.

Each writes the same table in a process of its own. ``python -m benchmarks.pipeline.writers SOURCE
TARGET`` is ours.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from benchmarks.pipeline import environments
from benchmarks.pipeline.memory import Peak
from benchmarks.pipeline.others import Others
from benchmarks.pipeline.peers.report_writers import FILL, SHEETS

from rollbook.cli.sample_file import write_sample
from rollbook.pipeline.read import ROW_NUMBER, read
from rollbook.pipeline.summary import FILLS
from rollbook.spreadsheets.workbook import WorkbookWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What the report has beside the file's own columns.
_ADDED = (
    "IEC Registered", "IEC Ward", "IEC VD Code", "Already Exists", "Existing Member Name",
    "Existing Ward", "Existing VD", "Outcome", "Problems",
)  # fmt: skip
#: Of every hundred rows; the others are new members.
_OF_A_HUNDRED = {"updated": 29, "invalid": 3, "duplicate": 2}
_PROBLEM = "ID Number: The check digit doesn't fit the other digits."


@dataclass(frozen=True, slots=True)
class Writer:
    """A program that writes the table."""

    name: str
    method: str
    command: Sequence[str | Path]
    package: str | None = None


_PEERS = environments.PEERS / "report_writers.py"
WRITERS = (
    Writer(
        "rollbook",
        "row colours, widths by content",
        [sys.executable, "-m", "benchmarks.pipeline.writers"],
    ),
    Writer(
        "jetxl", "no row colours, fixed widths", [environments.PYTHON, _PEERS, "jetxl"], "jetxl"
    ),
    Writer(
        "rustpy-xlsxwriter, plain",
        "no row colours, fixed widths",
        [environments.PYTHON, _PEERS, "rustpy"],
        "rustpy-xlsxwriter",
    ),
    Writer(
        "rustpy-xlsxwriter",
        "row colours, fixed widths",
        [environments.PYTHON, _PEERS, "rustpy_coloured"],
        "rustpy-xlsxwriter",
    ),
)


def measure(folder: Path, rows: int, repetitions: int) -> dict[str, Any]:
    """Let all write the table, in turns; what is found is for the results file."""
    source = folder / "table.arrow"
    table = _table(folder, rows)
    table.write_ipc(source)
    runs: dict[str, list[float]] = {writer.name: [] for writer in WRITERS}
    peaks = dict.fromkeys(runs, 0.0)
    with Others() as others:
        for _ in range(repetitions):
            for writer in WRITERS:
                seconds, peak = _run(writer, source, folder / "written.xlsx")
                runs[writer.name].append(seconds)
                peaks[writer.name] = max(peaks[writer.name], peak)
    entries = [
        {
            "name": writer.name,
            "method": writer.method,
            "version": environments.versions(writer.package) if writer.package else {},
            "seconds": round(statistics.median(runs[writer.name]), 2),
            "runs_s": runs[writer.name],
            "peak_mb": round(peaks[writer.name]),
        }
        for writer in WRITERS
    ]
    return {
        "rows": rows,
        "columns": table.width - 1,
        "others_cores": others.cores,
        "writers": entries,
    }


def _run(writer: Writer, source: Path, target: Path) -> tuple[float, float]:
    with (
        subprocess.Popen(
            [*writer.command, source, target],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=environments.ROOT,
        ) as process,
        Peak(process.pid) as peak,
    ):
        said, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{writer.name}: exit code {process.returncode}\n{complaint.decode()}")
    target.unlink()
    return json.loads(said), peak.megabytes


def _table(folder: Path, rows: int) -> pl.DataFrame:
    """A table as the report has it: the columns of a sample file, all text, and ours."""
    path = folder / "sample.csv"
    write_sample(path, rows)
    frame = pl.concat([sheet.frame for sheet in read(path, "csv")])
    at = pl.col(ROW_NUMBER) % 100
    fill = pl.lit("inserted")
    start = 0
    for outcome, count in _OF_A_HUNDRED.items():
        fill = (
            pl.when(at.is_between(start, start + count - 1)).then(pl.lit(outcome)).otherwise(fill)
        )
        start += count
    is_member = pl.col(FILL) == "updated"
    values = {
        "IEC Registered": pl.lit("not asked"),
        "Already Exists": pl.when(is_member).then(pl.lit("Yes")).otherwise(pl.lit("No")),
        "Existing Member Name": pl.when(is_member).then(pl.lit("Former Member")),
        "Existing Ward": pl.when(is_member).then(pl.lit("79800021")),
        "Outcome": pl.col(FILL),
        "Problems": pl.when(pl.col(FILL) == "invalid").then(pl.lit(_PROBLEM)),
    }
    nothing = pl.lit(None, pl.String)
    return (
        frame.with_columns(fill.alias(FILL))
        .with_columns(values.get(name, nothing).alias(name) for name in _ADDED)
        .select(pl.exclude(FILL), FILL)
        .rename({ROW_NUMBER: "Row"})
    )


def main(source: str, target: str) -> None:
    """Write it with ours and print what it took."""
    table = pl.read_ipc(source)
    began = time.perf_counter()
    created = dt.datetime.now(dt.UTC)
    parts = [pl.col(FILL).is_in(fills) for fills in SHEETS.values()]
    with WorkbookWriter(Path(target), title="Report", fills=FILLS, created=created) as book:
        sheets = book.begin_tables(list(SHEETS), row_fill=FILL)
        for batch in table.iter_slices(50_000):
            sheets.add(batch, parts)
    sys.stdout.write(json.dumps(round(time.perf_counter() - began, 3)))


if __name__ == "__main__":
    main(*sys.argv[1:])
