"""Cells as text: cleaned once for all columns, interpreted once per distinct text.

Dates, phone numbers, amounts and names have modules of their own.
"""

from __future__ import annotations

import html
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import polars as pl

from rollbook import places
from rollbook.pipeline.columns import key
from rollbook.pipeline.values import values
from rollbook.spreadsheets.books.values import HIDDEN, UNCALCULATED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: The separators between digits in clean text.
SEPARATORS: Final = (" ", "-", "\u2013", "\u2014", ".", "/")

#: Invisible characters: format and control characters, fillers, variation selectors.
_UNSEEN: Final = (
    r"[\p{Cf}\x{0}-\x{8}\x{e}-\x{1f}\x{7f}\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180e}"
    r"\x{2800}\x{3164}\x{fe00}-\x{fe0f}\x{ffa0}]"
)
_SPACES: Final = r"[\p{Z}\x{9}-\x{d}\x{85}]+"
#: Curly, straight and reversed quotation marks, and the hyphens that look like one.
_LOOKALIKES: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u02b9\u2032\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\uff02", '"'),
    **dict.fromkeys("\u2010\u2011\u2212\ufe63\uff0d", "-"),
}
#: Latin-1's control characters and Windows-1252's characters in their place, for text that was
#: decoded as Latin-1.
_WINDOWS: Final = {
    chr(code): bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in {0x81, 0x85, 0x8D, 0x8F, 0x90, 0x9D}
}
_C1: Final = r"[\x{80}-\x{84}\x{86}-\x{9f}]"
#: An apostrophe that belongs to the word: "'t Hooft", "'n Plaas", "'Mamello".
_ELISION: Final = r"(?i)^'(?:[tnskr]|em)(?:[ .-]|$)|^'m(?:a|e|\x{e8})|^' *['\"]"
_FULL_WIDTH: Final = r"[\x{ff01}-\x{ff5e}]"
#: A text that ``clean`` may have to change: with any character but those of plain ASCII, ``&`` and
#: ``<`` among them. This is checked first, because few columns have any.
_NOT_CLEAN: Final = r"""[^ -%'-;=-~]|  |^[ "']|[ "']$"""
#: What web programs leave in the texts that they export: ``O&#039;Brien``, ``A &amp; B``.
_MARKUP: Final = r"(?i)&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});|<br ?/?>"
_MARKUP_RE: Final = re.compile(_MARKUP)
#: Programs that export what others have exported escape it again; more often is no accident.
_MOST_ESCAPED: Final = 3
#: The texts that a cell shows if its formula has no result or its column is too narrow. The readers
#: of workbooks give error values as these texts; a CSV file has them as text already.
_NO_RESULT: Final = r"^(?:#(?:N/A|GETTING_DATA|[A-Z][A-Z0-9/_]*[!?]|#+)|Err:[0-9]{3})$"
#: The signs and words that repeat what is above them.
_DITTO: Final = frozenset(
    {
        '"',
        "''",
        "\u201d",
        "\u201c",
        "\u3003",
        '""',
        "-do-",
        "- do -",
        "do.",
        "do",
        "do-",
        '-"-',
        '- " -',
        '" "',
        "'' ''",
    }
    | {
        written
        for word in (
            "ditto",
            "idem",
            "as above",
            "same as above",
            "ibid",
            "ibid.",
            "idem.",
            "soos bo",
            "soos hierbo",
            "dieselfde",
            "njengangenhla",
            "njengasentla",
            "id.",
            "the same",
            "same address",
            "same number",
            "see above",
        )
        for written in (word, word.capitalize(), word.title(), word.upper())
    }
)
#: Signs that repeat what is above: quotation marks, commas, accents in pairs, an arrow, a caret.
_DITTO_SIGNS: Final = (
    r"^[-\s]*(?:(?:[\"^\x{201c}-\x{201f}\x{2033}\x{3003}\x{2191}\x{2193}\x{21d3}]|''|,,|``|"
    r"\x{b4}\x{b4})[-\s]*)+$"
)
#: The form in which a CSV file prevents a spreadsheet program from reading digits as a number.
_TEXT_FORMULA: Final = r'^="([^"]*)"$'
#: The words for a value that isn't there, and what a form shows in place of one that nobody chose.
_NO_VALUE: Final = (
    r"not (?:applicable|available|given|provided|supplied|stated|known)|unknown|tb[acd]|don'?t know"
    r"|to (?:follow|be (?:confirmed|advised|announced|provided|supplied))|onbekend"
    r"|nie (?:beskikbaar|van toepassing(?: nie)?)|weet nie|ayaziwa|akwaziwa|alwaziwa"
    r"|[-(\[< ]*(?:(?:please )?(?:select|choose)(?: one| an? [a-z]+| option| from list)?"
    r"|kies(?: een| asseblief)?)[-.:)\]> \x{2026}]*"
    r"|(?:click or tap|tap or click|click) here to enter (?:text|a date)\.?"
)
#: The texts that mean "no value".
_NOTHING: Final = (
    r"(?i)^(?:n/a|n\.a\.?|n\.?v\.?t\.?|[(<\[]?null[)>\]]?|\\n|nan|nat|<na>|undefined|\(?blank\)?|"
    rf"-+|[\x{{2013}}\x{{2014}}]+|\.+|_+|/+|\*+|\x{{2026}}+|['|,;:~]+|{_NO_VALUE})$|^(?:NA|na)$"
)
#: The longest of these, in bytes, and room for more dots on a line.
_MOST_NOTHING: Final = 60
#: All texts that ``shown``, ``clean``, ``faults`` or ``without_nothing`` may change or report, and
#: a few more. One pattern is read faster than the steps, and few texts of a file match it.
_ODD: Final = (
    rf"{_NOT_CLEAN}|^$|^[-#]|^Err:|^(?i:{'|'.join(map(re.escape, sorted(_DITTO)))})$|(?:{_NOTHING})"
    rf"|{_DITTO_SIGNS}"
)

