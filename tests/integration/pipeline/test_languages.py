"""The report and the refused rows in each language, and the refused rows sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fastexcel
import openpyxl
import pytest

from rollbook import languages
from rollbook.languages import phrase, speaking
from rollbook.pipeline.report import PARTS
from tests.desk import Desk
from tests.files import csv_file, member
from tests.pipeline_run import Site, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("language", languages.available())
def test_a_report_is_in_its_upload_s_language_and_its_refused_rows_are_read_again(
    site: Site, language: str, tmp_path: Path
) -> None:
    rows = [member(1), {**member(2), "Surname": ""}, member(3), {**member(3), "Ward": "79800002"}]
    done = site.send(csv_file(rows), "members.csv", language=language)
    assert done.outcomes == {
        **dict.fromkeys(done.outcomes, 0), "inserted": 2, "invalid": 1, "duplicate": 1,
    }  # fmt: skip
    assert done.refused is not None
    with speaking(language):
        sheets = [phrase(f"report.sheet.{part}") for part in ("summary", *PARTS, "changes")]
        assert fastexcel.read_excel(done.report).sheet_names == sheets
        table = done.sheet(phrase("report.sheet.all"))
        said = table[phrase("report.column.problems")].to_list()
        assert phrase("problem.surname_missing") in said[1]
        assert phrase("report.repeats", row="4") in said[3]
        outcome = table[phrase("report.column.outcome")].to_list()
        assert outcome[0] == phrase("report.outcome.inserted")
        headers = [phrase(f"refused.{name}") for name in ("use_row", "sent_row", "errors")]
        no = phrase("refused.no")
    book = openpyxl.load_workbook(done.refused)
    sheet = book.worksheets[0]
    top = [cell.value for cell in sheet[1]]
    assert top[-3:] == headers
    assert [row[-3].value for row in sheet.iter_rows(min_row=2)] == [None, no]
    sheet.cell(2, top.index("Surname") + 1, "Dlamini")
    book.save(done.refused)
    again = Desk(tmp_path).send(done.refused.read_bytes(), "refused.xlsx")
    assert again.by_row == {2: "valid", 3: "invalid"}
    assert again.upload["reading"]["columns_not_read"] == []
