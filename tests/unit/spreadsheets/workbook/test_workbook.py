"""What the writer writes is read back by programs that others wrote."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import re
import tempfile
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastexcel
import numpy as np
import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbook.spreadsheets.workbook import (
    BarChart,
    Cell,
    FormColumn,
    Kind,
    Look,
    WorkbookWriter,
    table,
    writer,
)
from rollbook.spreadsheets.workbook.parts import HEADER_FILL
from rollbook.spreadsheets.workbook.zip_stream import ZipStream
from tests.examples import few
from tests.libre_office import CSV, SOFFICE, saved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rollbook.spreadsheets.workbook import AnyCell

CREATED = dt.datetime(2026, 3, 1, 12, 30, 15, tzinfo=dt.UTC)
JOHANNESBURG = "Africa/Johannesburg"
FILLS = {"good": "FFC6EFCE", "bad": "FFFFC7CE"}
#: A datetime without a zone, as a cell holds it.
moment = dt.datetime.fromisoformat

needs_office = pytest.mark.skipif(
    SOFFICE is None, reason="no LibreOffice (Debian: libreoffice-calc-nogui)"
)

#: Texts that a reader could change, and what each is once it is in a cell.
TEXTS = {
    "Thandi Nkosi": "Thandi Nkosi",
    '<b>&amp;</b> "it\'s" ]]>': '<b>&amp;</b> "it\'s" ]]>',
    " both ends\t": " both ends\t",
    "\x01 behind a control character": " behind a control character",
    "\u00a0no-break\u3000": "\u00a0no-break\u3000",
    "one\r\ntwo\rthree\nfour\n": "one\ntwo\nthree\nfour\n",
    "a\0b\x0bc\x1fd\uffffe": "abcde",
    "_x0041_": "_x0041_",
    "_x000D_x000A_": "_x000D_x000A_",
    # LibreOffice decodes these, too.
    "_xe_ _x0_": "_xe_ _x0_",
    "_x00\x0141_": "_x0041_",
    "😀 𝒳 é": "😀 𝒳 é",
    "0012345678901": "0012345678901",
    "1/2": "1/2",
    "TRUE": "TRUE",
    "'quoted": "'quoted",
}
#: Texts that a spreadsheet could take for a formula, and what each is once it is in a cell.
FORMULAS = {
    '=HYPERLINK("http://example.org")': '=HYPERLINK("http://example.org")',
    "=1+1": "=1+1",
    "+27 82 555 0100": "+27 82 555 0100",
    "-1": "-1",
    "@SUM(1)": "@SUM(1)",
    "\t=1+1": "\t=1+1",
    "\r=1+1": "\n=1+1",
    "\n=1+1": "\n=1+1",
    "\x01=1+1": "=1+1",
    "\ufffe\x1f@SUM(1)": "@SUM(1)",
}


# --- writing and reading ----------------------------------------------------------------------


def workbook(path: Path, title: str = "Report") -> WorkbookWriter:
    return WorkbookWriter(path, title=title, fills=FILLS, created=CREATED)


def write(path: Path, frame: pl.DataFrame, *, row_fill: str | None = None) -> Path:
    with workbook(path) as book:
        book.add_table("Table", frame, row_fill=row_fill)
    return path


def write_cells(path: Path, rows: Sequence[Sequence[AnyCell]]) -> Path:
    with workbook(path) as book:
        book.add_cells("Cells", rows)
    return path


def opened(path: Path, name: str | None = None) -> Any:
    """A sheet as openpyxl has it: the named one, or the first."""
    book = openpyxl.load_workbook(path)
    return book[name] if name else book.worksheets[0]


def decoded(value: object) -> object:
    """Excel's escapes of characters, which openpyxl leaves as they are in an inline string."""
    if not isinstance(value, str):
        return value
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), value)


def rows_of(sheet: Any) -> list[list[object]]:
    """Every row with its header, as openpyxl reads it."""
    return [[decoded(value) for value in row] for row in sheet.iter_rows(values_only=True)]


def column_of(path: Path, index: int, name: str | None = None) -> list[object]:
    return [row[index] for row in rows_of(opened(path, name))[1:]]


def by_calamine(path: Path, columns: Sequence[Sequence[object]]) -> list[list[object]]:
    """The columns as calamine reads them, each in the type that is expected there."""
    sheet = fastexcel.read_excel(path).load_sheet(
        0,
        header_row=None,
        skip_rows=1,
        dtypes={index: calamine_type(values) for index, values in enumerate(columns)},
    )
    read = [series.to_list() for series in sheet.to_polars().iter_columns()]
    # It leaves columns out that are empty at the end, with their titles.
    return read + [[None] * sheet.height] * (len(columns) - len(read))


def calamine_type(expected: Sequence[object]) -> fastexcel.DType:
    kinds: dict[type, fastexcel.DType] = {
        bool: "boolean",
        int: "float",
        float: "float",
        dt.datetime: "datetime",
    }
    found = {kinds.get(type(value), "string") for value in expected if value is not None}
    return found.pop() if len(found) == 1 else "string"


def in_words(values: Sequence[object]) -> Sequence[object]:
    """Dates beside texts in a column, which calamine can only read as text."""
    if calamine_type(values) != "string":
        return values
    return [
        value.isoformat(" ", "milliseconds").removesuffix(".000")
        if isinstance(value, dt.datetime)
        else value
        for value in values
    ]