_CELL: Final = pl.col("cell")
_NOWHERE: Final = pl.Series(dtype=pl.UInt32)

#: A longer text is no date, number or address, and patterns would be slow on it.
MOST_CHARS: Final = 200

#: A text's value and the code of its doubt; see ``problems.toml``. No value and no code: the text
#: means "no value".
Reading = tuple[Any, str | None]


class Understood(NamedTuple):
    """The meanings of a column's texts."""

    #: As many as there are texts; null where a text has no meaning.
    values: pl.Series
    #: The code of each text's doubt; null where there is none.
    doubts: pl.Series


class Column(NamedTuple):
    """A column of text, with each text once where that is worthwhile."""

    #: Of all rows.
    cells: pl.Series
    #: Distinct texts, or those of all rows.
    texts: pl.Series
    #: Where the text of each row is, null for an empty cell; None: the texts are the rows.
    places: pl.Series | None

    def rows(self, values: pl.Series) -> pl.Series:
        """Spread what was found for the texts over the rows."""
        if self.places is None:
            return values
        return self.cells if values is self.texts else values[self.places]


def column_of(cells: pl.Series) -> Column:
    """The column with each text once, unless most of its texts differ."""
    if cast("int", cells.approx_n_unique()) > cells.len() // 2:
        return Column(cells, cells, None)
    kind = pl.Categorical(pl.Categories.random())
    coded = cells.cast(kind)
    places = coded.to_physical()
    most = places.max()
    count = 0 if not isinstance(most, int) else most + 1
    texts = pl.int_range(0, count, dtype=pl.UInt32, eager=True).cat.to(kind).cast(pl.String)
    return Column(cells, texts, places)


class Cleaned(NamedTuple):
    """Texts as they are shown and clean."""

    shown: pl.Series
    clean: pl.Series
    #: See ``faults``.
    faults: pl.Series | None
    #: The places of the texts that weren't shown and clean already, or may mean "no value".
    odd: pl.Series


def cleaned(texts: pl.Series, *, is_required: bool) -> Cleaned:
    """What ``shown``, ``clean`` and ``faults`` give of texts, by looking only at the odd ones."""
    is_odd = texts.str.contains(_ODD)
    if not is_odd.any():
        return Cleaned(texts, texts, None, _NOWHERE)
    odd = is_odd.arg_true()
    some = shown(texts.gather(odd))
    codes = faults(some, is_required=is_required)
    if codes is not None:
        codes = nulls(len(texts)).scatter(odd, codes)
    return Cleaned(
        texts.clone().scatter(odd, some), texts.clone().scatter(odd, clean(some)), codes, odd
    )


