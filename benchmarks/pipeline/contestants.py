"""The peers: programs that do everything in the usual ways, each in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pipeline import environments
from benchmarks.pipeline.memory import Peak
from benchmarks.pipeline.others import Others
from psycopg.conninfo import conninfo_to_dict

NODE_HEAP_MB = 12 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that takes a workbook and the path of a report, and prints its times as JSON."""

    name: str
    program: str
    packages: tuple[str, ...]
    method: str
    #: Its further arguments.
    arguments: tuple[str, ...] = ()

    @property
    def is_node(self) -> bool:
        """Is it a program for Node?"""
        return self.program.endswith(".mjs")

    def command(self, source: Path, target: Path) -> list[str | Path]:
        """How it is started."""
        script = environments.PEERS / self.program
        # Node's own limit on its heap is lower than what SheetJS and exceljs need for a large file.
        node: list[str | Path] = ["node", f"--max-old-space-size={NODE_HEAP_MB}"]
        interpreter = node if self.is_node else [environments.PYTHON]
        return [*interpreter, script, source, target, *self.arguments]


PEERS = (
    Peer(
        "first system's method",
        "first_system.mjs",
        ("xlsx", "pg", "exceljs"),
        "SheetJS; SELECT, then INSERT or UPDATE for each row, in one transaction; exceljs: each as "
        "its own introduction shows it",
    ),
    Peer(
        "first system's method, tuned",
        "first_system.mjs",
        ("xlsx", "pg", "exceljs"),
        "the same with SheetJS's dense rows, prepared statements and exceljs's streaming writer",
        ("tuned",),
    ),
    Peer(
        "pandas, SQLAlchemy, openpyxl",
        "pandas_sqlalchemy.py",
        ("pandas", "openpyxl", "sqlalchemy", "psycopg", "python-stdnum"),
        "read_excel with openpyxl; rows cleaned one by one; INSERT ... ON CONFLICT in batches of "
        "1,000; openpyxl, write-only",
    ),
    Peer(
        "django-import-export",
        "django_import_export.py",
        ("django-import-export", "django", "tablib", "openpyxl", "psycopg", "python-stdnum"),
        "tablib with openpyxl; row by row in one transaction; its row results with their diffs in "
        "place of a report: it writes no workbook",
    ),
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a peer took; its start and its imports are left out."""

    stages: dict[str, float]
    peak_mb: float
    outcomes: dict[str, int]
    #: Cores that other work used meanwhile.
    others: float
    #: Seconds of processor time, with PostgreSQL's.
    cpu_s: float

    @property
    def seconds(self) -> float:
        """Of all its stages."""
        return round(sum(self.stages.values()), 3)


def run(peer: Peer, source: Path, database_url: str) -> Run:
    """Let a peer process a file once."""
    address = conninfo_to_dict(database_url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
    given = {variable: str(address[key]) for key, variable in names.items() if key in address}
    with (
        Others() as others,
        tempfile.TemporaryDirectory(prefix="rb-") as folder,
        subprocess.Popen(
            peer.command(source, Path(folder, "report.xlsx")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **given},
        ) as process,
        Peak(process.pid) as peak,
    ):
        said, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{peer.name}: exit code {process.returncode}\n{complaint.decode()}")
    found = json.loads(said)
    return Run(
        found["stages"], round(peak.megabytes), found["outcomes"], others.cores, others.own_s
    )
