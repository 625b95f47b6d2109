"""Read: the table with the members, as text, from a workbook or a CSV file, batch by batch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import polars as pl

from rollbook.errors import (
    FileProblemError,
    MissingColumnsError,
    NoIdColumnError,
    NoRowsError,
    NoSuchHeaderError,
    NoSuchSheetError,
)
from rollbook.languages import joined, listed, phrase
from rollbook.masking import masked
from rollbook.model import EVERYWHERE
from rollbook.pipeline import header as header_rows
from rollbook.pipeline import legends, marked, misplaced, no_members, tables, totals
from rollbook.pipeline.body import Body
from rollbook.pipeline.body import notes as notes_on_repeats
from rollbook.pipeline.columns import (
    ColumnMap,
    decision_keys,
    fingerprint,
    key,
    missing_hint,
    own,
    title,
)
from rollbook.pipeline.header import Header, is_number
from rollbook.pipeline.joined_sheets import Stack
from rollbook.pipeline.lines import Lines
from rollbook.pipeline.reading import ColumnUsed, How, Note, Reading, SheetNotRead
from rollbook.spreadsheets.books.merged import MergedCells
from rollbook.spreadsheets.inspect.archive import Limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
    from pathlib import Path

    from rollbook.model import Scope
    from rollbook.pipeline.csv_text import CsvText
    from rollbook.pipeline.tables import Table
    from rollbook.spreadsheets.books.book import Rows

ROW_NUMBER: Final = header_rows.ROW_NUMBER
#: The number of rows that are searched for the header row: titles and notes may be above it.
HEADER_SEARCH_ROWS = header_rows.SEARCH_ROWS
#: Rows of a batch in the pipeline: enough for polars to be fast, few enough that a file of any
#: length needs only the memory of a few batches.
BATCH_ROWS = 50_000

#: Of a sheet's name in Excel.
MOST_NAME_CHARS = 31
_MOST_QUOTED = 10
#: Headers come from the file: as names in an expression, "*" and "^...$" would be patterns.
_HAS_VALUE: Final = pl.any_horizontal(pl.all().str.strip_chars().fill_null("") != "")

#: In place of a sheet's name: all visible sheets with members.
ALL_SHEETS: Final = "*"


#: The columns of a table of problems that concern whole rows.
ROW_PROBLEMS: Final[dict[str, type[pl.DataType]]] = {ROW_NUMBER: pl.UInt32, "code": pl.String}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A batch of a table as it is in the file."""

    #: ``row_number`` (UInt32, as the spreadsheet program counts), then the file's own columns in
    #: their order, all of them text. Rows without any value are left out. A later batch may have
    #: more columns after those of an earlier one, never fewer.
    frame: pl.DataFrame
    sheet_name: str
    columns: ColumnMap
    #: Of the header row; see ``columns.fingerprint``.
    fingerprint: str
    #: The file's own row count of the whole table: an estimate. None where the file has none.
    rows_expected: int | None = None
    #: Columns of a text file after the last that has a header; a value in one of them was moved
    #: there. The cells of a workbook are where they were put.
    unheaded: tuple[str, ...] = ()
    #: Rows that are refused or doubtful as a whole: ``row_number`` and the ``code`` of the problem.
    row_problems: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ROW_PROBLEMS))
    #: Of the file up to this batch.
    reading: Reading = field(default_factory=Reading)
    #: Whether the workbook counts days from 1904.
    is_1904: bool = False
    #: Whether the spreadsheet program hides the sheet; it is read where the sender names it.
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sender's choices for the file, and the office's mappings from earlier ones."""

    #: The name of the sheet; None for the first visible one that has a column of ID numbers,
    #: ``ALL_SHEETS`` for all of these.
    sheet: str | None = None
    #: The field by header; see ``columns.map_headers``.
    columns: Mapping[str, str | None] | None = None
    #: The same for earlier files, by the fingerprint of their headers.
    remembered: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    #: A table may have passport numbers and no ID numbers.
    accepts_passports: bool = False
    #: The file lists people who are to be removed: a sheet ``Deceased`` is what is wanted.
    is_removal: bool = False
    #: Rows such as titles between the members may be there; see ``lines``.
    has_lines: bool = True
    #: As the sender has it; "Deceased 2023.xlsx" says that its people are no members.
    file_name: str = ""
    #: Whose file it is: rows without a place are this office's.
    office: Scope = EVERYWHERE

    def find(self, rows: Iterable[Sequence[str | None]]) -> Header | None:
        """The header row among the first rows of a table."""
        return header_rows.find(rows, self.mapping, accepts_passports=self.accepts_passports)

    def check(self, headers: Sequence[str]) -> None:
        """Raise ``NoSuchHeaderError`` where the sender's mapping names a header that is not here.

        Such a mapping has a typing error or is another file's, and must not be learnt.
        """
        there = {key(header) for header in headers}
        missing = [header for header in self.columns or () if key(header) not in there]
        if missing:
            raise NoSuchHeaderError(
                phrase(
                    "refusal.file.no_header",
                    missing=_quoted(missing),
                    headers=_quoted(own(headers)),
                )
            )

    def mapping(self, headers: Sequence[str]) -> tuple[Mapping[str, str | None], How]:
        """The field by header as the sender or the office said it, and which of them it was."""
        if self.columns is not None:
            return self.columns, "given"
        if not self.remembered:
            return {}, "known"
        return self.remembered.get(fingerprint(headers), {}), "remembered"


def read(
    path: Path,
    kind: str,
    wanted: Wanted | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
    limits: Limits | None = None,
    needs_names: bool = True,
) -> Iterator[Sheet]:
    """Read the wanted sheet, or the first that has a column of ID numbers.

    ``inspection`` has checked the limits of a workbook's content before. ``needs_names`` refuses a
    table without columns of names; it is false where the file is only looked at.

    Yields:
        The table's batches; none of them is empty, and there is one at least.

    Raises:
        UnreadableFileError: the parser can't read it, or it has a password.
        NoSuchSheetError: the workbook has no sheet of the wanted name.
        NoIdColumnError: no sheet has a column of ID numbers.
        MissingColumnsError: the first names or surnames are missing.
        NoRowsError: there is nothing below the headers.
    """
    wanted, limits = wanted or Wanted(), limits or Limits()
    batch_rows = max(batch_rows, HEADER_SEARCH_ROWS)
    with tables.opened(path, kind, wanted.find, limits) as found:
        yield from _Reading(found, wanted, batch_rows, limits, needs_names=needs_names).sheets()


class _Opened(NamedTuple):
    """A table whose header row is found."""

    table: Table
    #: All its rows, from the first on.
    batches: Iterator[_Batch]
    header: Header
    #: None where each row is a member's.
    lines: Lines | None
    #: What the first rows say of the table as a whole.
    notes: tuple[Note, ...] = ()
    #: Its name or the file's says that its people are no members, and nobody has named it.
    is_of_former: bool = False

    @property
    def is_left_out(self) -> bool:
        """Whether it isn't read beside others, for its name or its title."""
        return self.is_of_former or (self.lines is not None and self.lines.is_titled_so)


