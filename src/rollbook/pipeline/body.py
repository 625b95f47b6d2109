"""The rows below a header row, and the rows among them that have headers again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.errors import SecondTableError
from rollbook.languages import listed
from rollbook.masking import masked
from rollbook.pipeline.cells import nulls
from rollbook.pipeline.columns import FULL_NAME, key, map_headers, unique_headers, variants
from rollbook.pipeline.header import ROW_NUMBER, are_words, field_of, is_number, one_line
from rollbook.pipeline.reading import Note
from rollbook.spreadsheets.workbook.worksheet import letters_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rollbook.pipeline.columns import ColumnMap
    from rollbook.pipeline.header import Header, Texts

#: The most characters of a header in a sentence; a longer one is cut.
_MOST_QUOTED: Final = 30
_AT: Final = "row_index"
_OTHER_TABLE: Final = (
    "Row {0} has headers again, and other ones than row {1}: column {2} is '{3}' there and '{4}' "
    "above. So the rows below it are another table. Nothing was changed. Bring the columns into "
    "one order, or send each table in a file of its own."
)
_NAMES: Final = ("firstname", "surname", FULL_NAME)
#: Headers that are names of people too: they say nothing in a row without an ID number.
_ALSO_NAMES: Final = frozenset({"fane", "ibizo", "leina", "maina", "van", "vito", "wyk"})
#: Of an ID number or a passport.
_LONG_NUMBER: Final = r"(?:[0-9][^0-9]*){5}"


class Body:
    """The rows below a header row, under its names and those of the header rows further below."""

    def __init__(self, header: Header) -> None:
        self._given = header.given
        self._id_column = header.id_column
        self._first_number = header.index + 1
        #: The header of each column of the file; empty where it has none.
        self._texts: list[str] = []
        #: The columns of the frames: the name, the column of the file that is under it now, and
        #: whether there was a value in it where the file had no header for it.
        self._names: list[str] = []
        self._sources: list[int | None] = []
        self._is_filled: list[bool] = []
        self._widen(len(header.texts))
        self._texts = list(header.texts)
        self._names = [*header.names]
        self._identity = header.identity
        known, wanted = variants(), (self._identity, *_NAMES)
        #: A row of headers has one of these texts at least.
        self._keys = {
            *(key(name) for field in wanted for name in known[field]),
            *(key(name) for name, field in header.given.items() if field in wanted),
        }
        self.columns: ColumnMap = header.columns
        #: The numbers of the rows that repeat the headers.
        self.repeats: list[int] = []
        #: The error of a row of other headers, where there are members below it.
        self._other_table: SecondTableError | None = None

    @property
    def unheaded(self) -> tuple[str, ...]:
        """The names of the columns after the last that has a header."""
        named = zip(self._names, self._sources, strict=True)
        return tuple(name for name, source in named if source is not None and source >= self.headed)

    @property
    def headed(self) -> int:
        """Columns of the file up to the last that has a header."""
        return max((at for at, text in enumerate(self._texts, 1) if text), default=0)

    def parts(self, batch: pl.DataFrame, first_number: int) -> Iterator[pl.DataFrame]:
        """The rows of a batch that aren't headers, cut where a header row is between them.

        ``first_number`` is the number of the batch's first row.

        Yields:
            Frames with ``row_number`` first. A later one may have more columns at its end; a
            column that a header row further below gives a name is a new one.

        Raises:
            SecondTableError: a row has other headers than those above.
        """
        start = below = 0
        for at in self._header_rows(batch):
            self._check_other_table(batch.slice(below, at - below))
            below = at + 1
            row, number = [one_line(cell) for cell in batch.row(at)], first_number + at
            other = self._other_headers(row, number)
            if other is not None and not self._names_identity(row):
                # It may be a line to sign on: it is another table's if there are members below it.
                self._other_table = other
                continue
            if other is not None:
                raise other
            if at > start:
                yield self._named(batch.slice(start, at - start), first_number + start)
            # What was only a line to sign on ends where the headers come again.
            self._other_table = None
            self._take_over(row, number)
            start = at + 1
        self._check_other_table(batch.slice(below))
        if start < batch.height:
            yield self._named(batch.slice(start), first_number + start)

    def _check_other_table(self, rows: pl.DataFrame) -> None:
        """Raise the error of other headers above these rows, if they have numbers of people."""
        if self._other_table is None or self._id_column >= rows.width:
            return
        if rows.to_series(self._id_column).str.contains(_LONG_NUMBER).any():
            raise self._other_table

    def _header_rows(self, batch: pl.DataFrame) -> list[int]:
        """The rows of headers: they name columns, and have no number in that of the ID numbers."""
        ids = batch.to_series(self._id_column) if self._id_column < batch.width else None
        # Almost every cell is a number, which is checked quickly.
        rows = batch.with_row_index(_AT)
        if ids is not None:
            rows = rows.filter(~is_number(ids))
        if rows.is_empty():
            return []
        key_of = pl.exclude(_AT).str.to_lowercase().str.replace_all(r"[^\pL\pN]+", "")
        suspects = rows.filter(pl.any_horizontal(key_of.is_in(list(self._keys))))
        return [at for at, *row in suspects.iter_rows() if self._is_header(row)]

    def _is_header(self, row: Texts) -> bool:
        """Whether a row has headers; a member's row may hold such words too."""
        cells = [one_line(cell) for cell in row]
        texts = [text for text in cells if text]
        if not texts or not are_words(texts):
            return False
        fields = [field for text in texts if (field := field_of(text, self._given))]
        if set(fields).isdisjoint(_NAMES):
            return False
        if not self._names_identity(cells):
            return self._is_without_identity(texts)
        same = sum(
            self._is_same(before, text)
            for before, text in zip(self._texts, cells, strict=False)
            if text
        )
        # Most cells are headers: those above again, or others that differ from each other.
        is_again = 2 * same >= len(texts)
        return is_again or (len(set(texts)) == len(texts) <= 2 * len(fields))

    def _is_without_identity(self, texts: Sequence[str]) -> bool:
        """Whether a row names columns that are not the ID numbers', such as "Surname" and "Name".

        The column of the ID numbers has no header there, or one that isn't known.
        """
        sure = [text for text in texts if key(text) not in _ALSO_NAMES]
        known = {field for text in sure if (field := field_of(text, self._given))}
        if known.isdisjoint(_NAMES) or len(set(texts)) < len(texts):
            return False
        return len(known) > 1 and len(texts) <= 2 * len(known)

    def _other_headers(self, texts: Sequence[str], number: int) -> SecondTableError | None:
        """The error for a row whose headers aren't those above; None where they are."""
        for column, (before, text) in enumerate(zip(self._texts, texts, strict=False)):
            is_known = self._is_same(before, text) or self._may_be_identity(column, text)
            if before and text and not is_known:
                return SecondTableError(
                    _OTHER_TABLE.format(
                        number,
                        self._first_number,
                        letters_of(column),
                        _quoted(text),
                        _quoted(before),
                    )
                )
        return None

    def _take_over(self, texts: Sequence[str], number: int) -> None:
        """Add what a header row says of columns that have no header above."""
        self._widen(len(texts))
        for column, text in enumerate(texts):
            if text and not self._texts[column]:
                self._name(column, text)
        self.repeats.append(number)
        self.columns = map_headers(self._names, self._given)

    def _names_identity(self, texts: Sequence[str]) -> bool:
        """Whether a row of headers has one in the column of the ID numbers, and names these."""
        fields = [field_of(text, self._given) for text in texts if text]
        is_there = self._id_column < len(texts) and bool(texts[self._id_column])
        return is_there and self._identity in fields

    def _may_be_identity(self, column: int, text: str) -> bool:
        """Whether an unknown header, such as "Identity", is above ID numbers: each row is checked.

        It isn't where the row has the header of ID numbers elsewhere, since that has a name there.
        """
        return (
            column == self._id_column
            and self._identity == "id_number"
            and field_of(text, self._given) is None
        )

    def _is_same(self, before: str, text: str) -> bool:
        if key(before) == key(text):
            return True
        return field_of(before, self._given) == field_of(text, self._given)

    def _name(self, column: int, text: str) -> None:
        """Give a column that has no header one, from here on."""
        self._texts[column] = text
        at = self._sources.index(column)
        if self._is_filled[at]:
            # What is further above isn't under this header, and stays where it is.
            self._sources[at] = None
            at = len(self._names)
            self._names.append("")
            self._sources.append(column)
            self._is_filled.append(False)
        others = [*self._names[:at], *self._names[at + 1 :]]
        [self._names[at]] = unique_headers([text], taken={ROW_NUMBER, *others})

    def _widen(self, width: int) -> None:
        """Make room for columns that no header row has."""
        for column in range(len(self._texts), width):
            self._texts.append("")
            self._names += unique_headers(
                [f"Column {column + 1}"], taken={ROW_NUMBER, *self._names}
            )
            self._sources.append(column)
            self._is_filled.append(False)

    def _named(self, rows: pl.DataFrame, first_number: int) -> pl.DataFrame:
        self._widen(rows.width)
        columns = []
        for at, (name, source) in enumerate(zip(self._names, self._sources, strict=True)):
            if source is None or source >= rows.width:
                columns.append(nulls(rows.height, name))
                continue
            column = rows.to_series(source)
            if not self._texts[source] and not self._is_filled[at]:
                self._is_filled[at] = column.null_count() < len(column)
            columns.append(column.alias(name))
        return pl.DataFrame(columns).with_row_index(ROW_NUMBER, offset=first_number)


def _quoted(text: str) -> str:
    return masked(text)[:_MOST_QUOTED]


def notes(repeats: Sequence[int]) -> Iterator[Note]:
    """The note on rows that repeat the headers."""
    if repeats:
        yield Note("header_repeated", len(repeats), {"rows": listed(repeats)})