def assert_reads(path: Path, frame: pl.DataFrame, columns: Sequence[Sequence[object]]) -> None:
    """The first sheet holds the frame's titles and these values, for both readers."""
    header, *rows = rows_of(opened(path))
    assert header == [as_text(title) for title in frame.columns]
    assert [list(column) for column in zip(*rows, strict=True)] == list(columns)
    assert by_calamine(path, columns) == [in_words(column) for column in columns]


# --- how a value is written, by the promises of `worksheet` -------------------------------------


def as_text(text: str | None) -> str | None:
    """A text that XML has a place for, with its line ends; empty text is no text."""
    unified = (text or "").replace("\r\n", "\n").replace("\r", "\n")
    legal = re.sub("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", unified)
    return legal or None


def as_numbers(values: Sequence[int | Decimal | None]) -> list[object]:
    """Numbers, or texts when one has more digits than Excel keeps."""
    if any(value is not None and digits_of(value) > 15 for value in values):
        return [value if value is None else f"{Decimal(value):f}" for value in values]
    return [float(value) if isinstance(value, Decimal) else value for value in values]


def digits_of(number: int | Decimal) -> int:
    whole, _, fraction = f"{Decimal(number):f}".lstrip("-").partition(".")
    return len((whole + fraction.rstrip("0")).lstrip("0"))


def as_date(date: dt.date | None) -> object:
    if date is None:
        return None
    if date < dt.date(1900, 3, 1):
        return date.isoformat()
    return dt.datetime.combine(date, dt.time())


def as_datetime(value: dt.datetime | None) -> object:
    if value is None:
        return None
    if value.tzinfo:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    if value.date() < dt.date(1900, 3, 1):
        return value.isoformat(" ", "seconds")
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def as_short_float(number: float | None) -> float | None:
    # The shortest text that tells it from its neighbours: 0.1, not 0.10000000149011612.
    return number if number is None else as_float(float(str(np.float32(number))))


def as_float(number: float | None) -> float | None:
    return number if number is not None and abs(number) < float("inf") else None


def expected_of(series: pl.Series) -> list[object]:
    values = series.to_list()
    if series.dtype.is_integer() or series.dtype.is_decimal():
        return as_numbers(values)
    rules: dict[Any, Any] = {
        pl.String: as_text,
        pl.Categorical: as_text,
        pl.Enum: as_text,
        pl.Float32: as_short_float,
        pl.Float64: as_float,
        pl.Boolean: lambda value: value,
        pl.Date: as_date,
        pl.Datetime: as_datetime,
        pl.Time: lambda value: value and f"{value}",
        pl.Null: lambda value: value,
    }
    rule = rules[series.dtype.base_type()]
    return [rule(value) for value in values]


NAIVE = moment("2024-02-29T12:34:56.789999")
LAST = moment("9999-12-31T23:59:59.999999")
#: Just after the first of Excel's dates there, and just before it in UTC.
EARLY = moment("1900-03-01T00:30:00")

