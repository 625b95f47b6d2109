"""The preview of a file: what it says before the file is read for good."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from rollbook.errors import FileProblemError
from rollbook.model import EVERYWHERE
from rollbook.pipeline import preview as previews
from rollbook.pipeline.preview import preview
from rollbook.pipeline.read import Wanted
from rollbook.spreadsheets.inspect.archive import Limits
from tests.files import csv_file, id_number, member, workbook

GOLDEN = Path(__file__).parents[2] / "golden" / "cases"
TODAY = dt.date(2026, 11, 1)


def seen(
    path: Path,
    content: bytes,
    *,
    name: str = "source.csv",
    empty_text: str | None = None,
    **wanted: Any,
) -> dict[str, Any]:
    file = path / name
    file.write_bytes(content)
    return preview(
        file,
        name.rpartition(".")[2],
        Wanted(**wanted),
        scope=EVERYWHERE,
        today=TODAY,
        limits=Limits(),
        empty_text=empty_text,
    )


def columns(found: dict[str, Any]) -> dict[str, tuple[str | None, str]]:
    return {column["header"]: (column["field"], column["how"]) for column in found["columns"]}


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_header_that_polars_takes_for_a_pattern_is_a_header(kind: str, tmp_path: Path) -> None:
    heads = ["^ID Number$", "^[Firstname$", "^(Surname$", "^[$", "^.*$", "*"]
    cells = [id_number(1), "Thandi", "Mokoena", "a", "b", "c"]
    rows = [dict(zip(heads, cells, strict=True))]
    make = csv_file if kind == "csv" else workbook
    found = seen(tmp_path, make(rows, headers=heads), name=f"source.{kind}")
    fields = ["id_number", "firstname", "surname", None, None, None]
    assert [field for field, _ in columns(found).values()] == fields
    assert [column["samples"] for column in found["columns"]][1:] == [[cell] for cell in cells[1:]]


def test_known_columns_have_their_fields_and_masked_samples(tmp_path: Path) -> None:
    found = seen(tmp_path, csv_file([member(number) for number in range(12)]))
    assert columns(found)["ID Number"] == ("id_number", "known")
    [numbers] = [column for column in found["columns"] if column["field"] == "id_number"]
    assert len(numbers["samples"]) == previews.SAMPLES
    assert not {id_number(number) for number in range(12)} & set(numbers["samples"])
    assert found["missing"] == []
    assert found["rows_expected"] == 12
    assert (found["encoding"], found["delimiter"], found["header_row"]) == ("utf-8", ",", 1)
    assert [row["row_number"] for row in found["rows"]] == list(range(2, 12))
    assert len(found["rows"][0]["cells"]) == len(found["columns"])
    [sheet] = found["sheets"]
    assert (sheet["rows"], sheet["is_chosen"], sheet["holds_members"]) == (12, True, True)


def test_numbers_with_errors_and_passports_are_masked_too(tmp_path: Path) -> None:
    content = b"ID Number,Passport Number,Firstname,Surname\n800101500908,FN123456,A,B\n"
    found = seen(tmp_path, content)
    assert "800101500908" not in str(found)
    assert "FN123456" not in str(found)


def test_a_column_is_recognised_by_its_values_where_its_header_says_nothing(
    tmp_path: Path,
) -> None:
    rows = [f"{id_number(number)},Thandi,Mokoena,0825550{number:03}" for number in range(20)]
    content = "\n".join(["Lid,Roepnaam,Van,Nommer", *rows]).encode()
    found = seen(tmp_path, content)
    assert found["missing"] == ["id_number", "firstname"]
    lid, name, surname, phone = found["columns"]
    assert (lid["field"], lid["how"], lid["suggestions"]) == (None, "values", ["id_number"])
    assert (name["how"], name["suggestions"]) == ("near", ["firstname"])
    assert (surname["field"], surname["how"]) == ("surname", "known")
    assert phone["suggestions"][0] == "cell_number"
    assert found["rows_expected"] == 20


def test_what_the_office_said_of_the_columns_counts(tmp_path: Path) -> None:
    content = f"Lid,Roepnaam,Van\n{id_number(1)},Thandi,Mokoena\n".encode()
    found = seen(tmp_path, content, columns={"Lid": "id_number", "Roepnaam": "firstname"})
    assert found["missing"] == []
    assert columns(found)["Lid"] == ("id_number", "known")


def test_names_that_are_missing_are_said_and_the_file_is_shown(tmp_path: Path) -> None:
    found = seen(tmp_path, f"ID Number,Note\n{id_number(1)},x\n".encode())
    assert found["missing"] == ["firstname", "surname"]
    assert found["warnings"] == []
    assert len(found["rows"]) == 1


def test_problems_of_the_first_rows_are_counted(tmp_path: Path) -> None:
    content = csv_file([member(1), member(2, **{"ID Number": "12"}), member(3, Surname="")])
    counted = {one["code"]: one for one in seen(tmp_path, content)["warnings"]}
    assert (counted["id_length"]["rows"], counted["id_length"]["severity"]) == (1, "error")
    assert counted["surname_missing"]["rows"] == 1
    assert counted["id_length"]["message"]


def test_a_long_file_is_seen_by_its_beginning(tmp_path: Path) -> None:
    rows = 2 * previews.SAMPLE_ROWS
    found = seen(tmp_path, csv_file(rows))
    assert found["rows_expected"] == rows
    assert max(one["rows"] for one in found["warnings"] or [{"rows": 0}]) <= previews.SAMPLE_ROWS


def test_the_sheets_of_a_workbook_are_named(tmp_path: Path) -> None:
    content = workbook([member(1)])
    found = seen(tmp_path, content, name="source.xlsx")
    assert [sheet["is_chosen"] for sheet in found["sheets"]] == [True]
    assert found["encoding"] is None


def test_all_sheets_are_seen_also_while_names_are_missing(tmp_path: Path) -> None:
    found = seen(tmp_path, f"ID Number,Note\n{id_number(1)},x\n".encode(), sheet="*")
    assert found["missing"] == ["firstname", "surname"]


@pytest.mark.parametrize("content", [b"ID Number,Firstname,Surname\n", b"Nothing\n", b"\n\n"])
def test_a_file_without_rows_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(FileProblemError):
        seen(tmp_path, content)


def test_a_hidden_sheet_that_is_chosen_is_said_to_be_hidden(tmp_path: Path) -> None:
    content = (GOLDEN / "hidden_sheet_first.xlsx").read_bytes()
    found = seen(tmp_path, content, name="source.xlsx", sheet="Archive")
    chosen = {sheet["name"]: (sheet["is_hidden"], sheet["is_chosen"]) for sheet in found["sheets"]}
    assert chosen == {"Archive": (True, True), "Members": (False, False)}


def test_a_file_of_passports_lacks_id_numbers_where_passports_are_not_accepted(
    tmp_path: Path,
) -> None:
    text = b"Passport Number,Passport Country,Firstname,Surname\nA1234567,Zimbabwe,Ann,Aa\n"
    assert seen(tmp_path, text)["missing"] == ["id_number"]
    assert seen(tmp_path, text, accepts_passports=True)["missing"] == []


def test_the_fields_that_the_sender_empties_are_counted(tmp_path: Path) -> None:
    header = "ID Number,Firstname,Surname,Cell Number,Email,Gender\n"
    rows = [
        f"{id_number(1)},Ann,Aa,[Empty],[empty],",
        f"{id_number(2)},Bob,Bee,[empty],b@example.org,[empty]",
        f"{id_number(3)},[empty],Cee,[empty],,",
    ]
    content = (header + "\n".join(rows)).encode()
    found = seen(tmp_path, content, empty_text=" [empty] ")
    # A refused row empties nothing, and the ID number says the gender.
    assert found["emptied"] == {"cell_number": 2, "email": 1}
    codes = {warning["code"]: warning["rows"] for warning in found["warnings"]}
    assert codes["needed_not_emptied"] == codes["not_emptied"] == 1
    assert seen(tmp_path, content)["emptied"] == {}
