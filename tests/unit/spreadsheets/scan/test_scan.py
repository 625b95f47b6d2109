"""The scanner of worksheets: for each cell the text that fastexcel gives, or ``NotPlainError``.

Few examples in the gate; ``make properties`` tries more, and ``HYPOTHESIS_EXAMPLES=500`` also of
damaged files.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import zipfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastexcel
import openpyxl
import polars as pl
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollbook.cli.sample_file import write_sample
from rollbook.spreadsheets.books import xlsx as elements
from rollbook.spreadsheets.books.formats import DATE, Format
from rollbook.spreadsheets.books.values import BUILT_IN_DATES, is_date
from rollbook.spreadsheets.books.xlsx import XlsxBook
from rollbook.spreadsheets.scan import NotPlainError, archive, open_workbook, pieces, plain, prefix
from rollbook.spreadsheets.scan import formats as scan_formats
from rollbook.spreadsheets.workbook import WorkbookWriter
from tests.examples import few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

EXAMPLES = few(8, more=15)
EACH_WAY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
GOLDEN = Path(__file__).parents[3] / "golden"
NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

#: The number formats of the styles 1, 2, ... of a workbook by ``write_xml``.
FORMATS = (
    *("yyyy-mm-dd", "[h]:mm", '"Day" d', '0.00 "d"', "General", "[$-409]d mmm", "d;@", "a/p"),
    *(r"\d0", "[Red]0", "#,##0*d", "_d0", "h AM/PM", "[ss]", "[Red][h]:mm", "0.00E+00", "@"),
    *("# ?/?", '_("$"* #,##0.00_)', "0;d", "[hm]0", "mm:ss.0", "#,##0 [$€-407]"),
)
BUILT_IN = (0, 1, 14, 15, 16, 17, 18, 19, 20, 21, 22, 44, 45, 46, 47, 48, 49)


@pytest.fixture(autouse=True)
def nothing_is_unforeseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_UNFORESEEN", ())


@pytest.fixture(autouse=True)
def formats_are_those_of_numbers_and_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for fastexcel; ``test_formats`` has those that show something else."""

    def of_code(code: str) -> Format | None:
        return DATE if is_date(code) else None

    def of_number(number: int) -> Format | None:
        return DATE if number in BUILT_IN_DATES else None

    for module in (scan_formats, elements):
        monkeypatch.setattr(module, "format_of", of_code)
        monkeypatch.setattr(module, "built_in", of_number)


def write_xml(
    path: Path,
    rows: str = "",
    *,
    sheet: str | None = None,
    shared: str | None = None,
    properties: str = "",
    **parts: str,
) -> Path:
    """A workbook with one sheet, S, of this XML; ``parts`` take the place of others by name."""
    formats = "".join(
        f'<numFmt numFmtId="{170 + n}" formatCode="{code.replace(chr(34), "&quot;")}"/>'
        for n, code in enumerate(FORMATS)
    )
    styles = [0, *(170 + n for n in range(len(FORMATS))), *BUILT_IN]
    contents = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{RELATIONSHIPS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{RELATIONSHIPS}/worksheet" '
        'Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{NAMESPACE}" xmlns:r="{RELATIONSHIPS}">{properties}'
        '<sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/styles.xml": f'<styleSheet xmlns="{NAMESPACE}"><numFmts>{formats}</numFmts><cellXfs>'
        + "".join(f'<xf numFmtId="{number}"/>' for number in styles)
        + "</cellXfs></styleSheet>",
        "xl/worksheets/sheet1.xml": sheet
        or f'<worksheet xmlns="{NAMESPACE}"><sheetData>{rows}</sheetData></worksheet>',
    }
    if shared is not None:
        contents["xl/sharedStrings.xml"] = f'<sst xmlns="{NAMESPACE}">{shared}</sst>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (contents | parts).items():
            if content:
                archive.writestr(name, DECLARATION + content)
    return path


def cells_xml(cells: Sequence[str]) -> str:
    """A row for each cell, which is in column B and has @ for its reference."""
    return "".join(
        f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>k</t></is></c>'
        f"{cell.replace('@', f'B{n}')}</row>"
        for n, cell in enumerate(cells, start=1)
    )


def scanned(path: Path, index: int = 0, rows: int = 50_000) -> pl.DataFrame:
    """All rows of a sheet."""
    with closing(open_workbook(path)) as book:
        frames = [batch.frame for batch in book.batches(index, rows=rows)]
    assert all(frame.height == rows for frame in frames[:-1])
    assert all(
        frame.columns == [str(n) for n in range(frame.width)] and set(frame.dtypes) <= {pl.String}
        for frame in frames
    )
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def by_elements(path: Path, index: int = 0) -> pl.DataFrame:
    """The same by the reader of what isn't plain."""
    with closing(XlsxBook(path)) as book:
        frames = [batch.frame for batch in book.batches(index, rows=50_000)]
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def by_fastexcel(path: Path, index: int = 0) -> pl.DataFrame:
    book = fastexcel.read_excel(path)
    sheet = book.load_sheet(index, header_row=None, skip_rows=0, dtypes="string")
    return sheet.to_polars()