#: A column of each type, with the values that it must become.
COLUMNS: list[tuple[pl.Series, Sequence[object]]] = [
    (pl.Series("strings", ["a", None, ""]), ["a", None, None]),
    (pl.Series("categories", ["a", None, "=b"], dtype=pl.Categorical), ["a", None, "=b"]),
    (pl.Series("choices", ["a", None, "b"], dtype=pl.Enum(["a", "b"])), ["a", None, "b"]),
    (pl.Series("nothing", [None, None, None], dtype=pl.Null), [None, None, None]),
    (pl.Series("no strings", [None, None, None], dtype=pl.String), [None, None, None]),
    (pl.Series("no numbers", [None, None, None], dtype=pl.Int64), [None, None, None]),
    (pl.Series("no dates", [None, None, None], dtype=pl.Date), [None, None, None]),
    *(
        (pl.Series(f"{dtype}", [1, None, -100], dtype=dtype), [1, None, -100])
        for dtype in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128)
    ),
    *(
        (pl.Series(f"{dtype}", [1, None, 100], dtype=dtype), [1, None, 100])
        for dtype in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128)
    ),
    (pl.Series("15 digits", [10**15 - 1, 1 - 10**15, 0]), [10**15 - 1, 1 - 10**15, 0]),
    (pl.Series("16 digits", [10**15, None, 7]), [str(10**15), None, "7"]),
    (pl.Series("-16 digits", [-(10**15), None, 7]), [str(-(10**15)), None, "7"]),
    (pl.Series("most", [2**64 - 1, None, 0], dtype=pl.UInt64), [str(2**64 - 1), None, "0"]),
    (pl.Series("huge", [2**128 - 1, None, 0], dtype=pl.UInt128), [str(2**128 - 1), None, "0"]),
    (
        pl.Series("floats", [1.5, None, float("nan"), float("inf"), float("-inf"), 1e300, 1e-300]),
        [1.5, None, None, None, None, 1e300, 1e-300],
    ),
    (pl.Series("all digits", [0.1 + 0.2, 2 / 3, -0.0]), [0.1 + 0.2, 2 / 3, 0]),
    (pl.Series("short floats", [0.1, None, -2.25], dtype=pl.Float32), [0.1, None, -2.25]),
    (pl.Series("money", [Decimal("1.50"), None, Decimal("-0.05")]), [1.5, None, -0.05]),
    (
        # 15 digits, though the type may have room for more.
        pl.Series("roomy", [Decimal("12345678901.2345"), None], dtype=pl.Decimal(38, 10)),
        [12345678901.2345, None],
    ),
    (
        pl.Series(
            "exact", [Decimal("12345678901.23456"), None, Decimal(2)], dtype=pl.Decimal(38, 5)
        ),
        ["12345678901.23456", None, "2.00000"],
    ),
    (
        pl.Series("tiny", [Decimal("0.000000000000000000001"), None], dtype=pl.Decimal(38, 21)),
        [1e-21, None],
    ),
    (pl.Series("booleans", [True, False, None]), [True, False, None]),
    (
        pl.Series("dates", [dt.date(1900, 3, 1), None, dt.date(9999, 12, 31)]),
        [moment("1900-03-01"), None, moment("9999-12-31")],
    ),
    (
        pl.Series("odd dates", [dt.date(1900, 2, 28), None, dt.date(1, 1, 1), dt.date(2000, 1, 2)]),
        ["1900-02-28", None, "0001-01-01", moment("2000-01-02")],
    ),
    *(
        (
            pl.Series(f"moments in {unit}", [NAIVE, None, LAST], dtype=pl.Datetime(unit)),
            [NAIVE.replace(microsecond=789_000), None, LAST.replace(microsecond=999_000)],
        )
        for unit in ("ms", "us")
    ),
    (
        pl.Series("moments in ns", [NAIVE, None], dtype=pl.Datetime("ns")),
        [NAIVE.replace(microsecond=789_000), None],
    ),
    (
        pl.Series("odd moments", [EARLY - dt.timedelta(hours=1), None, EARLY]),
        ["1900-02-28 23:30:00", None, EARLY],
    ),
    (
        pl.Series("zoned", [NAIVE, None]).dt.replace_time_zone(JOHANNESBURG),
        [NAIVE.replace(hour=10, microsecond=789_000), None],
    ),
    (
        pl.Series("odd zoned", [EARLY, None, LAST]).dt.replace_time_zone(JOHANNESBURG),
        ["1900-02-28 23:00:00", None, LAST.replace(hour=21, microsecond=999_000)],
    ),
    (pl.Series("times", [dt.time(1, 2, 3), None]), ["01:02:03", None]),
]


@pytest.mark.parametrize(("series", "values"), COLUMNS, ids=[s.name for s, _ in COLUMNS])
def test_a_value_of_each_type_is_what_is_promised(
    series: pl.Series, values: Sequence[object], tmp_path: Path
) -> None:
    # The readers leave rows out that are empty at the end: the numbers keep them.
    frame = pl.DataFrame([pl.Series("row", range(series.len())), series])
    path = write(tmp_path / "types.xlsx", frame)
    assert_reads(path, frame, [list(range(series.len())), values])


@pytest.mark.parametrize(("series", "values"), COLUMNS, ids=[s.name for s, _ in COLUMNS])
def test_the_rules_that_the_random_tables_are_held_to_say_the_same(
    series: pl.Series, values: Sequence[object]
) -> None:
    assert expected_of(series) == values


def test_a_date_after_9999_is_text_that_nothing_takes_for_a_formula(tmp_path: Path) -> None:
    days = pl.Series("d", [3_000_000, -1_000_000, 0]).cast(pl.Date)
    path = write(tmp_path / "dates.xlsx", pl.DataFrame([days, days.cast(pl.Datetime).alias("m")]))
    epoch = moment("1970-01-01")
    assert column_of(path, 0) == ["+10183-09-21", "-0768-02-04", epoch]
    assert column_of(path, 1) == ["+10183-09-21 00:00:00", "-0768-02-04 00:00:00", epoch]
    styles = [cell.quotePrefix for cell in opened(path)["A"][1:]]
    assert styles == [1, 1, 0]


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("a", [[1], [2]]),
        pl.Series("a", [{"b": 1}]),
        pl.Series("a", [[1, 2]], dtype=pl.Array(pl.Int64, 2)),
        pl.Series("a", [dt.timedelta(1)]),
        pl.Series("a", [b"bytes"]),
        pl.Series("a", [object()], dtype=pl.Object),
    ],
    ids=lambda series: str(series.dtype),
)
def test_a_type_that_has_no_place_in_a_worksheet_is_refused(
    series: pl.Series, tmp_path: Path
) -> None:
    with (
        workbook(tmp_path / "none.xlsx") as book,
        pytest.raises(TypeError, match="no place in a worksheet"),
    ):
        book.add_table("Table", series.to_frame())


def test_a_table_wider_than_a_worksheet_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MOST_COLUMNS", 2)
    frame = pl.DataFrame({"a": [1], "b": [2], "c": [3]})
    with (
        workbook(tmp_path / "wide.xlsx") as book,
        pytest.raises(ValueError, match="2 columns, not 3"),
    ):
        book.add_table("Table", frame)
    # The column of the colours is none of the worksheet's.
    frame = frame.with_columns(c=pl.lit("good"))
    path = write(tmp_path / "narrow.xlsx", frame, row_fill="c")
    assert rows_of(opened(path)) == [["a", "b"], [1, 2]]


