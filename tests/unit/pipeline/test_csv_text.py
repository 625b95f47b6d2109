"""Text files of every dialect: read back as they were written, or refused, and never otherwise."""

from __future__ import annotations

import csv
import io
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollbook.errors import FileProblemError
from rollbook.pipeline import csv_encoding, header
from rollbook.pipeline.csv_layout import layout_of
from rollbook.pipeline.csv_records import Shape, readings
from rollbook.pipeline.read import ROW_NUMBER, Wanted, read
from tests.files import id_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HEADERS = ("ID Number", "Firstname", "Surname", "Address", "Notes")
FIND = partial(header.find, mapped=Wanted().mapping)
#: What cells and the files around them stumble over.
SIGNS = st.sampled_from(['"', '""', ",", ";", "\t", "|", "\n", " ", "\\", "a", "B", "7", "ë", "-"])
CELL = st.lists(SIGNS, max_size=6).map("".join)
ROWS = st.lists(st.tuples(CELL, CELL, CELL, CELL), min_size=1, max_size=6)
QUICK = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)

Cells = tuple[str, ...]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "source.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def with_numbers(rows: Sequence[Cells]) -> list[Cells]:
    return [(id_number(number), *row) for number, row in enumerate(rows)]


def rows_of(path: Path) -> dict[int, Cells]:
    """The rows of which nothing is said, by number; a row that isn't there has no value."""
    found: dict[int, Cells] = {}
    for sheet in read(path, "csv"):
        refused = set(sheet.row_problems[ROW_NUMBER])
        for number, *cells in sheet.frame.iter_rows():
            # A value in a column without a header refuses its row when it is validated.
            if number not in refused and not any(cells[len(HEADERS) :]):
                found[number] = tuple(cell or "" for cell in cells[: len(HEADERS)])
    return found


def padded(cells: Cells, width: int = len(HEADERS)) -> Cells:
    return (*cells, *[""] * (width - len(cells)))


def check(path: Path, rows: Sequence[Cells], same: Callable[[str], str] = lambda cell: cell) -> int:
    """Every row is read as it was written, or the row or the file is refused.

    Returns:
        How many rows were read.
    """
    try:
        found = rows_of(path)
    except FileProblemError:
        return 0
    for number, cells in found.items():
        expected = tuple(map(same, padded(rows[number - 2])))
        assert tuple(map(same, padded(cells))) == expected
    return len(found)


def written(rows: Sequence[Sequence[str]], **dialect: Any) -> str:
    target = io.StringIO()
    csv.writer(target, **dialect).writerows(rows)
    return target.getvalue()


# --- properties -----------------------------------------------------------------------------------


@QUICK
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_follows_the_standard_is_read_as_it_was_written(
    rows: list[Cells], delimiter: str, end: str, quoting: Any, tmp_path: Path
) -> None:
    table = with_numbers(rows)
    text = written([HEADERS, *table], delimiter=delimiter, lineterminator=end, quoting=quoting)
    path = tmp_path / "source.csv"
    path.write_bytes(text.encode())
    read_rows = check(path, table)
    # Cells whose lines have the form of rows may be refused; in these rows there are none.
    if not any("\n" in cell for row in rows for cell in row):
        assert read_rows == len(table)


@QUICK
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
)
def test_what_has_backslashes_is_read_as_it_was_written(
    rows: list[Cells], delimiter: str, quoting: Any, tmp_path: Path
) -> None:
    table = [tuple(re.sub(r"[\n\\]", "", cell) for cell in row) for row in with_numbers(rows)]
    path = tmp_path / "source.csv"
    text = written(
        [HEADERS, *table],
        delimiter=delimiter, lineterminator="\n", quoting=quoting, doublequote=False,
        escapechar="\\",
    )  # fmt: skip
    path.write_bytes(text.encode())
    check(path, table, without_marks)


@QUICK
@given(rows=ROWS, delimiter=st.sampled_from(",;\t|"))
def test_what_has_single_quotation_marks_is_read_as_it_was_written(
    rows: list[Cells], delimiter: str, tmp_path: Path
) -> None:
    table = with_numbers(rows)
    path = tmp_path / "source.csv"
    text = written(
        [HEADERS, *table], delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL,
        quotechar="'",
    )  # fmt: skip
    path.write_bytes(text.encode())
    check(path, table, lambda cell: without_marks(cell).replace("'", ""))


@QUICK
@given(rows=ROWS, delimiter=st.sampled_from(",;|"), is_careless=st.booleans())
def test_what_was_written_without_care_moves_no_cell(
    rows: list[Cells], delimiter: str, is_careless: bool, tmp_path: Path
) -> None:
    """Quotation marks are in cells as they are, with spaces after the delimiters."""

    def cell(text: str) -> str:
        plain = text.replace("\n", " ")
        if is_careless:
            return plain.replace(delimiter, "/")
        plain = plain.replace('"', "")
        return f'"{plain}"' if delimiter in plain else plain

    table = with_numbers(rows)
    lines = [f"{delimiter} ".join(map(cell, row)) for row in [HEADERS, *table]]
    path = tmp_path / "source.csv"
    path.write_bytes("\n".join([*lines, ""]).encode())

    def same(text: str) -> str:
        plain = text.replace(delimiter, "/") if is_careless else text
        return without_marks(plain.replace("\n", " ")).replace(" ", "")

    check(path, table, same)


def without_marks(cell: str) -> str:
    """A cell apart from quotation marks: who writes them without care can't say which are text."""
    return cell.replace('"', "").replace("\\", "").strip()


@QUICK
@given(content=st.lists(SIGNS, max_size=40).map("".join), size=st.integers(1, 9))
def test_the_layout_is_that_of_the_standard_however_the_file_is_cut_into_pieces(
    content: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "source.csv"
    path.write_bytes(content.encode())
    counts = layout_of(path, Shape(","))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_encoding, "PIECE_BYTES", size)
        again = layout_of(path, Shape(","))
    assert (counts is None) == (again is None)
    if counts is None or again is None:
        return
    assert counts.tolist() == again.tolist()
    records = csv.reader(io.StringIO(content, newline=""), strict=True)
    assert counts.tolist() == [max(1, len(record)) for record in records]


@QUICK
@given(content=st.lists(SIGNS, max_size=30).map("".join), width=st.integers(1, 6))
def test_the_ways_to_read_a_line_are_as_many_as_there_are(content: str, width: int) -> None:
    line = content.replace("\n", "")
    ways, _ = readings(line, width, Shape(","))
    assert len(ways) <= 2
    for cells in ways:
        assert len(cells) == width
        assert ",".join(cells) == line
    if '"' not in line:
        assert len(ways) == (line.count(",") + 1 == width)
