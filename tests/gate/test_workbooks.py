"""The workbooks that tests write quickly are those that openpyxl writes."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests.files import by_openpyxl, written


def parts(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # It has the time of the writing.
        return {name: archive.read(name) for name in {*archive.namelist()} - {"docProps/core.xml"}}


@pytest.mark.parametrize(
    "rows",
    [
        [["ID Number", "Name"], ["8001015009087", None], ["", "Zoë <&>"], [0, -12]],
        [[], ["a", "b", "c"], [], ["'", "]]>", '"', "x\u00a0y"], [None], []],
        [["a"], [" b ", "=1+1", "#N/A", "c\nd", 2.5, True]],
        [[]],
    ],
)
def test_a_workbook_is_the_one_that_openpyxl_writes(rows: list[list[object]]) -> None:
    assert parts(written(rows)) == parts(by_openpyxl(rows))