def test_the_columns_behind_z_have_their_letters(tmp_path: Path) -> None:
    frame = pl.DataFrame({f"c{index}": [index] for index in range(800)})
    sheet = opened(write(tmp_path / "wide.xlsx", frame))
    assert [sheet[place].value for place in ("Z2", "AA2", "ZZ2", "AAA2")] == [25, 26, 701, 702]
    assert sheet.dimensions == "A1:ADT2"


def test_single_cells_become_what_a_table_s_do(tmp_path: Path) -> None:
    zoned = EARLY.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))
    values: list[AnyCell] = [
        "text", "", None, True, 7, 1.5, float("nan"), float("inf"), 10**15 - 1, 10**15, -(10**15),
        Cell(dt.date(2024, 2, 29), Look.DATETIME), Cell(NAIVE, Look.DATETIME),
        Cell(LAST, Look.DATETIME), Cell(CREATED, Look.DATETIME), dt.date(1, 1, 1), zoned,
        *TEXTS, *FORMULAS,
    ]  # fmt: skip
    expected = [
        "text", None, None, True, 7, 1.5, None, None, 10**15 - 1, str(10**15), str(-(10**15)),
        moment("2024-02-29"), NAIVE.replace(microsecond=789_000),
        LAST.replace(microsecond=999_000), CREATED.replace(tzinfo=None), "0001-01-01",
        "1900-02-28 22:30:00", *TEXTS.values(), *FORMULAS.values(),
    ]  # fmt: skip
    # The number of each row keeps those that are empty.
    rows = [[number, value] for number, value in enumerate(values)]
    sheet = opened(write_cells(tmp_path / "cells.xlsx", rows))
    assert rows_of(sheet) == [list(row) for row in enumerate(expected)]
    assert "f" not in {cell.data_type for cell in sheet["B"]}


# --- text ---------------------------------------------------------------------------------------


def test_a_text_stays_that_text(tmp_path: Path) -> None:
    frame = pl.DataFrame({"given": [*TEXTS]})
    path = write(tmp_path / "texts.xlsx", frame)
    assert_reads(path, frame, [list(TEXTS.values())])


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_is_never_a_formula(text: str, tmp_path: Path) -> None:
    # As a value, as a title and as a sheet's name; beside a text that is none.
    path, frame = tmp_path / "formulas.xlsx", pl.DataFrame({text: [text, "plain"]})
    with workbook(path) as book:
        book.add_table(text, frame)
    assert_reads(path, frame, [[FORMULAS[text], "plain"]])
    header, active, plain = opened(path)["A"]
    assert {cell.data_type for cell in (header, active, plain)} == {"s"}
    assert {cell.number_format for cell in (header, active, plain)} == {"@"}
    # What keeps it inert when someone edits the cell, in Excel's own way.
    assert (header.quotePrefix, active.quotePrefix) == (1, 1)
    assert plain.quotePrefix == 0
    assert fastexcel.read_excel(path).load_sheet(0).available_columns()[0].name == FORMULAS[text]


def test_a_text_over_the_limit_of_a_cell_is_cut(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["a" * 32_767, "a" * 32_768, "😀" * 16_384]})
    path = write(tmp_path / "long.xlsx", frame)
    expected: list[object] = ["a" * 32_767, "a" * 32_766 + "…", "😀" * 16_383 + "…"]
    assert_reads(path, frame, [expected])


def test_each_chunk_of_rows_gets_what_its_own_texts_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "CHUNK_ROWS", 2)
    texts = ["plain", "plain", "&", "=1", None, "", " a ", "_x0041_", "last"]
    frame = pl.DataFrame({"row": range(9), "text": texts})
    path = write(tmp_path / "chunks.xlsx", frame)
    assert_reads(path, frame, [list(range(9)), [as_text(text) for text in texts]])


# --- any table ----------------------------------------------------------------------------------

ANY_TEXT = st.text(
    st.one_of(
        st.sampled_from("_x0041<&>=+-@^[$* \t\r\n\0\x01\x1f\x85\ufffe😀"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=8,
)
#: Without the first and last days, which have no moment in UTC in some zones.
ANY_MOMENT = st.datetimes(moment("0001-01-03"), moment("9999-12-29"))
ANY_INT = st.integers(-(2**63), 2**63 - 1)
SMALL_INT = st.integers(-(10**15) + 1, 10**15 - 1)
ANY_COLUMN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (pl.String(), ANY_TEXT),
    (pl.Categorical(), ANY_TEXT),
    (pl.Int64(), ANY_INT),
    (pl.Int64(), SMALL_INT),
    (pl.UInt64(), st.integers(0, 2**64 - 1)),
    (pl.Float64(), st.floats()),
    (pl.Float32(), st.floats(width=32)),
    (pl.Decimal(20, 4), st.decimals(-(10**14), 10**14, places=4)),
    (pl.Decimal(12, 2), st.decimals(-(10**9), 10**9, places=2)),
    (pl.Boolean(), st.booleans()),
    (pl.Date(), st.dates()),
    (pl.Datetime("us"), ANY_MOMENT),
    (pl.Datetime("us", "UTC"), ANY_MOMENT.map(lambda drawn: drawn.replace(tzinfo=dt.UTC))),
    (pl.Null(), st.none()),
]


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """A table of any types and titles; its first column numbers the rows, its last is their key."""
    height = draw(st.integers(1, 5))
    chosen = draw(st.lists(st.sampled_from(ANY_COLUMN), min_size=1, max_size=5))
    titles = draw(
        st.lists(ANY_TEXT, min_size=len(chosen), max_size=len(chosen), unique=True).filter(
            lambda titles: not {"row", "key"} & set(titles)
        )
    )
    columns = [pl.Series("row", range(height))]
    for title, (dtype, values) in zip(titles, chosen, strict=True):
        drawn = draw(st.lists(st.none() | values, min_size=height, max_size=height))
        # Named last: polars makes a series of moments with the name as a pattern.
        columns.append(pl.Series(drawn, dtype=dtype).alias(title))
    keys = st.sampled_from([*FILLS, "unknown", None])
    drawn = draw(st.lists(keys, min_size=height, max_size=height))
    return pl.DataFrame([*columns, pl.Series("key", drawn, dtype=pl.String)])


@settings(deadline=None, max_examples=few(15, more=50))
@given(tables())
def test_any_table_reads_back_equal(frame: pl.DataFrame) -> None:
    shown = frame.drop("key")
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "any.xlsx", frame, row_fill="key")
        assert_reads(path, shown, [expected_of(series) for series in shown.iter_columns()])
        sheet = opened(path)
        colours = [{cell.fill.fgColor.rgb for cell in row} for row in sheet.iter_rows(min_row=2)]
        assert colours == [{FILLS.get(key, "00000000")} for key in frame["key"]]
        assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}