def without_errors(frame: pl.DataFrame) -> pl.DataFrame:
    """For fastexcel an error is no value, and neither is a formula that was never calculated."""
    is_error = pl.all().str.contains("^#(?:[A-Z0-9_/!?]+|NOT_CALCULATED!)$")
    return frame.with_columns(pl.when(~is_error).then(pl.all())) if frame.width else frame


def trimmed(frame: pl.DataFrame) -> list[list[str | None]]:
    """The columns without the rows at the end and the columns at both ends that have nothing."""
    columns = [series.to_list() for series in frame]
    used = [n for n, column in enumerate(columns) if any(text is not None for text in column)]
    if not used:
        return []
    columns = columns[used[0] : used[-1] + 1]
    height = max(n + 1 for column in columns for n, text in enumerate(column) if text is not None)
    return [column[:height] for column in columns]


#: Characters that XML doesn't have, which only a parser of XML minds.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def assert_same(path: Path) -> None:
    """Every sheet has the texts that fastexcel gives."""
    names = fastexcel.read_excel(path).sheet_names
    with closing(open_workbook(path)) as book:
        assert [sheet.name for sheet in book.sheets] == names
    for index in range(len(names)):
        expected = without_errors(by_fastexcel(path, index))
        found = scanned(path, index)
        if not any(_CONTROL.search("".join(filter(None, column))) for column in found):
            assert found.equals(by_elements(path, index))
        found = without_errors(found)
        assert trimmed(found) == trimmed(expected)
        if found.width and found["0"].null_count() < found.height:
            # Where column A has a value, both begin with it.
            expected.columns = [str(n) for n in range(expected.width)]
            shared = min(expected.width, found.width)
            assert (
                found[:, :shared]
                .head(expected.height)
                .equals(expected[:, :shared].head(found.height))
            )


def is_plain(path: Path) -> bool:
    """Whether the workbook is scanned; if so, then rightly."""
    try:
        assert_same(path)
    except NotPlainError:
        return False
    return True


# --- files of programs ------------------------------------------------------------------------

NOT_PLAIN_GOLDEN = {"same_inline.xlsx"}  # its cells have no references
#: With error values that calamine takes for damage.
NEW_ERRORS = {"formulas.xlsx"}
ORACLED = [path for path in sorted(GOLDEN.glob("*.xlsx")) if path.name not in NEW_ERRORS]


@pytest.mark.parametrize("path", ORACLED, ids=lambda path: path.name)
def test_golden_files_are_read_as_fastexcel_reads_them(path: Path) -> None:
    assert is_plain(path) == (path.name not in NOT_PLAIN_GOLDEN)


def test_a_sample_is_read_as_fastexcel_reads_it(tmp_path: Path) -> None:
    write_sample(tmp_path / "members.xlsx", 1_000)
    assert_same(tmp_path / "members.xlsx")
    with closing(open_workbook(tmp_path / "members.xlsx")) as book:
        assert book.claimed_rows(0) == 1_001


TEXTS = st.text(
    st.one_of(
        st.sampled_from(" \t\n&<>\"'_x00Dé'=+ A1\u00a0"),
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"),
    ),
    max_size=20,
)
ESCAPED_TEXTS = st.sampled_from(["_x000D_", "a_x0041_b", "_x005F_x0041_", " a ", "\n", "", "#N/A"])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.one_of(
    st.integers(-(10**16), 10**16),
    FLOATS.filter(lambda x: abs(x) < 1e25),
    st.decimals(-100_000, 100_000, places=3).map(float),
    st.floats(0, 1),
)
MOMENTS = st.integers(-(2**41), 2**47).map(
    lambda milliseconds: (
        dt.datetime.fromisoformat("1970-01-01") + dt.timedelta(milliseconds=milliseconds)
    )
)
VALUES = st.one_of(st.none(), TEXTS, ESCAPED_TEXTS, NUMBERS, st.booleans(), MOMENTS)
TABLES = st.lists(st.lists(VALUES, max_size=6), max_size=12)


@EACH_WAY
@given(table=TABLES)
def test_what_openpyxl_writes_is_read_as_fastexcel_reads_it(
    table: list[list[Any]], tmp_path: Path
) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for number, row in enumerate(table, start=2):
        for column, value in enumerate(row, start=1):
            if isinstance(value, str) and not openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.search(
                value
            ):
                sheet.cell(number, column).value = value
            elif not isinstance(value, str):
                sheet.cell(number, column, value)
    book.create_sheet("Empty & <more>")
    book.save(tmp_path / "book.xlsx")
    assert is_plain(tmp_path / "book.xlsx")


