"""What is found about a file as a whole, and how many of its rows are counted as doubtful."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openpyxl
import polars as pl

from rollbook.pipeline.read import Wanted
from rollbook.pipeline.reading import MOST_LISTED, ColumnUsed, Reading
from rollbook.pipeline.tally import tally
from tests.files import id_number
from tests.unit.pipeline.sheets import read_whole

if TYPE_CHECKING:
    from pathlib import Path


def reading(tmp_path: Path, text: str, wanted: Wanted | None = None) -> Reading:
    path = tmp_path / "members.csv"
    path.write_text(text, encoding="utf-8")
    return read_whole(path, "csv", wanted).reading


def test_columns_that_hold_data_and_are_not_read_are_named(tmp_path: Path) -> None:
    found = reading(
        tmp_path,
        "Members\n"
        "ID Number;Firstname;Surname;Shoe size;Empty;^Blank$;Errors\n"
        f"{id_number(1)};A;B;;; ;The surname is missing.\n"
        f"{id_number(2)};C;D;41;; ;\n",
    )
    assert (found.encoding, found.delimiter, found.header_row) == ("utf-8", ";", 2)
    # ``Errors`` is what an earlier workbook of refused rows has added.
    assert found.columns_not_read == ("Shoe size",)
    assert found.columns_used == {
        "ID Number": ColumnUsed("id_number", "known"),
        "Firstname": ColumnUsed("firstname", "known"),
        "Surname": ColumnUsed("surname", "known"),
    }


def test_why_a_column_is_read_as_its_field(tmp_path: Path) -> None:
    text = f"Lid No,Firstname,Surname,Left\n{id_number(1)},A,B,C\n"
    mapping = {"Lid No": "id_number", "Left": None}
    given = reading(tmp_path, text, Wanted(columns=mapping))
    assert given.columns_used["Lid No"] == ColumnUsed("id_number", "given")
    assert given.columns_used["Surname"] == ColumnUsed("surname", "known")
    assert given.columns_not_read == ("Left",)
    path = tmp_path / "members.csv"
    fingerprint = read_whole(path, "csv", Wanted(columns=mapping)).fingerprint
    again = reading(tmp_path, text, Wanted(remembered={fingerprint: mapping}))
    assert again.columns_used["Lid No"] == ColumnUsed("id_number", "remembered")


def test_other_sheets_are_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (("ID Number", "Firstname", "Surname"), (id_number(1), "A", "B")):
        book.active.append(row)
    book.create_sheet("Totals")
    path = tmp_path / "members.xlsx"
    book.save(path)
    book.close()
    found = read_whole(path, "xlsx").reading
    assert [sheet.name for sheet in found.sheets_not_read] == ["Totals"]
    assert found.encoding is None


def test_what_is_stored_has_a_bound_and_no_id_number() -> None:
    number = id_number(1)
    names = tuple(f"{n} {number}\u0007" for n in range(MOST_LISTED + 50))
    used = {name: ColumnUsed("ward", "known") for name in names}
    stored = Reading(columns_not_read=names, columns_used=used).as_json()
    assert len(stored["columns_not_read"]) == len(stored["columns_used"]) == MOST_LISTED
    assert number not in str(stored)
    assert "\u0007" not in stored["columns_not_read"][0]


def test_a_row_needs_attention_once() -> None:
    lines = pl.DataFrame(
        {"row_number": [2, 3, 4, 5], "outcome": ["inserted"] * 2 + ["invalid"] * 2}
    )
    problems = pl.DataFrame(
        [
            (2, "date_ambiguous", "warning"),
            (2, "date_ambiguous", "warning"),
            (2, "phone_unclear", "warning"),
            (4, "date_ambiguous", "warning"),
            (4, "id_length", "error"),
        ],
        schema={"row_number": pl.UInt32, "code": pl.String, "severity": pl.String},
        orient="row",
    )
    found = tally([(lines.cast({"row_number": pl.UInt32}), problems)])
    assert found.rows_with_warnings == 2
    assert found.rows_needing_attention == 3
    assert found.warnings == {"date_ambiguous": 2, "phone_unclear": 1}
    assert found.problems[0] == ("id_length", "error", 1)