# --- sheets -------------------------------------------------------------------------------------

PEOPLE = pl.DataFrame(
    {
        "Name": ["Thandi", "Sipho", "Ayanda", "Lerato"],
        "Age": [41, 38, None, 29],
        "Outcome": ["good", "bad", "unknown", None],
    }
)


def test_the_header_stays_in_sight_and_has_a_filter_and_its_look(tmp_path: Path) -> None:
    book = openpyxl.load_workbook(write(tmp_path / "a.xlsx", PEOPLE))
    sheet = book["Table"]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:C5"
    for cell in sheet[1]:
        assert cell.font.b
        assert cell.font.color.rgb == "FFFFFFFF"
        assert cell.fill.fgColor.rgb == HEADER_FILL
    assert sheet.page_setup.orientation == "landscape"


def test_a_filter_has_the_name_by_which_excel_finds_it(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with workbook(path) as book:
        book.add_cells("Summary", [["a"]])
        book.add_table("Thandi's <rows>", PEOPLE)
    listed = zipfile.ZipFile(path).read("xl/workbook.xml").decode()
    assert re.findall(r"<definedName .*?</definedName>", listed) == [
        '<definedName name="_xlnm._FilterDatabase" localSheetId="1" hidden="1">'
        "'Thandi''s &lt;rows&gt;'!$A$1:$C$5</definedName>"
    ]


def test_a_row_has_the_colour_of_its_key_and_the_key_is_not_shown(tmp_path: Path) -> None:
    sheet = opened(write(tmp_path / "a.xlsx", PEOPLE, row_fill="Outcome"))
    assert rows_of(sheet)[0] == ["Name", "Age"]
    colours = [[cell.fill.fgColor.rgb for cell in row] for row in sheet.iter_rows(min_row=2)]
    # The empty cell, too; a key without a colour and no key at all have none.
    assert colours == [[FILLS["good"]] * 2, [FILLS["bad"]] * 2, *[["00000000"] * 2] * 2]


def test_columns_are_as_wide_as_what_they_show_within_bounds(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "a": ["1"],
            "twelve signs": ["1"],
            "b": ["twenty characters it"],
            "c": ["long" * 100],
            "d": [1 / 3],
            "e": [NAIVE],
            "f": [None],
        }
    )
    widths = opened(write(tmp_path / "a.xlsx", frame)).column_dimensions
    # A date and time is 19 characters, a third 0.33.
    assert [widths[letter].width for letter in "ABCDEFG"] == [8, 17, 22, 48, 8, 21, 8]


def test_a_sheet_of_cells_is_wide_enough_for_its_sentences_but_its_title_runs_over(
    tmp_path: Path,
) -> None:
    rows: list[list[AnyCell]] = [
        [Cell("a title " * 9, Look.TITLE)],
        [],
        ["sixteen letters.", "b" * 100, None],
    ]
    sheet = opened(write_cells(tmp_path / "a.xlsx", rows))
    assert [sheet.column_dimensions[letter].width for letter in "ABC"] == [18, 80, 8]
    assert sheet.freeze_panes is None