@EACH_WAY
@given(table=TABLES, in_place=st.booleans(), is_1904=st.booleans())
def test_what_xlsxwriter_writes_is_read_as_fastexcel_reads_it(
    table: list[list[Any]], in_place: bool, is_1904: bool, tmp_path: Path
) -> None:
    path = tmp_path / "book.xlsx"
    options = {
        "constant_memory": in_place,
        "date_1904": is_1904,
        "strings_to_formulas": False,
        "default_date_format": "yyyy-mm-dd hh:mm:ss.000",
    }
    with xlsxwriter.Workbook(path, options) as book:
        sheet = book.add_worksheet()
        bold = book.add_format({"bold": True})
        for number, row in enumerate(table):
            for column, value in enumerate(row):
                if not (is_1904 and isinstance(value, dt.datetime) and value.year < 1904):
                    sheet.write(number, column, value)
        sheet.write_formula(20, 0, '="a"&"b"', value="a&b")
        sheet.write_formula(20, 1, "=1/0", value="#DIV/0!")
        sheet.write_formula(20, 2, "=1+1", value=2)
        sheet.write_formula(20, 3, "=TRUE", value=True)
        if not in_place:
            sheet.write_rich_string(20, 4, "plain ", bold, "bold & ", " rest ")
    assert is_plain(path)


@EACH_WAY
@given(
    texts=st.lists(st.one_of(st.none(), TEXTS, ESCAPED_TEXTS), min_size=1, max_size=20),
    data=st.data(),
)
def test_what_we_write_is_read_as_fastexcel_reads_it(
    texts: list[str | None], data: st.DataObject, tmp_path: Path
) -> None:
    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(
            st.lists(st.one_of(st.none(), values), min_size=len(texts), max_size=len(texts))
        )

    frame = pl.DataFrame(
        {
            "Text": pl.Series(texts, dtype=pl.String),
            "Whole": pl.Series(column(st.integers(-(2**62), 2**62)), dtype=pl.Int64),
            "Real": pl.Series(column(FLOATS), dtype=pl.Float64),
            "True": pl.Series(column(st.booleans()), dtype=pl.Boolean),
            "Day": pl.Series(column(st.dates(dt.date(1800, 1, 1))), dtype=pl.Date),
            "Moment": pl.Series(column(MOMENTS), dtype=pl.Datetime("ms")),
        }
    )
    path = tmp_path / "book.xlsx"
    created = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with WorkbookWriter(path, title="Test", fills={"red": "FFFF0000"}, created=created) as writer:
        writer.add_cells("Cover", [["Title", 1, None, 2.5], [], [dt.date(2026, 1, 2), True]])
        writer.add_table("Table", frame, row_fill=None)
    assert is_plain(path)


# --- single cells -----------------------------------------------------------------------------