def shown(texts: pl.Series) -> pl.Series:
    """The texts without space at their ends; null where there is nothing else.

    It is what a spreadsheet program shows, such as the text of ``="0821234567"``.
    """
    cell = _CELL
    texts = texts.str.strip_chars()
    # A column rarely has any, and a pattern is slower than a check of the first character.
    if texts.str.starts_with('="').any():
        texts = _select(texts, cell.str.replace(_TEXT_FORMULA, "$1").str.strip_chars())
    return _select(texts, pl.when(cell != "").then(cell)) if (texts == "").any() else texts


def faults(texts: pl.Series, *, is_required: bool) -> pl.Series | None:
    """The codes of the texts that are in place of a value; None where no text is.

    Such a text is an error, or repeats what is above it, which is decided by a person.

    ``texts`` are as ``shown`` returned them. ``is_required``: a row without the field is refused.
    """
    is_ditto = texts.is_in(_DITTO).fill_null(value=False)
    is_ditto |= texts.str.contains(_DITTO_SIGNS).fill_null(value=False)
    may_be_error = texts.str.starts_with("#") | texts.str.starts_with("Err:")
    if not (is_ditto.any() or may_be_error.any()):
        return None
    error, formula, hidden, ditto = (
        ("error_value", "formula_not_calculated", "hidden_value", "ditto_value")
        if is_required
        else ("error_left_out", "formula_left_out", "hidden_left_out", "ditto_left_out")
    )
    codes = _select(
        texts,
        pl.when(_CELL == UNCALCULATED)
        .then(pl.lit(formula))
        .when(_CELL == HIDDEN)
        .then(pl.lit(hidden))
        .when(_CELL.str.contains(_NO_RESULT))
        .then(pl.lit(error))
        .when(is_ditto)
        .then(pl.lit(ditto)),
    )
    return codes if codes.null_count() < len(codes) else None


def clean(texts: pl.Series) -> pl.Series:
    """The texts in one form of Unicode (NFC), without invisible characters, with single spaces.

    Quotation marks and hyphens become the plain ones; a pair of quotation marks around the whole
    text goes; characters that a web program has escaped are themselves again. Null where nothing is
    left.
    """
    if not texts.str.contains(_NOT_CLEAN).any():
        return texts
    cell = _CELL
    if texts.str.contains(_MARKUP).any():
        texts = _without_markup(texts)
    if texts.str.contains(_C1).any():
        texts = _select(texts, cell.str.replace_many(_WINDOWS))
    if texts.str.contains(_FULL_WIDTH).any():
        narrow = pl.when(cell.str.contains(_FULL_WIDTH)).then(cell.str.normalize("NFKC"))
        texts = _select(texts, narrow.otherwise(cell))
    plain = (
        cell.str.normalize("NFC")
        .str.replace_all(_UNSEEN, "")
        .str.replace_all(_SPACES, " ")
        .str.replace_many(_LOOKALIKES)
        .str.strip_chars()
        .str.replace(r'^"+([^"]*)"+$', "$1")
        .str.replace(r"^'([^']*)'$", "$1")
        .str.strip_chars()
    )
    texts = _select(texts, plain)
    if texts.str.starts_with("'").any():
        # The sign by which a spreadsheet program knows a text.
        is_mark = cell.str.starts_with("'") & ~cell.str.contains(_ELISION)
        bare = cell.str.slice(1).str.strip_chars()
        texts = _select(texts, pl.when(is_mark).then(bare).otherwise(cell))
    return _select(texts, pl.when(cell != "").then(cell))


def _without_markup(texts: pl.Series) -> pl.Series:
    rows = texts.str.contains(_MARKUP).fill_null(value=False).arg_true()
    found: list[str] = texts.gather(rows).to_list()
    for _ in range(_MOST_ESCAPED):
        found = [_MARKUP_RE.sub(_unmarked, text) for text in found]
    return texts.clone().scatter(rows, pl.Series(found, dtype=pl.String))


def _unmarked(found: re.Match[str]) -> str:
    return " " if found[0].startswith("<") else html.unescape(found[0])


