"""The cells of a piece, as a table of texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from rollbook.spreadsheets.books.book import MOST_BLANKS, MOST_BLANKS_PER_VALUE, MOST_ROWS
from rollbook.spreadsheets.books.values import DAYS_TO_1904, UNCALCULATED
from rollbook.spreadsheets.books.xlsx import column_of
from rollbook.spreadsheets.scan.attributes import KnownAttributes
from rollbook.spreadsheets.scan.plain import Bytes, Flags, Ints, require
from rollbook.spreadsheets.scan.tags import (
    CELL,
    FORMULA,
    FORMULA_END,
    HAS_VALUE,
    INLINE_END,
    MASKS,
    NO_VALUE,
    ROW,
    ROW_END,
    SHEET_TAGS,
    SPACED_TEXT,
    STARTS,
    TEXT,
    Tags,
    has_words,
    word,
)
from rollbook.spreadsheets.scan.texts import (
    DAYS,
    NULL,
    NUMERAL,
    SHOWN,
    OwnTexts,
    marked_texts,
    shown_number,
    texts_of_days,
    texts_of_moments,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollbook.spreadsheets.books.formats import Format
    from rollbook.spreadsheets.scan.pieces import Piece


#: Columns up to ZZ: their letters and a digit fit in three bytes.
MOST_COLUMNS: Final = 702
#: What a cell's type and style make of its value.
NUMBER, DATE, SHARED, STRING, INLINE_STRING, BOOLEAN, ERROR, OPEN, FORMATTED = range(1, 10)
#: Kinds from ``FORMATTED`` on are numbers in one of this many formats; see ``books.formats``.
_MOST_FORMATS: Final = 200
_ATTRIBUTE: Final = re.compile(rb' ([a-z]{1,2})="([A-Za-z0-9]*)"')
_KIND_OF_TYPE: Final = {
    b"s": SHARED, b"str": STRING, b"d": STRING, b"inlineStr": INLINE_STRING, b"b": BOOLEAN,
    b"e": ERROR,
}  # fmt: skip
_ROW_ATTRIBUTES: Final = re.compile(rb"""(?: (?!r=)[A-Za-z][\w.:-]*="[^"<>&]*")*\s?/?""")
_HIDDEN: Final = re.compile(rb""" hidden="(?:1|true)\"""")
#: An error value; later versions of the programs have more of them.
_ERROR: Final = r"^#[A-Z0-9_/!?]{1,30}$"
_TRUTHS: Final = pl.Series(["false", "true"])
_NOT_CALCULATED: Final = pl.Series([UNCALCULATED])


def _column_table() -> npt.NDArray[np.int16]:
    """The index of the column by the first two bytes of a reference, the first the lower one."""
    table = np.full(1 << 16, -1, np.int16)
    letters = range(ord("A"), ord("Z") + 1)
    for first in letters:
        for digit in range(ord("1"), ord("9") + 1):
            table[digit << 8 | first] = column_of(chr(first))
        for second in letters:
            table[second << 8 | first] = column_of(chr(first) + chr(second))
    return table


_COLUMNS: Final = _column_table()


class _Block(NamedTuple):
    """The rows of one piece."""

    first_row: int
    last_row: int
    #: The rows from the first with a value up to the last; None if no row has any.
    frame: pl.DataFrame | None
    first_value_row: int
    values: int
    blanks: int
    #: Numbers of hidden rows.
    hidden: Sequence[int] = ()


class _Rows(NamedTuple):
    #: The number of each row, counted from 1.
    numbers: Ints
    #: How many digits it has.
    digits: Ints
    #: The digits and the quotation mark after them, as they are in the row's tag.
    words: npt.NDArray[np.uint64]
    hidden: list[int]