MARKED = (
    *("a", "", " a ", "\ta\n", "a\nb", "a\r\nb", "a\rb", "&amp;", "&lt;x&gt;", "&#65;", "&#x41;"),
    *("&#10;", "&#13;", "&quot;&apos;", "_x0041_", "_x000D_", "a_x000D_b", "_x005F_x0041_"),
    *("_x0041", "_X0041_", "_x004a_", "_xZZZZ_", "_xD83D__xDE00_", "_x0000_", "a>b", "é", "]]&gt;"),
    *(
        "_x0041_x0042_",
        "&#95;x0041_",
        "\u00a0a\u00a0",
        "&#160;a",
        "&#32;a&#9;",
        "_x0020_a",
        "\x0ba",
    ),
    *(" _x0041_ ", "&#95;x0020_", "\u2028x\x85y", "a&amp;amp;b", "a" * 40, "é" * 40, "\x01", "𝄞"),
)
NUMERALS = (
    *("0", "-0", "1", "1.0", "1.50", "0.1", "29.020000000000003", "1e3", "1E+3", "1e-7", "007"),
    *("1.23456789012E+15", "12345678901234567890", "0.0009765625", "0.0029296875", "1e21", "1e22"),
    *("123456789.123456789", "9007199254740993", "999999999999999", "1000000000000000", "-1e-20"),
    *("-5", "-5.5", "123456.123456789", "0.123456789", "0.1234567891", "999999.999999999", "00"),
    *("1234567.891", "0.0", "12345678", "123456789", "1234567890123456", "4.35", "1e-320"),
)
DAYS = (
    *("0", "1", "59", "60", "61", "0.5", "45000.123456789", "2958465", "1e5", "4.5E4", "79999"),
    *("45000.00001", "45000.9999999999", "80000", "78538", "59.99999999999", "0.0000000058"),
)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        pytest.param('<c r="@" t="str"><v>{}</v></c>', MARKED, id="formula text"),
        pytest.param('<c r="@" t="str"><f>A1&amp;B1</f><v>{}</v></c>', MARKED, id="formula"),
        pytest.param('<c r="@" t="inlineStr"><is><t>{}</t></is></c>', MARKED, id="inline"),
        pytest.param(
            '<c r="@" s="2" t="inlineStr"><is><t xml:space="preserve">{}</t></is></c>',
            MARKED,
            id="inline with space",
        ),
        pytest.param('<c r="@" t="d"><v>{}</v></c>', ("2024-01-02", "x", "a&amp;b", ""), id="iso"),
        pytest.param('<c r="@"><v>{}</v></c>', NUMERALS, id="number"),
        pytest.param('<c r="@" s="5" t="n"><v>{}</v></c>', (*NUMERALS, ""), id="typed number"),
        pytest.param('<c r="@" s="1"><v>{}</v></c>', DAYS, id="date"),
        pytest.param('<c r="@" s="2"><v>{}</v></c>', DAYS, id="duration"),
        pytest.param('<c r="@" t="b"><v>{}</v></c>', ("0", "1", ""), id="boolean"),
        pytest.param(
            '<c r="@" t="e"><v>{}</v></c>',
            ("#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", ""),
            id="error",
        ),
        pytest.param('<c r="@" s="{}"><v>45000.5</v></c>', range(8), id="style"),
        pytest.param('<c r="@" s="{}"><v>45000.5</v></c>', range(9, 21), id="more styles"),
        pytest.param(
            '<c r="@" s="{}"><v>45000.5</v></c>', range(22, 24 + len(BUILT_IN)), id="built in"
        ),
        pytest.param(
            "{}",
            (
                *('<c r="@" t="inlineStr"><is><t/></is></c>', '<c r="@" t="inlineStr"/>'),
                *('<c r="@" t="str"><f>A1</f><v/></c>', '<c r="@"><f>A1</f><v/></c>'),
                *('<c r="@"/>', '<c r="@" t="s"><v></v></c>', '<c r="@" t="e"><f>A1</f><v/></c>'),
                *('<c r="@"><f>A1</f><v /></c>', '<c r="@" t="str"><v /></c>'),
                *('<c r="@" s="1" />', '<c r="@" s="1"></c>', '<c r="@" cm="1"><v>1</v></c>'),
                '<c r="@"><f t="shared" ref="B1:B2" si="0">A1&lt;2</f><v>1</v></c>',
                '<c r="@"><f t="shared" si="0"/><v>1</v></c>',
                '<c r="@" t="inlineStr"><is> <t>a</t> </is> </c>',
            ),
            id="empty",
        ),
    ],
)
def test_a_cell_has_the_text_that_fastexcel_gives(
    form: str, values: Iterable[object], tmp_path: Path
) -> None:
    path = write_xml(tmp_path / "a.xlsx", cells_xml([form.format(value) for value in values]))
    assert is_plain(path)


@pytest.mark.parametrize("days", DAYS)
def test_a_date_counted_from_1904_has_the_text_that_fastexcel_gives(
    days: str, tmp_path: Path
) -> None:
    path = write_xml(
        tmp_path / "a.xlsx",
        cells_xml([f'<c r="@" s="1"><v>{days}</v></c>']),
        properties='<workbookPr date1904="1"/>',
    )
    # What is past the year 9999 isn't plain.
    assert is_plain(path) == (days != "2958465")


