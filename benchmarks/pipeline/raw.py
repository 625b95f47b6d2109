"""The limit: parse the workbook, and COPY what is in it into the indexed table. Nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import fastexcel
import psycopg
from benchmarks.pipeline.others import Others

if TYPE_CHECKING:
    from benchmarks.pipeline.files import File

_ROWS_PER_PIECE = 50_000


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of the two steps."""

    parse: float
    copy: float
    #: Cores that other work used meanwhile.
    others: float
    #: Seconds of processor time, with PostgreSQL's.
    cpu_s: float

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.parse + self.copy


def measure(database_url: str, file: File) -> Run:
    """Parse the file, all cells as text, and copy its people into ``plain_members``, once.

    The people are copied from values that were brought into shape before, since shaping is not
    part of the limit.
    """
    with psycopg.connect(database_url) as connection, Others() as others:
        began = time.perf_counter()
        sheet = fastexcel.read_excel(file.path).load_sheet(0, header_row=0, dtypes="string")
        frame = sheet.to_polars()
        assert frame.height == file.rows
        parsed = time.perf_counter()
        statement = "COPY plain_members FROM STDIN (FORMAT csv)"
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in file.people.iter_slices(_ROWS_PER_PIECE):
                copy.write(piece.write_csv(include_header=False))
        connection.commit()
        copied = time.perf_counter()
    return Run(round(parsed - began, 3), round(copied - parsed, 3), others.cores, others.own_s)