def test_a_form_has_formats_and_lists_of_choices(tmp_path: Path) -> None:
    places = [f"Place {number}" for number in range(300)]  # more than fit into a list by itself
    columns = [
        FormColumn("ID & number"),
        FormColumn("Kind", choices=["<a>", "b, c"]),
        FormColumn("Joined", Kind.DATE),
        FormColumn("Place", choices=places),
        FormColumn("Amount", Kind.REAL),
    ]
    path = tmp_path / "form.xlsx"
    with workbook(path) as book:
        book.add_form("Form", columns, lists="It's lists", question='Keep "it" & go on?')
        book.add_cells("Notes", [["One"]])
    read = openpyxl.load_workbook(path)
    assert [(sheet.title, sheet.sheet_state) for sheet in read] == [
        ("Form", "visible"),
        ("It's lists", "hidden"),
        ("Notes", "visible"),
    ]
    form = read["Form"]
    assert rows_of(form) == [[column.title for column in columns]]
    assert form.freeze_panes == "A2"
    formats = [form.column_dimensions[letters].number_format for letters in "ABCDE"]
    assert formats == ["@", "@", "yyyy\\-mm\\-dd", "@", "0.00"]
    for letters, rule in zip("BD", form.data_validations.dataValidation, strict=True):
        assert (rule.type, rule.errorStyle, rule.error) == ("list", "warning", 'Keep "it" & go on?')
        assert str(rule.sqref) == f"{letters}2:{letters}1048576"
    [kinds, names] = [rule.formula1 for rule in form.data_validations.dataValidation]
    assert (kinds, names) == ("'It''s lists'!$A$2:$A$3", "'It''s lists'!$B$2:$B$301")
    assert [row[:2] for row in rows_of(read["It's lists"])[:4]] == [
        ["Kind", "Place"], ["<a>", "Place 0"], ["b, c", "Place 1"], [None, "Place 2"],
    ]  # fmt: skip