@pytest.mark.parametrize(
    "cell",
    [
        *('<c t="n"><v>1</v></c>', '<c r="@" t="inlineStr"><is></is></c>'),
        *('<c r="@"><v>abc</v></c>', '<c r="@"><v> 5</v></c>', '<c r="@"><v>1_0</v></c>'),
        *('<c r="@"><v>inf</v></c>', '<c r="@"><v>NaN</v></c>', '<c r="@"><v>1e400</v></c>'),
        *('<c r="@"><v>+5</v></c>', '<c r="@"><v>.5</v></c>', '<c r="@"><v>5.</v></c>'),
        *('<c r="@" s="1"><v>-1</v></c>', '<c r="@" s="1"><v>2958466</v></c>'),
        *('<c r="@" s="1"><v>1e300</v></c>', '<c r="@" s="99"><v>1</v></c>'),
        *('<c r="@" t="b"><v>true</v></c>', '<c r="@" t="b"><v>00</v></c>'),
        *('<c r="@" t="e"><v>oops</v></c>', '<c r="@" t="x"><v>1</v></c>'),
        *('<c r="@" t="str"><f>A1</f></c>', '<c r="@"><f>A1</f></c>', '<c r="@"><f/></c>'),
        *('<c r="@" t="s"><v>0</v></c>', '<c r="@" t="inlineStr"><v>a</v></c>'),
        *('<c r="@"><is><t>a</t></is></c>', '<c r="@"><v>1</v><f>A1</f></c>'),
        '<c r="@" t="inlineStr"><is><r><t>a</t></r><r><t> b </t></r></is></c>',
        '<c r="@" t="inlineStr"><is><t>a</t><phoneticPr fontId="1"/></is></c>',
        '<c r="@" t="inlineStr"><is><t>a</t><t>b</t></is></c>',
        '<c r="@" t="inlineStr"><is><t foo="1"> a </t></is></c>',
        '<c r="@" t="inlineStr"><is><t xml:space=\'preserve\'> a </t></is></c>',
        '<c r="@" t="inlineStr"> <is><t>a</t></is></c>',
        '<c r="@" t="str"><v xml:space="preserve"> a </v></c>',
        '<c r="@" t="str"><v>&foo;</v></c>',
        '<c r="@" t="str"><v>&#0;</v></c>',
        '<c r="@" t="str"><v>&#xD800;</v></c>',
        '<c r="@" t="str"><v>a & b</v></c>',
        '<c r="@" t="str"><v><![CDATA[a]]></v></c>',
        '<c r="@"><v>1<!-- x -->2</v></c>',
        '<c r="@"><v>&#49;</v></c>',
        '<c r="@"><?x y?><v>1</v></c>',
        '<c  r="@"><v>1</v></c>',
        "<c r='@'><v>1</v></c>",
        '<c s="1" r="@"><v>1</v></c>',
        '<c r="@" r="C9"><v>1</v></c>',
        '<c r="@" t="n" t="s"><v>1</v></c>',
        '<c r="@"\n><v>1</v></c>',
        '<x:c r="@"><v>1</v></x:c>',
        '<c r="@"><v>1</v ></c>',
        '<c r="@"><v a="1"/></c>',
        '<c r="@"><v/ ></c>',
        '<c r="@"><v  /></c>',
        '<c r="@"><v>1</v><extLst><ext/></extLst></c>',
        '<c r="@" x=\'/><c r="C1"><v>1</v></c>\'/>',
        '<c r="@"><f a="/>"><v>1</v></c>',
        '<c r="@"><f><v>1</v></c>',
        '<c r="@"><v>1</v></c></c>',
        '<c r="$B$1"><v>1</v></c>',
        '<c r="b1"><v>1</v></c>',
        '<c r="AAA1"><v>1</v></c>',
        '<c r="B01"><v>1</v></c>',
        '<c r="B2"><v>1</v></c>',
        '<c r="A1"><v>1</v></c>',
        '<c r="B1234567890123"><v>1</v></c>',
        '<c r="B"><v>1</v></c>',
    ],
)
def test_an_unusual_cell_is_left_to_fastexcel(cell: str, tmp_path: Path) -> None:
    path = write_xml(tmp_path / "a.xlsx", cells_xml([cell]))
    with pytest.raises(NotPlainError):
        scanned(path)


@pytest.mark.parametrize(
    ("rows", "is_scanned"),
    [
        ("", True),
        ('<row r="1"/>', True),
        ('<row r="1"></row><row r="2"><c r="A2" s="1"/></row>', True),
        ('<row r="3"><c r="C3"><v>1</v></c></row>', True),
        ('<row r="1"/><row r="2" ht="15"/><row r="9"><c r="ZZ9"><v>1</v></c></row>', True),
        ('<row r="1"><c r="A1"><v>1</v></c></row> \n <row r="5"><c r="D5" s="1"/></row>', True),
        ('<row r="1048576"><c r="A1048576"><v>1</v></c></row>', True),
        ('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"/>', True),
        ('<row r="1" spans="1:2" x14ac:dyDescent="0.25"><c r="A1"><v>1</v></c></row>', True),
        ('<row r="1"><c r="A1"><v>1</v></c></row><row r="900000"><c r="ZZ900000"/></row>', True),
        ('<row r="1048577"><c r="A1048577"><v>1</v></c></row>', False),
        ('<row><c r="A1"><v>1</v></c></row>', False),
        ('<row r="0"><c r="A0"><v>1</v></c></row>', False),
        ('<row r="01"><c r="A01"><v>1</v></c></row>', False),
        ('<row r="2"><c r="A2"><v>1</v></c></row><row r="1"><c r="A1"><v>1</v></c></row>', False),
        ('<row r="1"><c r="A1"><v>1</v></c></row><row r="1"><c r="B1"><v>1</v></c></row>', False),
        ('<row r="1"><c r="A1"><v>1</v></c><c r="A1"><v>2</v></c></row>', False),
        ('<row r="1"><c r="B1"><v>1</v></c><c r="A1"><v>2</v></c></row>', False),
        ('<row r="1"><c r="A7"><v>1</v></c></row>', False),
        ('<row r="1"><c r="A1"><v>1</v></c>', False),
        ('<c r="A1"><v>1</v></c>', False),
        ('<row r="1"/><c r="A1"><v>1</v></c></row>', False),
        ('<row r="1" r="2"><c r="A1"><v>1</v></c></row>', False),
        ('<row r="1" a="<"><c r="A1"><v>1</v></c></row>', False),
        ('<row r="1048576"><c r="ZZ1048576"><v>1</v></c></row>', False),
        ('<row r="1"><c r="A1"><v>1</v></c></row><row r="99999999"/>', False),
        ("<rows/>", False),
    ],
)
def test_rows_keep_their_places_or_are_left_to_fastexcel(
    rows: str, *, is_scanned: bool, tmp_path: Path
) -> None:
    path = write_xml(tmp_path / "a.xlsx", rows)
    if is_scanned:
        assert_same(path)
    else:
        with pytest.raises(NotPlainError):
            scanned(path)


