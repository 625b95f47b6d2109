"""The header row of a table: its position and its second tier."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, TypeAlias

from rollbook.pipeline import owners
from rollbook.pipeline.columns import (
    FULL_NAME,
    fingerprint,
    is_birth_date,
    is_former,
    is_of_other_person,
    is_title_of_other_person,
    key,
    map_headers,
    names_passport,
    unique_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import polars as pl

    from rollbook.pipeline.columns import ColumnMap
    from rollbook.pipeline.reading import How

    #: The mapping of these headers by the sender or the office, and which of them gave it.
    Mapped: TypeAlias = Callable[[Sequence[str]], tuple[Mapping[str, str | None], How]]

#: A row of a table as it was read.
Texts: TypeAlias = "Sequence[str | None]"

ROW_NUMBER: Final = "row_number"
#: The number of rows in which the header row is looked for: titles and notes may be above it.
SEARCH_ROWS: Final = 30
#: Characters that headers don't have.
_NUMBER: Final = re.compile(r"\d{6}")
_LETTER: Final = re.compile(r"[^\W\d_]")
_ID: Final = "id_number"
_PASSPORT: Final = "passport_number"
_NAMES: Final = ("firstname", "surname")
#: Columns of one person in a group that are looked at.
_MOST_PERSONAL: Final = 20
#: Of a title of columns; a line of more words is a note.
_MOST_TITLE_WORDS: Final = 5


@dataclass(frozen=True)
class Header:
    """The header row that was found; what follows from it is found out once."""

    #: Of its last row among all rows, from 0; the rows below it are the table's.
    index: int
    #: The text of each cell; empty where there is none.
    texts: tuple[str, ...]
    #: The mapping of these headers, and who gave it.
    given: Mapping[str, str | None]
    how: How
    #: The columns whose text is that of two rows, from 0.
    tiers: frozenset[int] = frozenset()
    #: The row that names groups of columns above the headers; empty where there is none.
    groups: tuple[str, ...] = ()
    #: Columns that are read as the member's own though a title in one cell above them, and above
    #: no other column for certain, names another person: the name and the title.
    below_others: tuple[tuple[str, str], ...] = ()

    @cached_property
    def names(self) -> Sequence[str]:
        """See ``names_of``."""
        return names_of(self.texts)

    @cached_property
    def columns(self) -> ColumnMap:
        """The field of each header."""
        return map_headers(self.names, self.given)

    @cached_property
    def fingerprint(self) -> str:
        """See ``columns.fingerprint``."""
        return fingerprint(self.names)

    @property
    def identity(self) -> str:
        """The field by which the table says who a person is: passports where there is no other."""
        return _ID if self.columns.header(_ID) is not None else _PASSPORT

    @cached_property
    def id_column(self) -> int:
        """The column of the ID numbers, or of passport numbers where there is no other, from 0."""
        return self.names.index(self.columns.header(self.identity) or "")

    @property
    def passport_column(self) -> int | None:
        """The column of passport numbers, from 0; that of ID numbers if it names passports too."""
        header = self.columns.header(_PASSPORT)
        if header is not None:
            return self.names.index(header)
        is_combined = names_passport(self.columns.header(_ID) or "")
        return self.id_column if is_combined else None


_PLACES: Final = frozenset({"province", "region", "municipality", "ward"})
#: Titles of groups of columns, and the fields that are something else below them.
_NOT_OF_MEMBERSHIP: Final = (
    (
        re.compile(
            r"\b(?:arrears?|outstanding|owing|owed|due|balance|debt|agterstallige?|uitstaande|skuld)\b",
            re.IGNORECASE,
        ),
        frozenset({"membership_amount"}),
    ),
    (
        re.compile(
            r"\b(?:employ(?:ment|er|ee)|workplace|company|werkgewer|indiensneming)\b", re.IGNORECASE
        ),
        frozenset({"date_joined", "residential_address", "email", "status", *_PLACES}),
    ),
    (
        re.compile(
            r"\b(?:birth|postal|previous|former|transferred from|geboorte|pos|vorige)\b",
            re.IGNORECASE,
        ),
        frozenset({"residential_address", *_PLACES}),
    ),
    (
        re.compile(r"\bbank(?:ing)?\b", re.IGNORECASE),
        frozenset({"ward", "status", "expiry_date"}),
    ),
    (
        re.compile(
            r"\b(?:polic(?:y|ies)|insurance|funeral|loans?|polis(?:se)?|versekering|begrafnis|lening)\b",
            re.IGNORECASE,
        ),
        frozenset({"membership_amount", "last_payment", "expiry_date", "status", "date_joined"}),
    ),
    (
        re.compile(
            r"\b(?:donations?|pledges?|salary|donasies?|skenkings?|salaris)\b", re.IGNORECASE
        ),
        frozenset({"membership_amount", "last_payment"}),
    ),
)

#: The same words, where the title is also above the ID numbers, and so names the whole list's
#: organisation: "Khaya Funeral Society".
_ORGANISATION: Final = re.compile(
    r"\b(?:funeral|burial|begrafnis\w*|insurance|versekering|company|employees|werknemers)\b",
    re.IGNORECASE,
)


def names_of(texts: Texts) -> list[str]:
    """Header texts as names that differ from each other and from our own; none of them is empty."""
    named = [one_line(text) or f"Column {number}" for number, text in enumerate(texts, start=1)]
    return unique_headers(named, taken={ROW_NUMBER})


def one_line(text: str | None) -> str:
    """The text without line ends and with single spaces."""
    return " ".join((text or "").split())


def is_number(cells: pl.Series) -> pl.Series:
    """Whether each cell begins with a digit."""
    found = (cells >= "0") & (cells <= ":")
    return found.fill_null(value=False) if found.null_count() else found


def find(
    rows: Iterable[Texts], mapped: Mapped, *, accepts_passports: bool = False
) -> Header | None:
    """Find the header row among the first rows of a table, if possible more than ``SEARCH_ROWS``.

    It is the first row that names an ID number and both names. Where there is none, it is the row
    that has an ID number and the most known headers. With ``accepts_passports``, a passport number
    may take the place of the ID number.

    Returns:
        None if no row has a header for ID numbers.
    """
    texts = [tuple(map(one_line, row)) for row in islice(rows, SEARCH_ROWS + 1)]
    best: tuple[int, Header] | None = None
    for index, row in enumerate(texts[:SEARCH_ROWS]):
        names = names_of(row)
        found = Header(index, row, *mapped(names))
        known = found.columns.known
        is_whole = not found.columns.missing
        # A number is no header, unless the sender says so. Words with a number, such as "Contact:
        # Bob, 0821234567", are no value of a member beside all the headers that are needed.
        unsaid = [
            text
            for text, name in zip(row, names, strict=True)
            if name not in found.given and not (is_whole and _LETTER.search(text))
        ]
        has_identity = _ID in known.values() or (accepts_passports and _PASSPORT in known.values())
        if not has_identity or not are_words(unsaid):
            continue
        if is_whole:
            best = len(known), found
            break
        if best is None or len(known) > best[0]:
            best = len(known), found
    if best is None:
        return None
    found = best[1]
    titles = texts[: found.index]
    found = _under_titles(_with_tiers(found, texts), titles)
    apart = _beside_other_names(found, titles)
    found = replace(found, below_others=tuple(dict.fromkeys((*found.below_others, *apart))))
    return _without_others(found)


def _without_others(header: Header) -> Header:
    """The header without the columns of another person, whose field the member's own has too."""
    found = owners.of_others(header.names, header.given)
    others = dict.fromkeys(name for name, _, is_certain in found if is_certain)
    return replace(header, given={**others, **header.given}) if others else header


