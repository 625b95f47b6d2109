"""Members' files for tests, small and synthetic."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING

import openpyxl
from stdnum import luhn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPECIAL = frozenset(',"\r\n')
HEADERS = ("ID Number", "Firstname", "Surname", "Cell Number", "Province", "Municipality", "Ward")


def id_number(sequence: int) -> str:
    """A valid synthetic ID number: birth date, sequence, citizen, and the check digit."""
    birth = dt.date(1980, 1, 1) + dt.timedelta(days=sequence // 10_000)
    body = f"{birth:%y%m%d}{sequence % 10_000:04}08"
    return body + str(luhn.calc_check_digit(body))


def member(sequence: int, **changes: str) -> dict[str, str]:
    """A row that passes every rule."""
    row = {
        "ID Number": id_number(sequence),
        "Firstname": f"First{sequence}",
        "Surname": f"Last{sequence}",
        "Cell Number": f"082{sequence:07}",
        "Province": "Gauteng",
        "Municipality": "Johannesburg",
        "Ward": "79800001",
    }
    return {**row, **changes}


def members(rows: int, start: int = 0) -> list[dict[str, str]]:
    """So many rows that pass every rule."""
    return [member(start + n) for n in range(rows)]


def csv_file(
    rows: int | Iterable[dict[str, str]] = 3, *, headers: Sequence[str] = HEADERS
) -> bytes:
    """A CSV of so many good rows, or of the given ones."""
    content = members(rows) if isinstance(rows, int) else list(rows)
    lines = [headers, *([row.get(header) for header in headers] for row in content)]
    return "".join(f"{','.join(map(_csv_cell, line))}\n" for line in lines).encode()


def _csv_cell(value: str | None) -> str:
    """A cell as polars writes it, which would take 5 ms for each file."""
    if value is None:
        return ""
    if value and not _SPECIAL.intersection(value):
        return value
    return '"' + value.replace('"', '""') + '"'


def workbook(
    rows: int | Iterable[dict[str, str]] = 3, *, headers: Sequence[str] = HEADERS
) -> bytes:
    """The same as an .xlsx file."""
    content = members(rows) if isinstance(rows, int) else list(rows)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(list(headers))
    for row in content:
        sheet.append([row.get(header) for header in headers])
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()


def one_sheet(rows: Iterable[Sequence[object]], merged: Iterable[str] = ()) -> bytes:
    """A workbook of one sheet with these cells, in which some areas are merged."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append([None if cell == "" else cell for cell in row])
    for area in merged:
        sheet.merge_cells(area)
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()