def test_a_cell_stands_in_the_column_and_row_of_its_reference(tmp_path: Path) -> None:
    path = write_xml(
        tmp_path / "a.xlsx",
        '<row r="2"><c r="C2"><v>1</v></c></row><row r="12"><c r="AB12"><v>2</v></c></row>',
    )
    found = scanned(path)
    assert (found.height, found.width) == (12, 28)
    assert (found.item(1, 2), found.item(11, 27)) == ("1", "2")
    assert sum(found.null_count().row(0)) == 12 * 28 - 2


@pytest.mark.parametrize(
    "item",
    [
        *("<si><t>{}</t></si>", '<si><t xml:space="preserve">{}</t></si>'),
        "<si><r><t>{}</t></r><r><rPr><b/></rPr><t> b </t></r></si>",
        '<si><r><t xml:space="preserve">{}</t></r><r><rPr><b/></rPr><t> b</t></r></si>',
        '<si><t>{}</t><rPh sb="0" eb="1"><t>ka</t></rPh><phoneticPr fontId="1"/></si>',
        '<si><r><t>a</t></r><rPh sb="0" eb="1"><t>ka</t></rPh><r><t>{}</t></r></si>',
        "<si>\n <t>{}</t>\n</si>",
    ],
)
def test_a_shared_text_is_what_fastexcel_makes_of_it(item: str, tmp_path: Path) -> None:
    # A run is read by expat, which refuses the characters that XML doesn't have.
    items = [item.format(text) for text in MARKED if not {"\x01", "\x0b"} & {*text}]
    items += ["<si></si>", "<si><t/></si>", "<si><r><rPr/></r></si>", "<si><r><t/></r></si>"]
    cells = [f'<c r="@" t="s"><v>{n}</v></c>' for n in range(len(items))]
    path = write_xml(tmp_path / "a.xlsx", cells_xml(cells), shared="".join(items))
    assert is_plain(path)


@pytest.mark.parametrize(
    "item",
    [
        *("<si/>", "<si><t>a</t>", "<t>a</t>", "<si><x:t>a</x:t></si>", "<si><t>&foo;</t></si>"),
        *(
            "<si><t>a<!-- b --></t></si>",
            "<si><t><![CDATA[a]]></t></si>",
            "<si><i><t>a</t></i></si>",
        ),
        *("<si><si><t>a</t></si></si>", "<si><t a='1'>a</t></si>", "<si><r><t>a</r></t></si>"),
    ],
)
def test_an_unusual_shared_text_is_left_to_fastexcel(item: str, tmp_path: Path) -> None:
    cells = ['<c r="@" t="s"><v>0</v></c>']
    path = write_xml(tmp_path / "a.xlsx", cells_xml(cells), shared=f"{item}<si><t>b</t></si>")
    with pytest.raises(NotPlainError):
        scanned(path)


# --- packages ---------------------------------------------------------------------------------

ROWS = '<row r="1"><c r="A1"><v>1</v></c></row>'


@pytest.mark.parametrize(
    "sheet",
    [
        f'<worksheet xmlns="{NAMESPACE}"><sheetData/></worksheet>',
        f'<worksheet xmlns="{NAMESPACE}"><dimension ref="A1"/><sheetData >{ROWS}</sheetData>'
        "</worksheet>",
        f'<worksheet xmlns="{NAMESPACE}">\n<sheetData>\n{ROWS}\n</sheetData></worksheet>',
    ],
)
def test_a_plain_sheet_is_scanned(sheet: str, tmp_path: Path) -> None:
    assert is_plain(write_xml(tmp_path / "a.xlsx", sheet=sheet))


@pytest.mark.parametrize(
    "sheet",
    [
        f'<x:worksheet xmlns:x="{NAMESPACE}"><y:sheetData>{ROWS}</y:sheetData></x:worksheet>',
        f'<worksheet xmlns="{NAMESPACE}"><!-- <sheetData> --><sheetData>{ROWS}</sheetData>',
        f"<worksheet a='<sheetData>'><sheetData>{ROWS}</sheetData></worksheet>",
        f'<worksheet a="> <sheetData> <b c="><sheetData>{ROWS}</sheetData></worksheet>',
        f"<!DOCTYPE worksheet><worksheet><sheetData>{ROWS}</sheetData></worksheet>",
        f"<worksheet><sheetData>{ROWS}</worksheet>",
        "<worksheet></worksheet>",
        "<chartsheet><sheetData></sheetData></chartsheet>",
    ],
)
def test_an_unusual_sheet_is_left_to_fastexcel(sheet: str, tmp_path: Path) -> None:
    path = write_xml(tmp_path / "a.xlsx", sheet=sheet)
    with pytest.raises(NotPlainError):
        scanned(path)


