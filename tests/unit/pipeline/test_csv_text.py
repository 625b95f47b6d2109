"""Text files of every dialect: read back as they were written, or refused, and never otherwise."""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rollbook.errors import FileProblemError
from rollbook.pipeline import csv_encoding, header
from rollbook.pipeline.csv_cells import Shape, readings
from rollbook.pipeline.csv_layout import layout_of
from rollbook.pipeline.read import ROW_NUMBER, Wanted, read
from tests.examples import few
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
    suppress_health_check=list(HealthCheck),
    deadline=None,
    max_examples=few(12, more=60),
    database=None,
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
    # Cells whose lines have the form of rows may be refused, and backslashes of two meanings; in
    # these rows there are none.
    if not any("\n" in cell or "\\" in cell for row in rows for cell in row):
        assert read_rows == len(table)


@QUICK
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
)
@example(
    rows=[("", "", '"', ',"')], delimiter=",", end="\n", quoting=csv.QUOTE_ALL
)  # one row of two readings, one of which the standard allows
def test_what_has_backslashes_is_read_as_it_was_written(
    rows: list[Cells], delimiter: str, end: str, quoting: Any, tmp_path: Path
) -> None:
    table = with_numbers(rows)
    path = tmp_path / "source.csv"
    text = written(
        [HEADERS, *table],
        delimiter=delimiter, lineterminator=end, quoting=quoting, doublequote=False,
        escapechar="\\",
    )  # fmt: skip
    path.write_bytes(text.encode())
    # A file in which no backslash changes a cell's end has no dialect; they are text there.
    check(path, table, lambda cell: cell.replace("\\", "").strip())


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


# --- backslashes ----------------------------------------------------------------------------------

_HEAD = "ID Number,Firstname,Surname,Address,Notes"
_ONE, _TWO, _THREE = (id_number(number) for number in range(3))
#: Five cells if the backslashes are text, and five others if they make the marks text.
_RIVAL = f'{_ONE},T,"\\",",\\",x'
_AS_TEXT, _AS_ESCAPES = (_ONE, "T", "\\", ",\\", "x"), (_ONE, "T", '",', '"', "x")
#: Rows that have five cells in one of the two readings only.
_TEXT_ROW, _ESCAPED_ROW = f'{_TWO},T,M,"C:\\",x', f'{_THREE},T,M,"Flat \\"B\\"",x'


@pytest.mark.parametrize(
    ("others", "expected"),
    [((), None), ((_TEXT_ROW,), _AS_TEXT), ((_ESCAPED_ROW,), _AS_ESCAPES),
     ((_TEXT_ROW, _ESCAPED_ROW), None)],
    ids=["alone", "among texts", "among escapes", "among both"],
)  # fmt: skip
def test_what_a_backslash_means_is_decided_by_the_rows_that_fit_one_reading(
    others: tuple[str, ...], expected: Cells | None, file: Callable[[str | bytes], Path]
) -> None:
    path = file("\n".join([_HEAD, _RIVAL, *others, ""]))
    assert rows_of(path).get(2) == expected
    problems = [each for sheet in read(path, "csv") for each in sheet.row_problems.rows()]
    assert problems == ([] if expected else [(2, "backslash_unclear")])


def test_a_line_end_after_a_backslash_is_inside_its_cell(
    file: Callable[[str | bytes], Path],
) -> None:
    lines = [_HEAD, f"{_ONE},T,M,1 Long St\\", "Cape Town,x", f"{_TWO},T,M,2 St,x", ""]
    assert rows_of(file("\n".join(lines).replace(",", "\t"))) == {
        2: (_ONE, "T", "M", "1 Long St\nCape Town", "x"),
        3: (_TWO, "T", "M", "2 St", "x"),
    }


def test_a_backslash_at_a_lines_end_joins_no_rows(file: Callable[[str | bytes], Path]) -> None:
    found = rows_of(file(f"{_HEAD}\n{_ONE},Thandi\\\n{_TWO},Sipho,M,x\n"))
    assert found == {2: (_ONE, "Thandi\\", "", "", ""), 3: (_TWO, "Sipho", "M", "x", "")}


def test_a_row_whose_readings_have_other_lines_swallows_no_row(
    file: Callable[[str | bytes], Path],
) -> None:
    # If the backslash is text, the cell of row 2 holds the row below.
    path = file(f'{_HEAD}\n{_ONE},T,"\\",",x,y\n{_TWO},T,M,a",b\n')
    with pytest.raises(FileProblemError, match="Row 2 opens a quotation mark in cell D2"):
        rows_of(path)


@pytest.mark.parametrize("there", ["27.10.2022", "2022-10-27", "27/10/2022", "082 123 4567"])
def test_a_date_in_the_column_of_the_id_number_makes_no_line_of_a_cell_a_row(
    there: str, file: Callable[[str | bytes], Path]
) -> None:
    lines = [
        '"Ward";"Surname";"ID Number";"Address";"Firstname";"Paid";"Notes"',
        f'"1";"M";"{_ONE}";"P O Box 1',
        f'Vereeniging";"T";"{there}";"x"',
        "",
    ]
    (sheet,) = read(file("\r\n".join(lines)), "csv")
    assert sheet.frame.rows() == [(2, "1", "M", _ONE, "P O Box 1\r\nVereeniging", "T", there, "x")]


def test_two_backslashes_are_kept_and_said_where_nothing_shows_what_they_mean(
    file: Callable[[str | bytes], Path],
) -> None:
    path = file(f'{_HEAD}\n{_ONE},T,M,"C:\\\\ 4",x\n')
    (sheet,) = read(path, "csv")
    assert sheet.frame["Address"].to_list() == ["C:\\\\ 4"]
    assert [note.code for note in sheet.reading.notes] == ["backslashes_doubled"]
    path = file(f'{_HEAD}\n{_ONE},T,M,"C:\\\\ 4","Flat \\"B\\""\n')
    (sheet,) = read(path, "csv")
    assert sheet.frame["Address"].to_list() == ["C:\\ 4"]
    assert not sheet.reading.notes