def likely(rows: Iterable[Texts]) -> int:
    """The index of the row that looks most like headers, among the first rows of a table.

    It is the first row of words with as many filled cells as any row of words has.
    """
    texts = [tuple(map(one_line, row)) for row in islice(rows, SEARCH_ROWS)]
    filled = [sum(map(bool, row)) if are_words(row) else 0 for row in texts]
    return filled.index(max(filled)) if filled else 0


def are_words(row: Sequence[str]) -> bool:
    """Whether no text of a row holds a long number."""
    return not any(_NUMBER.search(text) for text in row)


# --- two tiers ------------------------------------------------------------------------------------


def _with_tiers(header: Header, rows: Sequence[Sequence[str]]) -> Header:
    """The header with what the titles of groups above it, or a second tier below it, add to it."""
    index, below = header.index, rows[header.index + 1 : header.index + 2]
    if below and _is_second_tier(header, below[0]):
        return _joined(header, index + 1, header.texts, below[0])
    above = rows[index - 1] if index else ()
    if sum(map(bool, above)) > 1 and are_words(above):
        return _joined(header, index, above, header.texts)
    return header


def _is_second_tier(header: Header, below: Sequence[str]) -> bool:
    """Does the row below the header name columns, and say nothing else in those that have names?"""
    if not are_words(below):
        return False
    upper, lower = _of_one_length(header.texts, below)
    spans = _spans(upper, lower)
    adds = False
    group = ""
    for above, text, is_group in zip(upper, lower, spans, strict=True):
        group = above or group
        is_named = field_of(above, header.given) is not None and not is_group
        if is_named and text and key(text) != key(above):
            return False
        texts = (text, *_both(group, text)) if is_group else (text,)
        adds = adds or (not is_named and any(field_of(one, header.given) for one in texts))
    return adds


