"""Several sheets as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openpyxl
import pytest

from rollbook.errors import NoIdColumnError, NoRowsError
from rollbook.pipeline.read import ALL_SHEETS, Sheet, Wanted, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rollbook.pipeline.reading import Reading


def written(path: Path, *sheets: tuple[str, Sequence[Sequence[object]]]) -> Path:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def read_all(path: Path, batch_rows: int = 50_000) -> list[Sheet]:
    return list(read(path, "xlsx", Wanted(sheet=ALL_SHEETS), batch_rows=batch_rows))


def dicts(sheets: list[Sheet]) -> list[dict[str, object]]:
    return [
        {name: value for name, value in row.items() if value is not None}
        for sheet in sheets
        for row in sheet.frame.iter_rows(named=True)
    ]


FIRST = ("A", [("ID Number", "Name", "Surname", "Ward", "Shoe"), ("1", "a", "b", "7", "9")])
SECOND = (
    "B",
    [("A title",), (), ("Van", "Id no", "Voornaam", "shoe", "Email", "Sheet"),
     ("d", "2", "c", "8", "x@y.za", "own")],
)  # fmt: skip


def test_a_column_goes_below_that_of_its_field_or_its_header(tmp_path: Path) -> None:
    sheets = read_all(written(tmp_path / "a.xlsx", FIRST, SECOND))
    assert dicts(sheets) == [
        {
            "row_number": 2, "Sheet": "A", "Sheet row": "2", "ID Number": "1", "Name": "a",
            "Surname": "b", "Ward": "7", "Shoe": "9",
        },
        {
            "row_number": 6, "Sheet": "B", "Sheet row": "4", "ID Number": "2", "Name": "c",
            "Surname": "d", "Shoe": "8", "Email": "x@y.za", "Sheet (2)": "own",
        },
    ]  # fmt: skip
    last = sheets[-1]
    assert last.columns.header("email") == "Email"
    assert last.columns.header("id_number") == "ID Number"
    assert last.columns.unknown == ("Sheet", "Sheet row", "Shoe", "Sheet (2)")
    reading: Reading = last.reading
    assert [*reading.columns_used] == ["Surname", "ID Number", "Name", "Email", "Ward"]
    assert reading.columns_not_read == ("Shoe", "Sheet (2)")


def test_rows_are_numbered_on_over_sheets_and_batches(tmp_path: Path) -> None:
    rows = [("ID", "Name", "Surname"), *((str(n), "a", "b") for n in range(100))]
    path = written(tmp_path / "a.xlsx", ("A", rows), ("Notes", [("x",)]), ("B", rows))
    frames = [sheet.frame for sheet in read_all(path, batch_rows=30)]
    numbers = [number for frame in frames for number in frame["row_number"]]
    assert numbers == [*range(2, 102), *range(103, 203)]
    assert len({frame.width for frame in frames}) == 1


def test_a_workbook_without_members_is_refused_as_ever(tmp_path: Path) -> None:
    with pytest.raises(NoIdColumnError):
        read_all(written(tmp_path / "a.xlsx", ("Notes", [("x",)])))
    with pytest.raises(NoRowsError):
        read_all(written(tmp_path / "a.xlsx", ("A", [("ID", "Name", "Surname")])))


def test_the_members_own_place_counts_before_that_of_a_line_in_later_sheets_too(
    tmp_path: Path,
) -> None:
    headers = ("ID Number", "Name", "Surname", "Ward")
    path = written(
        tmp_path / "a.xlsx",
        ("A", [headers, ("1", "a", "b", "7")]),
        ("B", [headers, ("Ward 12",), ("2", "c", "d", "5"), ("3", "e", "f")]),
        ("C", [headers[:3], ("Ward 13",), ("4", "g", "h")]),
    )
    sheets = read_all(path)
    last = sheets[-1]
    assert last.columns.headers["ward"] == ("Ward", "Ward (line above)")
    wards = [(row.get("Ward"), row.get("Ward (line above)")) for row in dicts(sheets)]
    assert wards == [("7", None), ("5", "12"), (None, "12"), ("13", None)]