def without_nothing(texts: pl.Series) -> pl.Series:
    """The texts, with null for those that mean "no value", such as ``N/A`` and ``-``."""
    is_short = texts.str.len_bytes() <= _MOST_NOTHING
    if not is_short.any():
        return texts
    cell = _CELL
    return _select(texts, pl.when(~(is_short & cell.str.contains(_NOTHING))).then(cell))


def understood(
    texts: pl.Series, plain: pl.Expr, odd: Callable[[str], Reading], dtype: pl.DataType
) -> Understood:
    """Interpret clean texts: plain ones by expressions, the others one by one.

    ``plain`` is the value of a text in the column ``cell``, null where it isn't plain; ``odd``
    reads those.
    """
    values = texts.to_frame("cell").select(plain.cast(dtype)).to_series()
    found = Understood(values, nulls(len(texts)))
    if values.null_count() == texts.null_count():
        return found
    return with_odd(texts, found, values.is_null() & texts.is_not_null(), odd)


def with_odd(
    texts: pl.Series, found: Understood, is_odd: pl.Series, odd: Callable[[str], Reading]
) -> Understood:
    """The values found so far, with those of the odd texts, which are read one by one."""
    rows = is_odd.arg_true()
    if not len(rows):
        return found
    read = [odd(text) for text in texts.gather(rows)]
    values = pl.Series([value for value, _ in read], dtype=found.values.dtype)
    doubts = pl.Series([code for _, code in read], dtype=pl.String)
    return Understood(found.values.scatter(rows, values), found.doubts.scatter(rows, doubts))


def coded(where: pl.Series, code: str) -> pl.Series:
    """The code where it holds; null elsewhere."""
    if not where.any():
        return nulls(len(where))
    return pl.select(pl.when(where).then(pl.lit(code))).to_series()


def also_doubted(found: Understood, where: pl.Series, code: str) -> Understood:
    """The meanings with this doubt where it holds and there is no other."""
    if not where.any():
        return found
    return Understood(found.values, found.doubts.fill_null(coded(where, code)))


def nulls(height: int, name: str = "") -> pl.Series:
    """A column of text without any value."""
    return pl.Series(name, [None], pl.String).new_from_index(0, height)


def without(cell: pl.Expr, signs: Sequence[str]) -> pl.Expr:
    """The text without any of the signs."""
    return cell.str.replace_many(list(signs), [""] * len(signs))


def known_spelling(field: str, texts: pl.Series) -> pl.Series:
    """The one spelling of each text in ``values.toml``; null where it isn't there."""
    return _select(texts, _spelling(field))


@cache
def _spelling(field: str) -> pl.Expr:
    plain = _CELL.str.normalize("NFKD").str.to_lowercase().str.replace_all("[^a-z0-9]", "")
    return plain.replace_strict(spellings(field), default=None, return_dtype=pl.String)


_POWER: Final = re.compile(r"^([0-9])(?:[.,]([0-9]+))?[eE](\+?)([0-9]{1,2})$")


def of_power(text: str, *, digits: Sequence[int]) -> Reading:
    """The digits of a number that a program wrote as a power of ten, such as ``8.001015009087E12``.

    ``digits`` are how many the whole number may have.

    Returns:
        The digits, or ``shortened`` as the code where some of them were dropped: a spreadsheet
        program shows ``8.00102E+12`` for ``8001015009087``. No digits and no code where the text is
        something else.
    """
    match = _POWER.match(text)
    if match is None:
        return None, None
    first, behind, plus, power = match.groups()
    behind = behind or ""
    length = int(power) + 1
    if length not in digits or len(behind) >= length:
        return None, None
    # Java writes all digits and no plus; a spreadsheet program drops digits.
    is_whole = len(behind) == length - 1 or (not plus and len(behind) >= length - 4)
    if not is_whole:
        return None, "shortened"
    return (first + behind).ljust(length, "0"), None


_WARD_WORDS: Final = re.compile(
    r"^(?:(?:wards?|wyk|iwadi|w)[\s.:#-]*(?:(?:no|nr|number|nommer|num)[\s.:#-]*)?|#\s*)?"
    r"0*([1-9][0-9]{0,7})(?:[.,]0+)?$",
    re.IGNORECASE,
)
#: Wards of a municipality are numbered from 1; the largest has 135 (Municipal Demarcation Board).
MOST_WARDS: Final = 150