def _both(group: str, below: str) -> tuple[str, ...]:
    """The title of a group and a header below it as one text, in either order."""
    return (f"{group} {below}", f"{below} {group}") if group and below else ()


def _spans(upper: Sequence[str], lower: Sequence[str]) -> list[bool]:
    """The columns whose title is that of several: "Contact" above "Cell" and "E-mail".

    The title is in its first column only, or in each where the cells were merged; the row below
    has another text in each.
    """
    spans: list[bool] = []
    start = 0
    for column, (above, below) in enumerate(zip(upper, lower, strict=True)):
        is_further = bool(below) and above in {"", upper[start]} and len(spans) > start
        if not is_further or not lower[start] or below in lower[start:column]:
            start = column
        spans.append(start < column and bool(upper[start]))
        spans[start] = spans[start] or spans[column]
    return spans


def _means_else(title: str, field: str | None) -> bool:
    """Whether a field below the title is not the membership's: an amount below "Arrears"."""
    return any(field in fields and words.search(title) for words, fields in _NOT_OF_MEMBERSHIP)


def _joined(header: Header, index: int, upper: Sequence[str], lower: Sequence[str]) -> Header:
    """One header from two rows, of which the upper one may name groups of columns."""
    texts, tiers, group = [], set(), ""
    upper, lower = _of_one_length(upper, lower)
    others = _below_others(upper, lower, header.given)
    spans = _spans(upper, lower)
    titles = {
        above
        for above, below in zip(upper, lower, strict=True)
        if field_of(below, header.given) in {_ID, _PASSPORT} and _ORGANISATION.search(above)
    }
    for column, (above, below) in enumerate(zip(upper, lower, strict=True)):
        group = above or group
        both = _both(group, below)
        # The title of several columns names none of them. "Surname" below "Name" is no whole name.
        own = (below,) if spans[column] else (below, above)
        if field_of(below, header.given) in _NAMES:
            both = tuple(one for one in both if field_of(one, header.given) != FULL_NAME)
        known = (text for text in (*both, *own) if field_of(text, header.given))
        former = next(filter(is_former, both), None)
        text = next(known, former or below or above)
        is_else = above not in titles and _means_else(above, field_of(below, header.given))
        if column in others or is_else:
            text = f"{group} {below}"
        if text in both:
            tiers.add(column)
        texts.append(text)
    # Two columns of one group and one name are those of the lower row.
    return Header(index, tuple(texts), header.given, header.how, frozenset(tiers), tuple(upper))