def test_each_look_is_seen(tmp_path: Path) -> None:
    rows = [[Cell(0.25, look)] for look in Look]
    cells = dict(zip(Look, opened(write_cells(tmp_path / "a.xlsx", rows))["A"], strict=True))
    formats = {look: cell.number_format for look, cell in cells.items()}
    assert formats[Look.PLAIN] == "General"
    assert formats[Look.PERCENT] == "0.0%"
    assert formats[Look.DATETIME] == r"yyyy\-mm\-dd\ hh:mm:ss"
    assert cells[Look.DATETIME].alignment.horizontal == "left"
    assert cells[Look.TITLE].font.sz == 16
    assert cells[Look.LABEL].font.b
    assert cells[Look.HEADER].fill.fgColor.rgb == HEADER_FILL
    assert cells[Look.INERT].quotePrefix == 1


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (["Rows", "rows", "ROWS"], ["Rows", "rows (2)", "ROWS (3)"]),
        (["[a]:*?/\\b"], ["a      b"]),
        (["a\tb\0c\ufffed"], ["a bcd"]),
        (["'quoted'"], ["quoted"]),
        (["' '", "", "[]"], ["Sheet", "Sheet (2)", "Sheet (3)"]),
        # Excel keeps this name for itself.
        (["History"], ["History (2)"]),
        (["a" * 40, "a" * 40], ["a" * 31, "a" * 27 + " (2)"]),
        # What is cut off may leave one at the end, which Excel takes for a damaged file.
        (["a" * 30 + "'s"], ["a" * 30]),
        # Excel counts UTF-16 units, and a half character is none.
        (["😀" * 20, "😀" * 20], ["😀" * 15, "😀" * 13 + " (2)"]),
        (["<a> & \"b\" 'c' d"], ["<a> & \"b\" 'c' d"]),
    ],
)
def test_a_sheet_s_name_is_one_that_excel_takes(
    wanted: list[str], names: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "names.xlsx"
    with workbook(path) as book:
        for name in wanted:
            book.add_table(name, PEOPLE)
    assert openpyxl.load_workbook(path).sheetnames == names
    assert fastexcel.read_excel(path).sheet_names == names


@settings(deadline=None, max_examples=few(15, more=60))
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_names_give_sheets_that_differ(wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names.xlsx"
        with workbook(path) as book:
            for name in wanted:
                book.add_cells(name, [["a"]])
        names = fastexcel.read_excel(path).sheet_names
        assert openpyxl.load_workbook(path).sheetnames == names
    assert len({name.casefold() for name in names}) == len(wanted)
    for name in names:
        assert 1 <= len(name.encode("utf-16-le")) // 2 <= 31
        assert not re.search(r"[\[\]:*?/\\]|^'|'$", name)


def test_an_empty_table_is_a_header_without_a_filter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", PEOPLE.clear(), row_fill="Outcome")
    sheet = opened(path)
    assert rows_of(sheet) == [["Name", "Age"]]
    assert sheet.auto_filter.ref is None
    assert sheet.freeze_panes == "A2"
    assert fastexcel.read_excel(path).load_sheet(0).to_polars().shape == (0, 2)


@pytest.mark.parametrize("frame", [pl.DataFrame(), pl.DataFrame({"key": ["good"]})])
def test_a_table_of_no_columns_is_an_empty_sheet(frame: pl.DataFrame, tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", frame, row_fill="key" if frame.width else None)
    assert rows_of(opened(path)) in ([], [[None]])
    assert fastexcel.read_excel(path).load_sheet(0).to_polars().is_empty()


def test_a_table_needs_no_text(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [None, 2.5], "c": [True, None]})
    path = write(tmp_path / "a.xlsx", frame)
    assert_reads(path, frame, [[1, None], [None, 2.5], [True, None]])


def test_titles_do_not_meet_the_names_that_the_writer_uses(tmp_path: Path) -> None:
    frame = pl.DataFrame({"fill": ["a"], "row": [2], "text": ["b"], "0": ["c"], "1": [3]})
    path = write(tmp_path / "a.xlsx", frame)
    assert_reads(path, frame, [["a"], [2], ["b"], ["c"], [3]])


def test_a_title_is_no_pattern_of_column_names(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"*": ["a"], "^.*$": ["b"], "^[$": ["c"], "^$": [1.5]}
    frame = pl.DataFrame({**columns, "key": ["good"]})
    path = write(tmp_path / "a.xlsx", frame, row_fill="key")
    assert_reads(path, frame.drop("key"), [["a"], ["b"], ["c"], [1.5]])


def test_more_rows_than_a_sheet_has_go_on_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MOST_ROWS", 2)
    frame = pl.DataFrame({"a": range(5), "key": ["good", "bad", "bad", "good", "bad"]})
    path = write(tmp_path / "a.xlsx", frame, row_fill="key")
    book = openpyxl.load_workbook(path)
    assert {sheet.title: rows_of(sheet) for sheet in book} == {
        "Table": [["a"], [0], [1]],
        "Table (2)": [["a"], [2], [3]],
        "Table (3)": [["a"], [4]],
    }
    filters = [sheet.auto_filter.ref for sheet in book]
    assert filters == ["A1:A3", "A1:A3", "A1:A2"]
    colours = [cell.fill.fgColor.rgb for sheet in book for cell in sheet["A"][1:]]
    assert colours == [FILLS[key] for key in frame["key"]]


@pytest.mark.parametrize("extra", [0, 1])
def test_a_table_of_many_chunks_keeps_its_rows_in_order(extra: int, tmp_path: Path) -> None:
    height = 2 * table.CHUNK_ROWS + extra
    frame = pl.DataFrame({"a": range(height), "b": [f"text {row}" for row in range(height)]})
    path = write(tmp_path / "a.xlsx", frame)
    read = fastexcel.read_excel(path).load_sheet(0, dtypes={"a": "int"}).to_polars()
    assert read.equals(frame)


def test_only_the_first_sheet_is_selected(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with workbook(path) as book:
        book.add_table("One", PEOPLE)
        book.add_table("Two", PEOPLE)
        book.add_cells("Three", [["a"]])
    sheets = openpyxl.load_workbook(path).worksheets
    assert [bool(sheet.sheet_view.tabSelected) for sheet in sheets] == [True, False, False]


def chart_of(title: str = "Rows by <outcome>\x01") -> BarChart:
    return BarChart(
        title, 2, 3, "A", "B", [("New & known", 3), ("Re\0fused", 4)], ((3, 0), (9, 12))
    )


def write_chart(path: Path) -> Path:
    with workbook(path) as book:
        book.add_table("Rows", PEOPLE)
        rows: list[list[AnyCell]] = [["Outcome", "Rows"], ["New & known", 3], ["Refused", 4]]
        book.add_cells("It's a summary", rows, chart=chart_of())
    return path


def assert_charted(sheet: Any) -> None:
    (chart,) = sheet._charts
    (series,) = chart.series
    assert chart.barDir == "bar"
    assert series.cat.strRef.f.replace("$", "") == "'It''s a summary'!A2:A3"
    assert series.val.numRef.f.replace("$", "") == "'It''s a summary'!B2:B3"
    assert [point.v for point in series.cat.strRef.strCache.pt] == ["New & known", "Refused"]
    assert [float(point.v) for point in series.val.numRef.numCache.pt] == [3, 4]
    (paragraph,) = chart.title.tx.rich.p
    assert "".join(run.t for run in paragraph.r) == "Rows by <outcome>"


def test_a_bar_chart_shows_the_cells_beside_it(tmp_path: Path) -> None:
    path = write_chart(tmp_path / "a.xlsx")
    assert opened(path, "Rows")._charts == []
    sheet = opened(path, "It's a summary")
    assert_charted(sheet)
    anchor = sheet._charts[0].anchor
    assert (anchor._from.col, anchor._from.row) == (3, 0)
    assert (anchor.to.col, anchor.to.row) == (9, 12)


@pytest.mark.parametrize("title", ['<Members> & "others\'"', "a\x01b\0c\ufffe", "_x0041_", "😀"])
def test_the_properties_hold_the_title_and_the_moment_in_utc(title: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    created = CREATED.astimezone(dt.timezone(dt.timedelta(hours=2)))
    with WorkbookWriter(path, title=title, fills={}, created=created) as book:
        book.add_table("Table", PEOPLE)
    properties = openpyxl.load_workbook(path).properties
    assert properties.title == as_text(title)
    assert properties.creator == "Rollbook"
    assert properties.created == CREATED.replace(tzinfo=None)


# --- the file -----------------------------------------------------------------------------------


class BrokenOffError(Exception):
    """Stands for anything that goes wrong while a workbook is being written."""


def begin_and_break_off(path: Path) -> None:
    with workbook(path) as book:
        book.add_table("Table", PEOPLE)
        raise BrokenOffError


@pytest.mark.parametrize("before", [None, b"what was there before"])
def test_a_file_that_fails_leaves_what_was_there_before(
    before: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.xlsx"
    if before:
        path.write_bytes(before)
    with pytest.raises(BrokenOffError):
        begin_and_break_off(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == (
        {"a.xlsx": before} if before else {}
    )


def test_a_file_that_fails_at_its_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: ZipStream) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ZipStream, "finish", fail)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a.xlsx", PEOPLE)
    assert list(tmp_path.iterdir()) == []


def test_a_stretch_that_fails_on_its_thread_fails_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(content: bytes) -> None:
        raise MemoryError(len(content))

    monkeypatch.setattr(table, "deflated", fail)
    with pytest.raises(MemoryError):
        write(tmp_path / "a.xlsx", PEOPLE)
    assert list(tmp_path.iterdir()) == []


def test_until_it_is_whole_the_old_file_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", PEOPLE)
    with workbook(path) as book:
        book.add_table("New", PEOPLE)
        assert openpyxl.load_workbook(path).sheetnames == ["Table"]
    assert openpyxl.load_workbook(path).sheetnames == ["New"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx.partial").write_bytes(b"half a workbook" * 10_000)
    path = write(tmp_path / "a.xlsx", PEOPLE)
    assert zipfile.ZipFile(path).testzip() is None
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_chart(tmp_path / name) for name in ("one.xlsx", "two.xlsx"))
    assert one.read_bytes() == two.read_bytes()


def test_a_workbook_of_zip64_records_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ZipStream", functools.partial(ZipStream, zip64_from=1))
    path = write(tmp_path / "a.xlsx", PEOPLE)
    columns = [expected_of(series) for series in PEOPLE.iter_columns()]
    assert_reads(path, PEOPLE, columns)


# --- LibreOffice --------------------------------------------------------------------------------

#: Its CSV filter: cells as they are shown, every sheet a file of its own.
AS_CSV = (CSV[0], f"{CSV[1]},,0,false,true,false,false,false,-1")


@pytest.fixture(scope="module")
def by_office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What LibreOffice makes of a workbook with all there is: XLSX, and CSV by sheet."""
    folder = tmp_path_factory.mktemp("office")
    path = folder / "all.xlsx"
    texts = [*TEXTS, *FORMULAS]
    keys = pl.Series("key", ["good", "bad"]).sample(len(texts), with_replacement=True, seed=1)
    with workbook(path, title="<All> & more") as book:
        rows: list[list[AnyCell]] = [["Outcome", "Rows"], ["a", 3], ["b", 4]]
        book.add_cells("It's a summary", rows, chart=chart_of())
        book.add_table("Texts", pl.DataFrame({"=title": texts, "key": keys}), row_fill="key")
        book.add_table("Types", pl.DataFrame(typical_columns()))
        book.add_table("Empty", PEOPLE.clear())
    (folder / "out").mkdir()
    saved(path, folder / "out", {"xlsx": ("Calc MS Excel 2007 XML", ""), "csv": AS_CSV})
    return folder / "out"


def typical_columns() -> Mapping[str, Sequence[object]]:
    return {
        "whole": [12, None],
        "real": [1.5, None],
        "yes": [True, None],
        "date": [dt.date(2024, 2, 29), None],
        "moment": [NAIVE.replace(microsecond=0), None],
        "odd": [dt.date(1899, 1, 1), dt.date(1900, 3, 1)],
        "long": [9_001_015_800_087_123, None],
        "text": ["0042", None],
    }


def by_csv(folder: Path, sheet: str) -> list[list[str]]:
    with (folder / f"all-{sheet}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@needs_office
def test_libreoffice_reads_every_text_as_it_is(by_office: Path) -> None:
    expected = [*TEXTS.values(), *FORMULAS.values()]
    assert by_csv(by_office, "Texts") == [["=title"], *([text] for text in expected)]


@needs_office
def test_libreoffice_takes_no_text_for_a_formula(by_office: Path) -> None:
    sheet = opened(by_office / "all.xlsx", "Texts")
    assert {cell.data_type for cell in sheet["A"]} == {"s"}
    assert len(sheet["A"]) == 1 + len(TEXTS) + len(FORMULAS)


@needs_office
def test_libreoffice_shows_each_type_in_its_form(by_office: Path) -> None:
    assert by_csv(by_office, "Types") == [
        [*typical_columns()],
        ["12", "1.5", "TRUE", "2024-02-29", "2024-02-29 12:34:56", "1899-01-01",
         "9001015800087123", "0042"],
        ["", "", "", "", "", "1900-03-01", "", ""],
    ]  # fmt: skip


@needs_office
def test_libreoffice_finds_the_sheets_as_they_were_made(by_office: Path) -> None:
    ours = openpyxl.load_workbook(by_office.parent / "all.xlsx")
    theirs = openpyxl.load_workbook(by_office / "all.xlsx")
    assert theirs.sheetnames == ours.sheetnames
    assert theirs.properties.title == "<All> & more"
    for name in ("Texts", "Types", "Empty"):
        # Not the frozen row: without a window, LibreOffice forgets that of any writer.
        assert theirs[name].auto_filter.ref == ours[name].auto_filter.ref
    colours = [[cell.fill.fgColor.rgb for cell in book["Texts"]["A"]] for book in (ours, theirs)]
    assert colours[0] == colours[1]
    assert set(colours[0]) == {HEADER_FILL, *FILLS.values()}


@needs_office
def test_libreoffice_draws_the_chart(by_office: Path) -> None:
    (chart,) = opened(by_office / "all.xlsx", "It's a summary")._charts
    (series,) = chart.series
    assert [float(point.v) for point in series.val.numRef.numCache.pt] == [3, 4]
    assert [point.v for point in series.cat.strRef.strCache.pt] == ["a", "b"]