def wards(texts: pl.Series) -> Understood:
    """A ward's number within its municipality, or its code of eight digits.

    Anything else stays as it is, with a doubt.
    """
    return understood(texts, _plain_ward(), _ward, pl.String())


@cache
def _plain_ward() -> pl.Expr:
    plain = _CELL.str.extract(r"^([1-9][0-9]{0,1}|[1-9][0-9]{4}0(?:0[1-9]|[1-9][0-9]))(?:\.0)?$")
    is_ward = (plain.str.len_bytes() < _CODE_DIGITS) | plain.str.head(5).is_in(places.ward_codes())
    return pl.when(is_ward).then(plain)


def _ward(text: str) -> Reading:
    if len(text) > MOST_CHARS:
        return text, "ward_implausible"
    digits, code = of_power(text, digits=(8,))
    if code:
        return None, "ward_unclear"
    match = _WARD_WORDS.match(digits or text)
    number = match[1] if match else ""
    is_code = len(number) == _CODE_DIGITS
    # The last three digits of a code are the ward's number.
    is_plausible = number and 0 < int(number[-3:] if is_code else number) <= MOST_WARDS
    if is_plausible and not (is_code and places.municipality_of_ward(number) is None):
        return number, None
    return number or text, "ward_implausible"


_CODE_DIGITS: Final = 8
_DISTRICT: Final = re.compile(
    r"^(?:(?:vd|voting district)?[\s.:#-]*)([0-9]{8})(?:[.,]0+)?$", re.IGNORECASE
)


def voting_districts(texts: pl.Series) -> Understood:
    """The 8 digits of a voting district; a doubt where most texts are codes of wards instead.

    ``texts`` are the different ones of one batch: each counts once, and each batch by itself.
    """
    plain = pl.col("cell").str.extract(r"^([1-9][0-9]{7})(?:\.0)?$")
    found = understood(texts, plain, _voting_district, pl.String())
    values = found.values
    # Some districts have the form of a ward's code by chance, and hardly most of a column's.
    number = values.str.tail(3)
    is_ward = values.str.head(5).is_in(places.ward_codes()) & (number > "000")
    is_ward &= number <= f"{MOST_WARDS:03}"
    is_column_of_wards = 2 * int(is_ward.sum()) > len(values) - values.null_count()
    return also_doubted(found, is_ward, "voting_district_is_ward") if is_column_of_wards else found


def _voting_district(text: str) -> Reading:
    digits, _ = of_power(text, digits=(_CODE_DIGITS,))
    match = _DISTRICT.match((digits or text).replace(" ", "").removeprefix("'"))
    is_number = match is not None and match[1].strip("0")
    return (match[1], None) if match and is_number else (None, "voting_district_unclear")


_AGE: Final = re.compile(
    r"^'?([0-9]{1,3})(?:[.,][0-9]+)?\s*(?:years?|yrs?|y|jaar|j|jr)?(?: old| oud)?\.?$",
    re.IGNORECASE,
)
MOST_YEARS: Final = 130


def ages(texts: pl.Series) -> Understood:
    """An age in whole years."""
    plain = pl.col("cell").str.extract(r"^([0-9]{1,2})(?:\.0)?$")
    return understood(texts, plain, _age, pl.Int16())


def _age(text: str) -> Reading:
    match = _AGE.match(text)
    if match is None or int(match[1]) > MOST_YEARS:
        return None, "age_unclear"
    return int(match[1]), None


@cache
def spellings(field: str) -> Mapping[str, str]:
    """The one spelling by every variant, as ``columns.key`` writes it."""
    table: dict[str, list[str]] = values()[field]
    return {key(variant): value for value, names in table.items() for variant in (value, *names)}


def _select(texts: pl.Series, meaning: pl.Expr) -> pl.Series:
    """A meaning of the column ``cell``, since a column's own name may be a pattern."""
    return texts.to_frame("cell").select(meaning.alias("cell")).to_series()


def comparable(values: pl.Series) -> pl.Series:
    """Values that differ only in how they are written are the same."""
    if values.dtype != pl.String:
        return values
    return values.str.normalize("NFKD").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}@+]", "")
