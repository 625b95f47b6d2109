"""Workbooks with the ending of another kind of workbook, end to end: they are read by content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pipeline_run import Site

FOLDER = Path(__file__).parent
SAME = ("same_google.xlsx", "same_binary.xlsb", "same_xlwt.xls", "same_open.ods")


@pytest.mark.parametrize("file", SAME)
def test_a_workbook_is_read_by_its_content(file: str, site: Site) -> None:
    content = (FOLDER.parent / file).read_bytes()
    site.send(content, file)
    columns = ("id_number", "firstname", "surname", "cell_number", "date_joined")
    members = [[one[name] for name in columns] for one in site.members().values()]
    assert members
    for ending in {"xlsx", "xls", "xlsb", "ods"} - {file.rpartition(".")[2]}:
        site.clean()
        site.send(content, f"members.{ending}")
        found = [[one[name] for name in columns] for one in site.members().values()]
        assert found == members, ending
