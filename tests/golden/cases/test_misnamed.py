"""Workbooks with the ending of another kind of workbook, end to end: they are read by content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.desk import Desk

FOLDER = Path(__file__).parent
SAME = ("same_google.xlsx", "same_binary.xlsb", "same_xlwt.xls", "same_open.ods")


@pytest.mark.parametrize("file", SAME)
def test_a_workbook_is_read_by_its_content(file: str, desk: Desk) -> None:
    content = (FOLDER.parent / file).read_bytes()
    desk.send(content, file)
    columns = ("id_number", "firstname", "surname", "cell_number", "date_joined")
    members = [[one[name] for name in columns] for one in desk.members().values()]
    assert members
    for ending in {"xlsx", "xls", "xlsb", "ods"} - {file.rpartition(".")[2]}:
        desk.send(content, f"members.{ending}")
        found = [[one[name] for name in columns] for one in desk.members().values()]
        assert found == members, ending