class _Batch(NamedTuple):
    """Some rows of a table."""

    first_row: int
    #: The cells, where merged ones have their value everywhere.
    frame: pl.DataFrame
    #: The cells as they are in the file.
    own: pl.DataFrame
    #: Numbers of hidden rows.
    hidden: list[int]
    #: Row number and column index of cells whose value comes from a merged cell to their left.
    across: list[tuple[int, int]]
    hidden_columns: list[range]


class _Reading:
    """Finds the table with the members among those of a file, and reads it."""

    def __init__(
        self,
        tables: Sequence[Table],
        wanted: Wanted,
        batch_rows: int,
        limits: Limits,
        *,
        needs_names: bool,
    ) -> None:
        self._tables, self._wanted, self._needs_names = tables, wanted, needs_names
        self._batch_rows, self._most_columns = batch_rows, limits.columns
        #: Headers of tables without a column of ID numbers, for the sentence.
        self._seen: list[str] = []
        #: Whether one of them has its headers below one another.
        self._is_sideways = False
        #: Visible ones that hold members all the same, in order.
        self._unheaded: dict[str, None] = {}
        #: Of the first table that has such a column and nothing in it, such as a template.
        self._empty: ColumnMap | None = None
        #: The tables with a title above the headers that says that their people are no members.
        self._titled: set[str] = set()
        #: The note on a sheet that says what codes mean.
        self._legends: list[Note] = []

    def sheets(self) -> Iterator[Sheet]:
        """The batches of the wanted table, or of the first visible one that holds members."""
        if self._wanted.sheet == ALL_SHEETS:
            yield from self._all_sheets()
            return
        queue = self._wanted_tables()
        count = len(queue)
        for number, table in enumerate(queue, start=1):
            opened = self._opened(table)
            if opened is None:
                continue
            # A title says so only now. The others come first.
            if number < count and table.name in self._titled:
                queue.append(table)
                continue
            self._empty = self._empty or opened.header.columns
            others: tuple[SheetNotRead, ...] | None = None
            for sheet in _sheets(opened, self._most_columns):
                if sheet.frame.is_empty():
                    continue
                self._wanted.check(sheet.frame.columns[1:])
                if sheet.columns.missing and self._needs_names:
                    raise MissingColumnsError(_missing(sheet.columns))
                if others is None:
                    others = tuple(self._other(one) for one in self._tables if one is not table)
                yield self._beside(sheet, others)
            if others is not None:
                return
        self._refuse()

    def _all_sheets(self) -> Iterator[Sheet]:
        """The batches of all visible tables with members, as one table."""
        members = []
        others = []
        for table in self._tables:
            opened = None if table.is_hidden else self._opened(table)
            if opened is not None:
                self._empty = self._empty or opened.header.columns
            if opened is None or (opened.header.columns.missing and self._needs_names):
                others.append(self._other(table))
            else:
                members.append(opened)
        # Beside others, such a sheet is read only where it is named.
        if any(not opened.is_left_out for opened in members):
            others += [self._other(one.table) for one in members if one.is_left_out]
            members = [opened for opened in members if not opened.is_left_out]
        stack = Stack()
        is_empty = True
        for opened in members:
            stack.begin(opened.table.name)
            for sheet in _sheets(opened, self._most_columns):
                if not sheet.frame.is_empty():
                    is_empty = False
                    yield self._beside(stack.add(sheet), others)
        if is_empty:
            self._refuse()

    def _wanted_tables(self) -> list[Table]:
        wanted = self._wanted.sheet
        if wanted is None:
            shown = [table for table in self._tables if not table.is_hidden]
            return sorted(shown, key=lambda table: self._is_former(table.name))
        found = [table for table in self._tables if sheet_key(table.name) == sheet_key(wanted)]
        if not found:
            # A hostile workbook's names may have any length.
            names = [masked(table.name)[:MOST_NAME_CHARS] for table in self._tables[:20]]
            sheets = ", ".join(f"'{name}'" for name in names)
            raise NoSuchSheetError(phrase("refusal.file.no_sheet", sheet=wanted, sheets=sheets))
        exact = [table for table in found if table.name == wanted]
        return exact or found

    def _opened(self, table: Table, batch_rows: int | None = None) -> _Opened | None:
        """The table with its header row; None where it has none."""
        batches = table.open(batch_rows or self._batch_rows)
        first = tables.first_rows(batches)
        prepared = _prepared(chain([first], batches))
        start = next(prepared)
        header = self._wanted.find(start.frame.iter_rows())
        if header is None:
            self._seen.extend(misplaced.first_texts(start.own.head(HEADER_SEARCH_ROWS)))
            self._is_sideways = self._is_sideways or misplaced.lies_on_its_side(start.own)
            # Each cell is looked at by itself, and a small file may claim 100,000 columns.
            looked_at = start.own.head(HEADER_SEARCH_ROWS)[:, : self._most_columns]
            if not table.is_hidden and misplaced.hold_people(looked_at):
                self._unheaded[table.name] = None
            self._legends = self._legends or [*legends.on_sheet(looked_at)]
            return None
        # The looks below take each column by itself, and a small file may claim 100,000 of them.
        if start.frame.width > self._most_columns:
            raise tables.too_wide(self._most_columns)
        misplaced.check_above(start.frame.head(header.index), header)
        wanted = self._wanted
        is_asked = wanted.is_removal or self._is_named_so(table.name)
        kind = {"is_removal": is_asked, "takes_away": wanted.is_removal}
        lines = Lines(header, start.own, **kind) if wanted.has_lines else None
        if lines is not None and lines.is_titled_so:
            self._titled.add(table.name)
        carried: Collection[str] = () if lines is None else lines.carried
        notes = tuple(misplaced.notes(start.frame, header, table.name, carried, wanted.office))
        is_of_former = self._is_former(table.name) or self._is_file_of_former(table.name)
        return _Opened(table, chain([start], prepared), header, lines, notes, is_of_former)

    def _is_former(self, name: str) -> bool:
        """Whether a sheet that nobody has named says that its people are no members."""
        is_named = self._wanted.sheet not in {None, ALL_SHEETS}
        return not (is_named or self._wanted.is_removal) and no_members.says_no_members(name)

    def _is_named_so(self, name: str) -> bool:
        """Whether the sender has named a sheet whose name says so, and has decided."""
        is_named = self._wanted.sheet not in {None, ALL_SHEETS}
        return is_named and no_members.says_no_members(name)

    def _is_file_of_former(self, name: str) -> bool:
        """Whether the file's name says so of a sheet, and no visible one's name explains it."""
        if self._wanted.is_removal or no_members.says_members(name):
            return False
        is_explained = (
            no_members.file_says_no_members(table.name)
            for table in self._tables
            if not table.is_hidden
        )
        return no_members.file_says_no_members(self._wanted.file_name) and not any(is_explained)

    def _beside(self, sheet: Sheet, others: Sequence[SheetNotRead]) -> Sheet:
        """A batch with what is said of the tables beside it, which aren't read."""
        people = [one.name for one in others if one.holds_members and not one.is_hidden]
        former = [name for name in people if self._is_former(name) or name in self._titled]
        more = [name for name in people if name not in former]
        notes = [*sheet.reading.notes]
        unheaded = [*self._unheaded]
        if self._wanted.sheet == ALL_SHEETS:
            unheaded += more
        elif more:
            values = {"n": len(more), "sheets": _quoted(more), "all": ALL_SHEETS}
            notes.append(Note("more_sheets", values=values))
        notes += [*no_members.notes(former), *self._legends]
        if unheaded:
            values = {"n": len(unheaded), "sheets": _quoted(unheaded)}
            notes.append(Note("sheets_without_headers", values=values))
        reading = replace(sheet.reading, sheets_not_read=tuple(others), notes=tuple(notes))
        return replace(sheet, reading=reading)

    def _other(self, table: Table) -> SheetNotRead:
        """What is said of a table that isn't read."""
        rows, holds_members = None, False
        # Sheets that aren't read may be damaged.
        with suppress(FileProblemError):
            rows = table.rows()
            opened = self._opened(table, 2 * HEADER_SEARCH_ROWS)
            if opened is not None:
                rows = None if rows is None else max(rows - opened.header.index - 1, 0)
                found = _sheets(opened, self._most_columns)
                heights = (sheet.frame.height for sheet in found)
                holds_members = any(heights)
                if holds_members and rows is None:
                    rows = self._count(table)
        return SheetNotRead(table.name, rows, table.is_hidden, holds_members)

    def _count(self, table: Table) -> int:
        opened = self._opened(table)
        assert opened is not None
        return sum(sheet.frame.height for sheet in _sheets(opened, self._most_columns))

    def _refuse(self) -> NoReturn:
        """Raise the error that says why no table can be read."""
        if self._empty is not None:
            if self._empty.missing:
                raise MissingColumnsError(_missing(self._empty))
            raise NoRowsError(phrase("refusal.no_rows"))
        for table in self._tables:
            if table.is_hidden and self._wanted.sheet is None and self._other(table).holds_members:
                name = masked(table.name)[:MOST_NAME_CHARS]
                raise NoIdColumnError(phrase("refusal.file.hidden_sheet", sheet=name))
        if self._is_sideways:
            raise NoIdColumnError(phrase("refusal.file.sideways"))
        headers = ", ".join(f"'{header}'" for header in self._seen[:10]) or phrase(
            "refusal.no_headers"
        )
        raise NoIdColumnError(
            phrase("refusal.no_id_column", column=title("id_number"), headers=headers)
        )