class Cells:
    """Makes the cells of pieces into frames, on several threads at a time."""

    def __init__(
        self,
        formats: list[Format | None],
        shared: pl.Series,
        *,
        is_1904: bool,
        is_to_calculate: bool = False,
    ) -> None:
        self._formats, self._shared = formats, shared
        #: The formats that show something else than a number or a plain date.
        self._others = list(
            dict.fromkeys(one for one in formats if one is not None and not one.is_plain_date)
        )[:_MOST_FORMATS]
        self._is_1904 = is_1904
        self._days_before = DAYS_TO_1904 if is_1904 else 0
        self._is_to_calculate = is_to_calculate
        self._known = KnownAttributes(self._kind_of)
        #: Whether rows with these attributes are hidden.
        self._row_attributes: dict[bytes, bool] = {b"": False}

    def scan(self, piece: Piece) -> _Block:
        """The rows of a piece.

        Raises:
            NotPlainError: They are in another form.
        """
        tags = Tags(piece, SHEET_TAGS)
        kinds = tags.kinds
        if not len(kinds):
            return _Block(MOST_ROWS + 1, MOST_ROWS + 1, None, 0, 0, 0)
        require(
            kinds[0] == ROW
            and kinds[-1] in (ROW, ROW_END)
            and SHEET_TAGS.pairs.take(kinds[:-1] << 4 | kinds[1:]).all(),
            "elements in another order",
        )
        self._check_ends(tags)
        row_tags, cell_tags = np.flatnonzero(kinds == ROW), np.flatnonzero(kinds == CELL)
        rows = self._rows(tags, row_tags)
        first_row, last_row = int(rows.numbers[0]), int(rows.numbers[-1])
        if not len(cell_tags):
            return _Block(first_row, last_row, None, 0, 0, 0, rows.hidden)
        row_of_cell = np.repeat(
            np.arange(len(row_tags)),
            np.diff(np.searchsorted(cell_tags, row_tags), append=len(cell_tags)),
        )
        columns, meanings = self._columns_and_meanings(tags, cell_tags, rows, row_of_cell)

        value_tags = np.flatnonzero(HAS_VALUE.take(kinds))
        if not len(value_tags):
            return _Block(first_row, last_row, None, 0, 0, 0, rows.hidden)
        numbers = rows.numbers.take(row_of_cell)
        if len(value_tags) != len(cell_tags):
            # A value belongs to the last cell before it, and no cell has two.
            valued = np.searchsorted(cell_tags, value_tags) - 1
            columns, meanings, numbers = columns[valued], meanings[valued], numbers[valued]
        places = numbers * 1024 + columns
        require((places[1:] > places[:-1]).all(), "cells in another order")
        values, indices = self._values(tags, value_tags, meanings)
        first = int(numbers[0])
        height, width = int(numbers[-1]) - first + 1, int(columns.max()) + 1
        blanks = height * width - len(value_tags)
        require(
            blanks <= MOST_BLANKS + MOST_BLANKS_PER_VALUE * len(value_tags),
            "many more blank cells than values",
        )
        grid = np.full(height * width, len(values), np.uint32)
        grid[columns.astype(np.int64) * height + (numbers - first)] = indices
        cells = pl.concat([values, NULL], rechunk=True).gather(pl.Series(grid))
        frame = pl.DataFrame(
            [cells.slice(column * height, height).alias(str(column)) for column in range(width)]
        )
        return _Block(first_row, last_row, frame, first, len(value_tags), blanks, rows.hidden)

    def _check_ends(self, tags: Tags) -> None:
        """Check what the first three bytes of a tag don't show."""
        at, kinds = tags.at[:-1], tags.kinds
        tags.require_word(at[kinds == INLINE_END], b"</is>")
        tags.require_word(at[kinds == ROW_END], b"</row>")
        without = at[kinds == NO_VALUE]
        require(
            (has_words(tags, without, b"<v/>") | has_words(tags, without, b"<v />")).all(),
            "values in another form",
        )
        tags.require_word(at[kinds == SPACED_TEXT], b'<t xml:space="preserve">')
        formulas = np.flatnonzero(kinds == FORMULA)
        if len(formulas):
            starts, ends = at[formulas], tags.at[formulas + 1]
            closed = kinds[formulas + 1] != FORMULA_END
            texts = tags.texts(starts, ends)
            form = r'^<f(?: [A-Za-z][A-Za-z0-9]*="[^"<>]*")*(?:/>|>[^<]*)$'
            require(
                bool(texts.str.contains(form).all())
                and bool((texts.str.contains(r"^<f(?: [^>]*)?/>$") == pl.Series(closed)).all()),
                "formulas in another form",
            )

    def _rows(self, tags: Tags, row_tags: Ints) -> _Rows:
        at, ends = tags.at.take(row_tags), tags.at.take(row_tags + 1) - 1
        tags.require_word(at, b'<row r="')
        words = tags.words[at + 8]
        numbers = np.zeros(len(at), np.int64)
        digits = np.zeros(len(at), np.int64)
        going = np.ones(len(at), bool)
        for index in range(8):
            byte = (words >> np.uint64(8 * index)).astype(np.uint8)
            is_digit = (byte >= ord("0")) & (byte <= ord("9"))
            require((is_digit | (byte == ord('"')) | ~going).all(), "an unusual row number")
            going &= is_digit
            numbers = np.where(going, numbers * 10 + (byte - ord("0")), numbers)
            digits += going
        require(
            ((digits > 0) & (digits < 8) & (numbers > 0) & (numbers <= MOST_ROWS)).all()
            and ((words & np.uint64(255)) != ord("0")).all()
            and (numbers[1:] > numbers[:-1]).all(),
            "unusual row numbers",
        )
        starts = at + 9 + digits
        hidden = []
        require(
            (starts <= ends).all() and (tags.bytes.take(ends) == ord(">")).all(), "an unusual row"
        )
        followers = np.append(tags.kinds, ROW).take(row_tags + 1)
        closed = tags.bytes.take(ends - 1) == ord("/")
        require((closed == (followers == ROW)).all(), "an unusual row")
        known = self._row_attributes
        for start, end, number in zip(
            *(side[starts < ends].tolist() for side in (starts, ends, numbers)), strict=True
        ):
            attributes = tags.content[start:end]
            is_hidden = known.get(attributes)
            if is_hidden is None:
                require(bool(_ROW_ATTRIBUTES.fullmatch(attributes)), "an unusual row")
                is_hidden = bool(_HIDDEN.search(attributes))
                if len(known) < 10_000:
                    known[attributes] = is_hidden
            if is_hidden:
                hidden.append(number)
        return _Rows(numbers, digits, words & MASKS[digits + 1], hidden)

    def _columns_and_meanings(
        self, tags: Tags, cell_tags: Ints, rows: _Rows, row_of_cell: Ints
    ) -> tuple[Ints, Bytes]:
        at, ends = tags.at.take(cell_tags), tags.at.take(cell_tags + 1) - 1
        words = tags.words[at]
        require(((words & MASKS[6]) == word(b'<c r="')).all(), "cells without a reference")
        columns = _COLUMNS.take((words >> np.uint64(48)).astype(np.uint16))
        require((columns >= 0).all(), "an unusual reference")
        at = at + 7 + (columns > 25)
        digits = rows.digits.take(row_of_cell)
        numbers = tags.words[at] & MASKS[1:].take(digits)
        require((numbers == rows.words.take(row_of_cell)).all(), "cells in another row")
        starts = at + digits + 1
        require(
            (starts <= ends).all() and (tags.bytes.take(ends) == ord(">")).all(), "an unusual cell"
        )
        followers = tags.kinds.take(cell_tags + 1)
        closed = tags.bytes.take(ends - 1) == ord("/")
        require((closed == ((followers == CELL) | (followers == ROW_END))).all(), "an unusual cell")
        return columns, self._known.meanings(tags, starts, ends)

    def _kind_of(self, attributes: bytes) -> int:
        """The kind of a cell by its attributes after the reference."""
        seen: dict[bytes, bytes] = {}
        at = 0
        while found := _ATTRIBUTE.match(attributes, at):
            require(found[1] not in seen, "an attribute twice")
            seen[found[1]] = found[2]
            at = found.end()
        require(
            attributes[at:] in (b"", b"/", b" /")
            and seen.keys() <= {b"s", b"t", b"cm", b"vm", b"ph"},
            "unusual attributes of a cell",
        )
        kind = seen.get(b"t", b"n")
        if kind != b"n":
            return _KIND_OF_TYPE.get(kind, OPEN)
        style = seen.get(b"s")
        if style is None:
            return NUMBER
        index = int(style) if re.fullmatch(rb"\d{1,6}", style) else len(self._formats)
        if index >= len(self._formats):
            return OPEN
        form = self._formats[index]
        if form is None or form.is_plain_date:
            return NUMBER if form is None else DATE
        return FORMATTED + self._others.index(form) if form in self._others else OPEN

    def _values(
        self, tags: Tags, value_tags: Ints, meanings: Bytes
    ) -> tuple[pl.Series, npt.NDArray[np.uint32]]:
        """Texts, and the index of each value's text among them; one past the end is no value."""
        kinds = tags.kinds.take(value_tags)
        ends = tags.at.take(value_tags + 1)
        starts = np.minimum(tags.at.take(value_tags) + STARTS.take(kinds), ends)
        is_text = kinds >= TEXT
        require(
            ((meanings == INLINE_STRING) == is_text).all() and (meanings != OPEN).all(),
            "unusual values",
        )
        sizes = ends - starts
        own = OwnTexts(len(value_tags))
        counts = np.bincount(meanings, minlength=FORMATTED + len(self._others))
        if counts[SHARED]:
            which = np.flatnonzero((meanings == SHARED) & (sizes > 0))
            numbers, are_plain = whole_numbers(tags, starts[which], sizes[which])
            require(are_plain.all() and (numbers < len(self._shared)).all(), "no such shared text")
            own.put(which, self._shared.gather(pl.Series(numbers)))
        if counts[BOOLEAN]:
            which = np.flatnonzero((meanings == BOOLEAN) & (sizes > 0))
            truths = tags.bytes.take(starts[which]) - np.uint8(ord("0"))
            require((sizes[which] == 1).all() and (truths < 2).all(), "an unusual boolean")
            own.put(which, _TRUTHS.gather(pl.Series(truths)))
        if counts[ERROR]:
            which = np.flatnonzero((meanings == ERROR) & (sizes > 0))
            errors = tags.texts(starts[which], ends[which])
            require(bool(errors.str.contains(_ERROR).all()), "an unusual error")
        if counts[DATE]:
            self._put_dates(own, tags, starts, sizes, (meanings == DATE) & (sizes > 0))
        if counts[NUMBER]:
            self._put_numbers(own, tags, starts, sizes, (meanings == NUMBER) & (sizes > 0))
        for number, form in enumerate(self._others):
            if counts[FORMATTED + number]:
                are_of_it = (meanings == FORMATTED + number) & (sizes > 0)
                self._put_formatted(own, tags, starts, sizes, are_of_it, form)
        self._put_unescaped(own, tags, starts, ends, meanings, kinds)
        uncalculated = self._uncalculated(tags, value_tags, starts, sizes, meanings)
        own.put(uncalculated, _NOT_CALCULATED.new_from_index(0, len(uncalculated)))
        if not sizes.all():
            has_none = (sizes == 0) & ~is_text & (meanings != STRING)
            has_none[uncalculated] = False
            own.drop(has_none)
        # What has another text isn't cut out.
        return own.all(tags.texts(starts, np.where(own.is_own, starts, ends)))

    def _uncalculated(
        self, tags: Tags, value_tags: Ints, starts: Ints, sizes: Ints, meanings: Bytes
    ) -> Ints:
        """The values of formulas that were never calculated; see ``xlsx.is_uncalculated``."""
        # The tag before the first is none, but no value comes first.
        before = tags.kinds.take(value_tags - 1)
        has_formula = (before == FORMULA) | (before == FORMULA_END)
        if not has_formula.any():
            return np.zeros(0, np.int64)
        lacks = sizes == 0
        if self._is_to_calculate:
            is_zero = (sizes == 1) & (tags.bytes.take(starts) == ord("0"))
            lacks |= is_zero & ((meanings <= DATE) | (meanings >= FORMATTED))
        return np.flatnonzero(has_formula & lacks & (meanings != STRING))

    def _put_numbers(
        self, own: OwnTexts, tags: Tags, starts: Ints, sizes: Ints, are_numbers: Flags
    ) -> None:
        which = np.flatnonzero(are_numbers)
        _, are_plain = whole_numbers(tags, starts[which], sizes[which])
        which = which[~are_plain]
        if not len(which):
            return
        texts = tags.texts(starts[which], starts[which] + sizes[which])
        are_other = ~texts.str.contains(SHOWN).to_numpy()
        if are_other.any():
            others = texts.filter(pl.Series(are_other))
            distinct = others.unique()
            shown = pl.Series([shown_number(text) for text in distinct], dtype=pl.String)
            own.put(which[are_other], others.replace_strict(distinct, shown))

    def _put_dates(
        self, own: OwnTexts, tags: Tags, starts: Ints, sizes: Ints, are_dates: Flags
    ) -> None:
        which = np.flatnonzero(are_dates)
        numbers, are_whole = whole_numbers(tags, starts[which], sizes[which])
        are_days = are_whole & (numbers < DAYS - self._days_before)
        days = numbers[are_days] + self._days_before
        own.put(which[are_days], texts_of_days().gather(pl.Series(days)))
        which = which[~are_days]
        if not len(which):
            return
        texts = tags.texts(starts[which], starts[which] + sizes[which])
        require(bool(texts.str.contains(NUMERAL).all()), "an unusual date")
        own.put(which, texts_of_moments(texts.cast(pl.Float64).to_numpy() + self._days_before))

    def _put_formatted(
        self, own: OwnTexts, tags: Tags, starts: Ints, sizes: Ints, which: Flags, form: Format
    ) -> None:
        rows = np.flatnonzero(which)
        texts = tags.texts(starts[rows], starts[rows] + sizes[rows])
        require(bool(texts.str.contains(NUMERAL).all()), "an unusual number")
        values = texts.cast(pl.Float64).to_numpy()
        own.put(rows, form.texts(values, is_1904=self._is_1904))

    def _put_unescaped(
        self,
        own: OwnTexts,
        tags: Tags,
        starts: Ints,
        ends: Ints,
        meanings: Bytes,
        kinds: Bytes,
    ) -> None:
        are_texts = (meanings == STRING) | (meanings == INLINE_STRING)
        if not are_texts.any():
            return
        marked = marked_texts(
            tags, starts, ends, are_trimmed=kinds == TEXT, are_escaped=kinds >= TEXT
        )
        which = np.flatnonzero(marked & are_texts)
        own.put_unescaped(which, tags, starts, ends, kinds)
