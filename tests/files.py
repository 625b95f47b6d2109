"""Members' files for tests, small and synthetic."""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from functools import cache
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import openpyxl
from openpyxl.utils import get_column_letter
from stdnum import luhn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    return written([headers, *([row.get(header) for header in headers] for row in content)])


def one_sheet(rows: Iterable[Sequence[object]], merged: Iterable[str] = ()) -> bytes:
    """A workbook of one sheet with these cells, in which some areas are merged."""
    return written([[None if cell == "" else cell for cell in row] for row in rows], merged)


def written(rows: Sequence[Sequence[object]], merged: Iterable[str] = ()) -> bytes:
    """The workbook that openpyxl writes of these rows, in a tenth of its time for plain cells."""
    merged = [*merged]
    if merged or not any(rows) or not all(_is_plain(cell) for row in rows for cell in row):
        return by_openpyxl(rows, merged)
    around, before, after = _around()
    lines = [
        f'<row r="{number}">{"".join(_cells(row, number))}</row>'
        for number, row in enumerate(rows, start=1)
        if row
    ]
    filled = [number for number, row in enumerate(rows, start=1) if row]
    area = f"A{filled[0]}:{get_column_letter(max(map(len, rows)))}{filled[-1]}"
    target = io.BytesIO(around)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_SHEET, f"{before % area}{''.join(lines)}{after}")
    return target.getvalue()


def by_openpyxl(rows: Iterable[Sequence[object]], merged: Iterable[str] = ()) -> bytes:
    """The same with cells of any kind."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    for area in merged:
        sheet.merge_cells(area)
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()


_SHEET: Final = "xl/worksheets/sheet1.xml"
#: What openpyxl takes for a formula or an error, refuses, or keeps by an attribute.
_UNUSUAL: Final = re.compile(r"^[=#]|^\s|\s$|\n|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_MOST_CHARS: Final = 32_767


def _is_plain(cell: object) -> bool:
    if isinstance(cell, str):
        return len(cell) <= _MOST_CHARS and not _UNUSUAL.search(cell)
    return cell is None or (type(cell) is int and abs(cell) < 10**15)


def _cells(row: Sequence[object], number: int) -> Iterator[str]:
    for column, cell in enumerate(row, start=1):
        place = f'r="{get_column_letter(column)}{number}"'
        if isinstance(cell, int):
            yield f'<c {place} t="n"><v>{cell}</v></c>'
        elif cell == "":
            yield f'<c {place} t="inlineStr" />'
        elif cell is not None:
            yield f'<c {place} t="inlineStr"><is><t>{escape(str(cell))}</t></is></c>'


@cache
def _around() -> tuple[bytes, str, str]:
    """A workbook without its sheet, and the sheet before and after its rows."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(by_openpyxl([["x"]]))) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            if name != _SHEET:
                archive.writestr(name, source.read(name))
        sheet = source.read(_SHEET).decode()
    before, _, rows = sheet.partition("<row")
    before = before.replace('dimension ref="A1:A1"', 'dimension ref="%s"')
    return target.getvalue(), before, rows[rows.index("</sheetData>") :]