def _prepared(batches: Iterator[Rows]) -> Iterator[_Batch]:
    """The rows with their numbers, and with the values of merged cells."""
    merged = MergedCells()
    hidden_columns: list[range] = []
    first_row = 1
    for rows in batches:
        hidden_columns += rows.hidden_columns
        merged.add(rows.merged)
        own = tables.with_short_cells(rows.frame)
        frame, across = merged.fill(own, first_row)
        yield _Batch(first_row, frame, own, rows.hidden, across, hidden_columns)
        first_row += own.height


def sheet_key(name: str) -> str:
    """A sheet's name as it is compared."""
    return " ".join(name.split()).casefold()


def _quoted(headers: Sequence[str]) -> str:
    """Some headers, as a person reads them; a hostile file's may be as long as it likes."""
    first = [f"'{header[:MOST_NAME_CHARS]}'" for header in headers[:_MOST_QUOTED]]
    return listed(first, _MOST_QUOTED, len(headers))


def _missing(columns: ColumnMap) -> str:
    words = joined(map(title, columns.missing))
    return phrase("refusal.missing_columns", columns=words) + missing_hint(columns)


def _sheets(opened: _Opened, most_columns: int) -> Iterator[Sheet]:
    """The batches below the header row; those above and the row itself count as rows only."""
    table, header, lines = opened.table, opened.header, opened.lines
    claimed = table.rows()
    expected = None if claimed is None else max(claimed - header.index - 1, 0)
    body = Body(header)
    repeated = misplaced.repeated(header)
    hidden_rows = 0
    before = (*opened.notes, *marked.notes(table.marks(), header.index + 1))
    filled: set[str] = set()
    total_rows: list[int] = []
    for batch in opened.batches:
        if batch.frame.width > most_columns:
            raise tables.too_wide(most_columns)
        skipped = header.index + 1 if batch.first_row == 1 else 0
        for part in body.parts(batch.frame.slice(skipped), batch.first_row + skipped):
            cells = part.drop(ROW_NUMBER)
            misplaced.check_beside(cells, header, repeated)
            columns = body.columns
            first_row = int(part[0, ROW_NUMBER])
            # A row in which only merged cells have a value doesn't count.
            own_cells = batch.own.slice(first_row - batch.first_row, part.height)
            has_value = _have_value(own_cells, header.id_column)
            in_part: list[int] = []
            if (are := totals.are_totals(cells, columns)) is not None:
                in_part = part.filter(are)[ROW_NUMBER].to_list()
                has_value &= ~are
            total_rows += in_part
            if lines is not None:
                part, has_value = lines.apart(part, own_cells, has_value, in_part)  # noqa: PLW2901
                columns = lines.added_to(columns)
            frame = part if has_value.all() else part.filter(has_value)
            if batch.hidden:
                hidden_rows += int(frame[ROW_NUMBER].is_in(batch.hidden).sum())
            filled |= _filled(frame, set(columns.unknown) - filled)
            reading = replace(
                table.reading,
                header_row=header.index + 1,
                columns_used=_used(header, columns),
                columns_not_read=tuple(
                    name
                    for name in own(part.columns[1:])
                    if name in filled and key(name) not in decision_keys()
                ),
                hidden_rows=hidden_rows,
                hidden_columns=_hidden_headers(header, batch.hidden_columns),
                notes=(
                    *table.reading.notes,
                    *before,
                    *marked.notes_on_parts(are_struck=table.are_parts_struck()),
                    *totals.notes(total_rows),
                    *notes_on_repeats(body.repeats),
                    *(lines.notes() if lines is not None else ()),
                ),
            )
            sheet = Sheet(
                frame,
                table.name,
                columns,
                header.fingerprint,
                expected,
                row_problems=_row_problems(opened, frame, batch.across, columns),
                reading=reading,
                is_1904=table.is_1904,
                is_hidden=table.is_hidden,
            )
            yield sheet if table.text is None else _of_text(sheet, table.text, body)


