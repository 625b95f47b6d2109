"""The template, filled in as its notes show, in every language."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from rollbook import languages, places
from rollbook.model import EVERYWHERE, Scope
from rollbook.pipeline.columns import title
from rollbook.pipeline.template import write_template
from tests.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

DATES = ("date_joined", "last_payment")


def filled_in(book: Any) -> bytes:
    """The template with its two examples, typed as a person would: dates as dates."""
    sheet, notes = book.worksheets[0], book.worksheets[-1]
    rows = [[cell.value for cell in row] for row in notes.iter_rows()]
    examples = {row[0]: row[1:3] for row in rows if len(row) == 4 and row[0]}
    dates = {title(field) for field in DATES}
    for column, header in enumerate([cell.value for cell in sheet[1]], start=1):
        for row, value in enumerate(examples[header], start=2):
            cell = sheet.cell(row, column)
            cell.value = dt.date.fromisoformat(value) if value and header in dates else value
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


@pytest.mark.parametrize("language", languages.available())
def test_the_template_is_read_back_without_a_doubt(language: str, tmp_path: Path) -> None:
    path = tmp_path / "template.xlsx"
    with languages.speaking(language):
        write_template(path, Scope("GP"))
        content = filled_in(openpyxl.load_workbook(path))
    desk = Desk(tmp_path)
    done = desk.send(content, "filled in.xlsx")
    assert done.verdicts == {"valid": 2}
    assert [row["problems"] for row in done.rows] == [None, None]
    assert not [
        sheet for sheet in done.upload["reading"]["sheets_not_read"] if sheet["holds_members"]
    ]
    assert done.upload["reading"]["columns_not_read"] == []
    sipho = desk.members()["8001015009087"]
    assert (sipho["gender"], sipho["province"], str(sipho["date_joined"])) == (
        "male",
        "GP",
        "2024-03-31",
    )


def test_lists_are_those_of_the_office(tmp_path: Path) -> None:
    gauteng = {one.name for one in places.municipalities().values() if one.province == "GP"}
    for scope, provinces, municipalities in (
        (EVERYWHERE, 9, len(places.municipalities())),
        (Scope("GP"), 1, len(gauteng)),
        (Scope("GP", "Emfuleni"), 1, 1),
    ):
        write_template(tmp_path / "template.xlsx", scope)
        book = openpyxl.load_workbook(tmp_path / "template.xlsx")
        lists = {
            column[0].value: [cell.value for cell in column[1:] if cell.value]
            for column in book["Lists"].iter_cols()
        }
        assert book["Lists"].sheet_state == "hidden"
        assert lists["Gender"] == ["Female", "Male"]
        assert "isiZulu" in lists["Language"]
        assert len(lists["Province"]) == provinces
        assert len(lists["Municipality"]) == municipalities
    assert lists["Municipality"] == ["Emfuleni"]
    form = book["Members"]
    assert form.column_dimensions["A"].number_format == "@"
    asked = {rule.error for rule in form.data_validations.dataValidation}
    assert asked == {"This is not one of the listed values. Keep it?"}