def _below_others(
    upper: Sequence[str], lower: Sequence[str], given: Mapping[str, str | None]
) -> set[int]:
    """The columns in a group about another person whose fields another group has as well."""
    groups: list[str] = []
    for above in upper:
        groups.append(above or (groups[-1] if groups else ""))
    if not any(map(_of_other, set(groups))):
        return set()
    fields = [field_of(text, given) for text in lower]
    own = {field for field, group in zip(fields, groups, strict=True) if not _of_other(group)}
    return {
        column
        for column, (field, group) in enumerate(zip(fields, groups, strict=True))
        if field in own and field is not None and _of_other(group)
    }


def _under_titles(header: Header, titles: Sequence[Sequence[str]]) -> Header:
    """The header with the title of another person in front of that person's columns.

    Such a title may be some rows above. Its columns end where the row's next text is. Where it is
    in several of them, as a merged cell is, these are the person's. A text in one cell may be a
    line for people, such as "Volunteer Database", so of its columns only those are the person's
    whose field another column has.
    """
    width = len(header.texts)
    below: dict[int, tuple[str, bool]] = {}
    #: The columns with a title in their own cell only.
    single: dict[int, str] = {}
    id_column = header.id_column
    for row in titles:
        for title, columns, direct in _blocks(row[:width]) if any(row) and are_words(row) else ():
            if id_column not in columns:
                is_merged = len(direct) > 1
                below |= {column: (title, is_merged and column in direct) for column in columns}
                single |= {column: title for column in direct if not is_merged}
    if not below:
        return header
    fields = [
        field_of(text, header.given) or (owners.BORN if is_birth_date(text) else None)
        for text in header.texts
    ]
    own = owners.with_parts(
        {field for column, field in enumerate(fields) if field and column not in below}
    )
    texts = [
        f"{below[column][0]} {text}"
        if column in below
        and text
        and not is_of_other_person(text)
        and (field in owners.PERSONAL or field is None)
        and (below[column][1] or field in own)
        else text
        for column, (text, field) in enumerate(zip(header.texts, fields, strict=True))
    ]
    names = names_of(texts)
    kept = tuple(
        (names[column], title)
        for column, title in single.items()
        if texts[column] == header.texts[column]
        and fields[column] in owners.PERSONAL - owners.NEEDED
    )
    named = replace(header, texts=tuple(texts), below_others=kept)
    return header if set(named.columns.missing) - set(header.columns.missing) else named


def _beside_other_names(
    header: Header, titles: Sequence[Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """The contacts in a group with a name of its own: "Pastor" above "Name" and "Cell".

    Whoever is meant, it may be another person than the member, whose names are elsewhere.
    """
    if not any(map(any, titles)):
        return
    fields = [field_of(text, header.given) for text in header.texts]
    counts = Counter(fields)
    for row in titles:
        for start, (title, first) in enumerate(zip(row, fields, strict=False)):
            if not title or first not in {*_NAMES, FULL_NAME}:
                continue
            run = [*takewhile(owners.PERSONAL.__contains__, fields[start : start + _MOST_PERSONAL])]
            if _ID not in run and all(counts[name] > run.count(name) for name in _NAMES):
                for column, field in enumerate(run, start):
                    if field not in owners.NEEDED:
                        yield header.names[column], title


def _blocks(row: Sequence[str]) -> Iterator[tuple[str, range, set[int]]]:
    """The titles in a row that name another person: the title, its columns, and where it stands."""
    starts = [
        column
        for column, text in enumerate(row)
        if text and (column == 0 or text != row[column - 1])
    ]
    for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
        title = row[start]
        # A line such as "Secretary: Joe" names somebody, and no columns.
        is_title = ":" not in title.rstrip(":") and len(title.split()) <= _MOST_TITLE_WORDS
        if is_title and _of_other(title):
            columns = range(start, end)
            yield title, columns, {column for column in columns if row[column] == title}


def _of_other(group: str) -> bool:
    return bool(group) and is_title_of_other_person(group)


def _of_one_length(
    upper: Sequence[str], lower: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    width = max(len(upper), len(lower))
    first, second = ((*row, *[""] * (width - len(row))) for row in (upper, lower))
    return first, second


def field_of(text: str, given: Mapping[str, str | None]) -> str | None:
    """The field that a text means as a header by itself."""
    return map_headers([text], given).known.get(text) if text else None