def _row_problems(
    opened: _Opened, frame: pl.DataFrame, across: Sequence[tuple[int, int]], columns: ColumnMap
) -> pl.DataFrame:
    """The problems of rows as a whole, but for those of a text file's form."""
    names = opened.header.names
    read = {column for column, name in enumerate(names) if name in columns.known}
    # Rows in which a field has its value from a merged cell to its left.
    found = [_of_rows(sorted({row for row, column in across if column in read}), "merged_across")]
    if opened.lines is not None:
        found.append(_of_rows(opened.lines.doubted, opened.lines.code))
    if opened.is_of_former:
        found.append(_of_rows(frame[ROW_NUMBER], no_members.CODE))
    return pl.concat(found)


def _of_rows(rows: Sequence[int] | pl.Series, code: str) -> pl.DataFrame:
    """The problem of these rows as wholes."""
    return pl.DataFrame({ROW_NUMBER: rows, "code": [code] * len(rows)}, ROW_PROBLEMS)


def _of_text(sheet: Sheet, text: CsvText, body: Body) -> Sheet:
    """What is known of a text file's rows beside their cells."""
    if sheet.frame.is_empty():
        return sheet
    first, last = int(sheet.frame[0, ROW_NUMBER]), int(sheet.frame[-1, ROW_NUMBER])
    problems = text.problems_between(first, last, headed=body.headed)
    row_problems = pl.concat([sheet.row_problems, problems])
    return replace(sheet, unheaded=body.unheaded, row_problems=row_problems)