@pytest.mark.parametrize(
    "parts",
    [
        {"_rels/.rels": ""},
        {"_rels/.rels": "<Relationships/>"},
        {"xl/_rels/workbook.xml.rels": "<Relationships><Relationship/></Relationships>"},
        {"xl/workbook.xml": "<workbook>"},
        {"xl/workbook.xml": "<workbook/>"},
        {"xl/workbook.xml": "<!DOCTYPE x><workbook/>"},
        {"xl/workbook.xml": '<workbook><sheets><sheet name="S"/></sheets></workbook>'},
        {"xl/workbook.xml": "<workbook><sheets><sheet/></sheets></workbook>"},
        {"xl/workbook.xml": "<a>" * 1_000},
        {"xl/styles.xml": "<styleSheet>"},
        {"xl/worksheets/sheet1.xml": ""},
        {"xl/worksheets/SHEET1.xml": "x"},
        {"XL/workbook.xml": "x"},
    ],
)
def test_an_unusual_package_is_left_to_fastexcel(parts: dict[str, str], tmp_path: Path) -> None:
    path = write_xml(tmp_path / "a.xlsx", ROWS, **parts)
    with pytest.raises(NotPlainError):
        scanned(path)


def test_what_is_no_workbook_is_left_to_fastexcel(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    for content in (b"", b"x" * 10, b"x" * 1_000, b"\xd0\xcf\x11\xe0" * 300, b"PK\5\6" + bytes(18)):
        path.write_bytes(content)
        with pytest.raises(NotPlainError):
            open_workbook(path)


def test_an_archive_with_something_before_or_behind_it_is_left_to_fastexcel(
    tmp_path: Path,
) -> None:
    path = write_xml(tmp_path / "a.xlsx", ROWS)
    content = path.read_bytes()
    for changed in (b"before" + content, content + b"behind", content + content):
        path.write_bytes(changed)
        with pytest.raises(NotPlainError):
            open_workbook(path)


def test_a_stored_part_is_read(tmp_path: Path) -> None:
    path = write_xml(tmp_path / "a.xlsx", ROWS)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert scanned(path).rows() == [("1",)]


def test_text_that_is_not_utf_8_is_left_to_fastexcel(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    write_xml(path, cells_xml(['<c r="@" t="str"><v>MARK</v></c>']))
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    for bad in (b"\xff\xfe\xfd", b"ab\xc3", b"&amp;\xff"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content.replace(b"MARK", bad))
        with pytest.raises(NotPlainError):
            scanned(path)


def test_a_cell_in_a_part_past_its_declared_size_is_never_inflated(tmp_path: Path) -> None:
    path = write_xml(tmp_path / "a.xlsx", ROWS)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    entry = content.rindex(b"PK\1\2", 0, content.rindex(b"xl/worksheets/sheet1.xml"))
    assert int.from_bytes(content[entry + 24 : entry + 28], "little") == size
    content[entry + 24 : entry + 28] = (size - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(NotPlainError):
        scanned(path)


# --- pieces and batches -----------------------------------------------------------------------


@pytest.fixture(params=[200, 5_000])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", request.param)
    for module in (archive, pieces, prefix):
        monkeypatch.setattr(module, "INPUT_BYTES", request.param // 4)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("path", ORACLED, ids=lambda path: path.name)
def test_pieces_end_anywhere(path: Path) -> None:
    assert is_plain(path) == (path.name not in NOT_PLAIN_GOLDEN)


def prefixed(path: Path, target: Path, name: str) -> Path:
    """The workbook with a prefix before the names of its elements, as .NET's SDK writes them."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as out:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.startswith("xl/") and not info.filename.endswith(".rels"):
                content = re.sub(rb"<(/?)(?=[A-Za-z])", rb"<\1" + name.encode() + b":", content)
                content = content.replace(b" xmlns=", b" xmlns:" + name.encode() + b"=")
            out.writestr(info.filename, content)
    return target


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workbook of 30 members, which nobody changes."""
    path = tmp_path_factory.mktemp("sample") / "members.xlsx"
    write_sample(path, 30)
    return path


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", ["x", "main"])
def test_a_workbook_whose_names_have_a_prefix_is_scanned(
    name: str, tmp_path: Path, sample: Path
) -> None:
    plain_one = sample
    path = prefixed(plain_one, tmp_path / "prefixed.xlsx", name)
    # Beside fastexcel's, these are the texts that the other reader gives.
    assert is_plain(path)
    assert scanned(path).equals(scanned(plain_one))
    with closing(open_workbook(path)) as book, closing(open_workbook(plain_one)) as other:
        assert [sheet.name for sheet in book.sheets] == [sheet.name for sheet in other.sheets]
        assert book.claimed_rows(0) == other.claimed_rows(0)


@pytest.mark.usefixtures("small_pieces")
def test_small_batches_are_the_same_rows_as_one_large_batch(sample: Path) -> None:
    whole = scanned(sample)
    assert whole.height == 31
    assert_same(sample)
    for rows in (1, 7, 30, 31, 32):
        assert scanned(sample, rows=rows).equals(whole)


def test_a_reader_that_stops_early_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1 << 14)
    for module in (archive, pieces, prefix):
        monkeypatch.setattr(module, "INPUT_BYTES", 1 << 12)
    path = tmp_path / "members.xlsx"
    write_sample(path, 1_000)
    with closing(open_workbook(path)) as book:
        batches = book.batches(0, rows=10)
        assert next(batches).frame.height == 10
        batches.close()
        assert next(book.batches(0, rows=20)).frame.height == 20


def test_a_sheet_that_says_nothing_of_its_rows_claims_none(tmp_path: Path) -> None:
    with closing(open_workbook(write_xml(tmp_path / "a.xlsx", ROWS))) as book:
        assert book.claimed_rows(0) is None


@pytest.mark.parametrize(("claimed", "rows"), [("A1:C3", 3), ("B2", 2), ("A1:C1048576", None)])
def test_a_short_sheet_that_says_it_has_all_rows_is_not_believed(
    claimed: str, rows: int | None, tmp_path: Path
) -> None:
    sheet = (
        f'<worksheet xmlns="{NAMESPACE}"><dimension ref="{claimed}"/>'
        f"<sheetData>{ROWS}</sheetData></worksheet>"
    )
    with closing(open_workbook(write_xml(tmp_path / "a.xlsx", sheet=sheet))) as book:
        assert book.claimed_rows(0) == rows


# --- damage -----------------------------------------------------------------------------------


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 1, 3, 10))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def _copy(content: bytearray, chance: random.Random) -> None:
    size, source, target = (chance.randrange(len(content)) for _ in range(3))
    content[target : target + size % 40] = content[source : source + size % 40]


def assert_harmless(path: Path) -> None:
    """The file is scanned rightly or not at all, where fastexcel reads it."""
    try:
        found = scanned(path)
    except NotPlainError:
        return
    try:
        expected = without_errors(by_fastexcel(path))
    except BaseException:  # noqa: BLE001 - a panic of Rust code is no Exception
        # It knows more ways in which a workbook can be wrong, in parts that are of no use here.
        return
    assert trimmed(without_errors(found)) == trimmed(expected)


@pytest.mark.parametrize("damage", [_flip, _cut, _copy])
@pytest.mark.parametrize("name", ["messy.xlsx", "cell_types.xlsx", "same_openpyxl.xlsx"])
def test_a_damaged_archive_gives_no_other_text(
    name: str, damage: Callable[[bytearray, random.Random], None], tmp_path: Path
) -> None:
    chance = random.Random(name)
    original = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    for _ in range(EXAMPLES * 2):
        content = bytearray(original)
        damage(content, chance)
        path.write_bytes(content)
        assert_harmless(path)


PIECES_OF_XML = (
    *("<", ">", "/", '"', "'", "&", "&amp;", " ", "\n", "<v>", "</v>", "</c>", "<t>", "</is>", "s"),
    *(
        '<c r="B2">',
        '<row r="2">',
        "</row>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "?>",
        "9",
        "-",
    ),
    *('<c r="C1" t="s"/>', "</sheetData>", "<sheetData>", "_x0041_", "é", "A", "1", "0", "e", "."),
)


@pytest.mark.parametrize(
    "name", ["messy.xlsx", "cell_types.xlsx", "same_openpyxl.xlsx", "dates.xlsx"]
)
@pytest.mark.parametrize("part", ["worksheets/sheet1.xml", "sharedStrings.xml", "styles.xml"])
def test_damaged_xml_gives_no_other_text(name: str, part: str, tmp_path: Path) -> None:
    chance = random.Random(name + part)
    with zipfile.ZipFile(GOLDEN / name) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist()}
    if f"xl/{part}" not in contents:
        part = "workbook.xml"
    original = contents[f"xl/{part}"]
    path = tmp_path / name
    for _ in range(EXAMPLES * 2):
        content = bytearray(original)
        for _ in range(chance.choice((1, 1, 2, 3))):
            at = chance.randrange(len(content))
            insert = chance.choice(PIECES_OF_XML).encode()
            content[at : at + chance.choice((0, 0, 1, len(insert)))] = insert
        with zipfile.ZipFile(path, "w") as archive:
            for entry, old in contents.items():
                archive.writestr(entry, bytes(content) if entry == f"xl/{part}" else old)
        assert_harmless(path)
