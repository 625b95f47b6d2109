"""Workbooks with the ending of another kind of workbook are read by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.pipeline.sheets import read_whole

FOLDER = Path(__file__).parent
SAME = ("same_google.xlsx", "same_binary.xlsb", "same_xlwt.xls", "same_open.ods")


@pytest.mark.parametrize("file", SAME)
def test_a_workbook_is_read_by_its_content(file: str, tmp_path: Path) -> None:
    source = FOLDER.parent / file
    own = read_whole(source, source.suffix[1:]).frame
    assert own.height > 0
    for ending in {"xlsx", "xls", "xlsb", "ods"} - {source.suffix[1:]}:
        path = tmp_path / f"members.{ending}"
        path.write_bytes(source.read_bytes())
        assert read_whole(path, ending).frame.equals(own), ending