def _have_value(cells: pl.DataFrame, id_column: int) -> pl.Series:
    """The rows in which any cell holds more than blanks."""
    if id_column >= cells.width:
        return cells.select(_HAS_VALUE).to_series()
    # Almost every row has a number in one column, so that column is checked first.
    has_number = is_number(cells.to_series(id_column))
    if has_number.all():
        return has_number
    others = (~has_number).arg_true()
    return has_number.scatter(others, cells[others].select(_HAS_VALUE).to_series())


def _used(header: Header, columns: ColumnMap) -> Mapping[str, ColumnUsed]:
    """The columns that are read, and why each is read as its field."""
    named = {key(name) for name, field in header.given.items() if field}
    names = header.names
    tiers = {names[column] for column in header.tiers}

    def how(name: str) -> How:
        if key(name) in named:
            return header.how
        return "tiers" if name in tiers else "known"

    return {name: ColumnUsed(field, how(name)) for name, field in columns.known.items()}


def _filled(frame: pl.DataFrame, names: Set[str]) -> set[str]:
    """Those of the columns that hold any text but blanks."""
    # By position: in an expression, a header such as "^ID$" would be a pattern.
    places = [n for n, name in enumerate(frame.columns) if name in names]
    texts = frame.select(pl.nth(places).str.strip_chars()) if places else pl.DataFrame()
    return {column.name for column in texts if (column != "").any()}


def _hidden_headers(header: Header, hidden: list[range]) -> tuple[str, ...]:
    """The headers of the hidden columns, where the file names them."""
    return tuple(
        header.names[column]
        for column, text in enumerate(header.texts)
        if text and any(column in columns for columns in hidden)
    )
