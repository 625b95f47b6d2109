"""The known columns, and which header of a file means which of them.

A header is recognised by its own name or by a name that differs only in spelling style (case,
accents, punctuation). A header that only resembles a known one is never recognised; ``suggested``
names the fields it may mean.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rollbook import fields, languages
from rollbook.errors import ConfigurationError
from rollbook.fields import is_gone
from rollbook.languages import phrase
from rollbook.pipeline import correction_words
from rollbook.pipeline.values import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rollbook.fields import OwnFields

_Found = TypeVar("_Found")

#: Without these a row can't become a member.
REQUIRED = ("id_number", "firstname", "surname")
#: Fields whose value a row may have without a column: from its office, its ID number or a payment.
_FROM_ELSEWHERE: Final = ("province", "municipality", "expiry_date")
#: A column of first names and surnames together, which ``names`` splits.
FULL_NAME = "full_name"

#: The columns that the workbook of refused rows adds after the file's own, by the end of the key of
#: their headers, the last one first: why the row was refused, its number in the file that was sent,
#: and, where rows repeat others with other values, whether to use the row ("no" refuses it again).
ERRORS: Final = "errors"
SENT_ROW: Final = "sent_row"
USE_ROW: Final = "use_row"

_BRACKETS: Final = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")
#: "1. Surname", "a) Surname".
_ENUMERATION: Final = re.compile(r"^\s*(?:\d{1,2}|[a-z])[.)]\s+", re.IGNORECASE)
#: The separators of alternatives such as "ID number / Passport".
_BETWEEN: Final = re.compile(r"\s*[/|\\;,&+\n]\s*|\s+(?:or|of|and|en)\s+|\s+-\s+", re.IGNORECASE)
_TRAIL: Final = re.compile(r"\s*[:\-\u2013]\s+(?![0-9]+\s*$)")  # "Ward: 12" has a value
#: The date order in a header: dd/mm/yyyy, yy-mm-dd, jjjj/mm/dd.
_DATE_ORDER: Final = re.compile(
    r"\b(?:(d{1,2})[-/. ]?(m{1,4})[-/. ]?([yj]{2,4})|(m{1,4})[-/. ]?(d{1,2})[-/. ]?([yj]{2,4})|"
    r"([yj]{2,4})[-/. ]?(m{1,4})[-/. ]?(d{1,2}))\b",
    re.IGNORECASE,
)
_SURNAME_FIRST: Final = re.compile(
    r"\b(?:surname|last name|van|isibongo|sefane|fane|ifani|tshifani|xivongo)\b", re.IGNORECASE
)
_DIGITS_NEEDED: Final = re.compile(
    r"^(?:\d{1,2}|thirteen|ten|eight)(?: ?(?:digits?|numbers?|syfers?))?$"
)


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which fields the headers of a file mean."""

    #: Field by header, in the order of the file. Several headers may mean one field.
    known: Mapping[str, str]
    unknown: tuple[str, ...]
    #: The headers of each field; where a row has a value under several, the first counts.
    headers: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    #: The headers that must not be read: the sender left them out, or they are another person's.
    left_out: frozenset[str] = frozenset()

    def header(self, field: str) -> str | None:
        """The header whose value counts first for a field; None where the file has none."""
        return next(iter(self.headers.get(field, ())), None)

    @property
    def missing(self) -> tuple[str, ...]:
        """Required fields that the file doesn't have; passports take the place of ID numbers."""
        found = set(self.known.values())
        if FULL_NAME in found:
            found |= {"firstname", "surname"}
        if "passport_number" in found:
            found.add("id_number")
        needed = (name for name in fields.current().needed if name not in _FROM_ELSEWHERE)
        return tuple(field for field in (*REQUIRED, *needed) if field not in found)


@cache
def built_in() -> Mapping[str, tuple[str, ...]]:
    """Every built-in field with its header variants; the first is its English name.

    Its names in all languages are among them, so that each language's template is understood.
    """
    return {
        field: tuple(dict.fromkeys((*names, *sorted(languages.everywhere(f"column.{field}")))))
        for field, names in written("columns.toml").items()
    }


def title(field: str) -> str:
    """A field's name as a header in the spoken language; an own field's is as the file has it."""
    if is_gone(field):
        return field
    own = fields.current().by_key.get(field)
    return own.title if own is not None else phrase(f"column.{field}")


def variants() -> Mapping[str, tuple[str, ...]]:
    """The same with the organisation's own fields."""
    own = fields.current()
    return _with_own(own) if own.fields else built_in()


@cache
def _with_own(own: OwnFields) -> Mapping[str, tuple[str, ...]]:
    return {**built_in(), **{field.key: field.headers for field in own.fields}}


def check_own() -> None:
    """Check that no header of an own field means a built-in field.

    Raises:
        ConfigurationError: one does.
    """
    for field in fields.current().fields:
        for header in field.headers:
            if (found := _built_in(header)[0]) is not None:
                raise ConfigurationError(
                    f"ROLLBOOK_FIELDS_FILE, line {field.line}: [fields.{field.name}] headers: "
                    f"{header!r} is a header of {built_in()[found][0]}, which every installation "
                    "has. Correct the file and start again."
                )


def map_headers(headers: Sequence[str], given: Mapping[str, str | None] | None = None) -> ColumnMap:
    """Find the field of each header.

    A field that the sender gave for a header counts before the table; null leaves the column out.
    Where several headers mean one field, they count in the order of their names in the table, then
    in that of the file. A header that is too plain to be sure of, such as "ID" or "Name", counts
    only where no other header means its field. One of corrections, such as "Corrected ID Number",
    counts after all others of its field; see ``is_correction``.
    """
    chosen = {key(name): field for name, field in (given or {}).items() if not is_gone(field or "")}
    taken = set(chosen.values())
    in_context = {**_of_period(headers), **_of_bank(headers)}
    fields: dict[str, str] = {}
    ranks: dict[str, tuple[bool, int]] = {}
    for header in headers:
        name = key(header)
        if name in chosen:
            found, rank = chosen[name], (False, -1)
        else:
            is_meant = name in in_context
            found, rank = (in_context[name], (False, 0)) if is_meant else _recognised(header)
            if found in taken:
                found = None
        if found is not None:
            fields[header], ranks[header] = found, rank
    by_field: dict[str, tuple[str, ...]] = {}
    for header in sorted(fields, key=lambda header: ranks[header]):
        is_weak, _ = ranks[header]
        others = by_field.get(fields[header], ())
        if not (is_weak and others):
            by_field[fields[header]] = (*others, header)
    _add_corrections(headers, chosen, fields, by_field)
    counted = {header for found in by_field.values() for header in found}
    known = {header: fields[header] for header in headers if header in counted}
    unknown = tuple(header for header in headers if header not in known)
    left_out = frozenset(name for name in unknown if chosen.get(key(name), "") is None)
    return ColumnMap(known, unknown, by_field, left_out)


def _of_period(headers: Sequence[str]) -> Mapping[str, str | None]:
    """What headers mean beside "Van" (from) and "Tot" (to), where another has the surname."""
    names = {key(header): header for header in headers}
    if not names.keys() >= {"van", "tot"}:
        return {}
    if "familienaam" in names:
        return {"van": None, "familienaam": "surname"}
    others = (_recognised(header)[0] for name, header in names.items() if name != "van")
    return {"van": None} if "surname" in others else {}


def _of_bank(headers: Sequence[str]) -> Mapping[str, str | None]:
    """What "Branch" beside a bank or an account means: the bank's, and no ward."""
    names = [key(header) for header in headers]
    for name, *beside in zip(names, ["", *names], [*names[1:], ""], strict=False):
        if name == "branch" and any(one.startswith(("bank", "account", "acc")) for one in beside):
            return {name: None}
    return {}


def _add_corrections(
    headers: Sequence[str],
    chosen: Mapping[str, str | None],
    fields: dict[str, str],
    by_field: dict[str, tuple[str, ...]],
) -> None:
    """Add the headers of corrections to those of their fields, and to the field of each header.

    Those of former values, such as "Old Cell", have what "New Cell" lacks. They are read only where
    the field has no plain column.
    """
    unknown = [
        header for header in headers if key(header) not in chosen and not _recognised(header)[0]
    ]
    plain = {field for field in (*by_field, *chosen.values()) if field}
    if FULL_NAME in plain or plain.issuperset(("firstname", "surname")):
        plain |= {FULL_NAME, "firstname", "surname"}
    for header in unknown:
        field, is_sure = _corrected(header) or (None, False)
        if field is not None and (is_sure or field in plain):
            fields[header] = field
            by_field[field] = (*by_field.get(field, ()), header)
    for header in unknown:
        field = _former(header)
        if header not in fields and field is not None and field in by_field and field not in plain:
            fields[header] = field
            by_field[field] = (*by_field[field], header)


def is_correction(header: str) -> bool:
    """Does a header name a field with a word of correction, such as "New Cell" or "Regte ID"?

    Its cells are compared with those of the plain column, and count by themselves without one.
    """
    return _recognised(header)[0] is None and _corrected(header) is not None


def is_former(header: str) -> bool:
    """Does a header name a field with a word such as "old", as "Old ID Number" does?"""
    return _recognised(header)[0] is None and _former(header) is not None


def suggested(header: str) -> tuple[str, ...]:
    """The fields that an unknown header may mean, the most likely first.

    They are those of a known header within one edit (a letter wrong, missing, too many or swapped),
    those listed as possible, and those whose name is part of the header's.
    """
    from rapidfuzz.distance import OSA  # noqa: PLC0415 - only a file with unknown headers needs it

    name, words = _canonical(header), f" {words_of(header)} "
    listed = _listed_suggestions()
    found = [*listed.get(key(header), ()), *listed.get(name, ())]
    found += [
        field
        for known, (field, _) in _by_canonical().items()
        if min(len(name), len(known)) >= _LEAST_NEAR - 1
        and max(len(name), len(known)) >= _LEAST_NEAR
        and OSA.distance(name, known, score_cutoff=1) <= 1
    ]
    whole = _recognised(_BRACKETS.sub(" ", header))[0]
    parts = [_recognised(part)[0] for part in _alternatives(header)]
    found += [part for part in (whole, *parts) if part is not None]
    by_length = sorted(_by_words().items(), key=lambda item: -len(item[0]))
    found += [field for known, field in by_length if f" {known} " in words]
    return tuple(dict.fromkeys(found))


def missing_hint(columns: ColumnMap) -> str:
    """A sentence on the headers that may mean a required field which is missing, or nothing."""
    fields = {*columns.missing, FULL_NAME}
    near = [
        phrase("refusal.may_be", header=header[:60], field=title(field))
        for header in columns.unknown[:_MOST_HINTS]
        for field in suggested(header)[:1]
        if field in fields
    ]
    first = columns.header("firstname")
    if columns.missing == ("surname",) and first and key(first) in _weak():
        near.append(phrase("refusal.may_be", header=first[:60], field=title(FULL_NAME)))
    return f" {phrase('refusal.may_be.all', listed=', '.join(near))}" if near else ""


#: The most unknown headers that are checked: a file may have thousands.
_MOST_HINTS: Final = 50

#: Shorter names have too many neighbours: "Age" is one edit from "Page", "Tel" from "Sel".
_LEAST_NEAR: Final = 5


def is_surname_first(header: str) -> bool:
    """Does a header of full names name the surname before the first name?"""
    match = _SURNAME_FIRST.search(header)
    before = header[: match.start()] if match else header
    return match is not None and not any(part.isalpha() for part in before)


def names_passport(header: str) -> bool:
    """Does a header of ID numbers name passports too, such as "ID number / Passport"?"""
    parts = [_by_canonical().get(_canonical(part), ("", 0))[0] for part in _alternatives(header)]
    return "passport_number" in parts


def is_of_other_person(group: str) -> bool:
    """Does the title of a group of columns name another person than the member?

    "Registered by" and the like do, whatever was done: a word and one of ``done_by``.
    """
    words = f" {words_of(group)} "
    if any(words.find(f" {one} ") > 0 for one in _listed("done_by")):
        return True
    return any(f" {one} " in words or f" {one}s " in words for one in _listed("other_people"))


def is_title_of_other_person(title: str) -> bool:
    """Does a title above columns name another person than the member?

    "Registered by" does. "Compiled by J Smith" is a note that names who wrote the list.
    """
    words = f" {words_of(title)} "
    for one in _listed("done_by"):
        before, _, after = words.partition(f" {one} ")
        rest = after.strip()
        is_kind = rest in _listed("other_people") or _recognised(rest)[0] is not None
        if before.strip() and rest and not is_kind:
            return False
    return is_of_other_person(title)


def is_birth_date(header: str) -> bool:
    """Does a header name the member's date of birth? Such a column is compared and not stored."""
    bare = key(_DATE_ORDER.sub(" ", _BRACKETS.sub(" ", header)))
    for owner in sorted(map(key, _listed("owners")), key=len, reverse=True):
        bare = bare.removeprefix(owner)
    return bare in map(key, _listed("birth_dates"))


def date_order(header: str) -> str | None:
    """The order that a header gives for its dates: ``dmy``, ``mdy``, ``ymd``, or None."""
    match = _DATE_ORDER.search(header)
    if match is None:
        return None
    return "dmy" if match[1] else "mdy" if match[4] else "ymd"


def fingerprint(headers: Sequence[str]) -> str:
    """The same for every file with these headers in this order, however they are spelt.

    It is also that of the workbook of its refused rows, which is sent next. Columns at either end
    that have no header don't count: those of a stray note, and those in front of a table that
    doesn't begin in column A, which not every format shows.
    """
    named = ["" if name == f"Column {n}" else name for n, name in enumerate(own(headers), start=1)]
    while named and not named[-1]:
        named.pop()
    while named and not named[0]:
        named.pop(0)
    return hashlib.sha256("\n".join(key(header) for header in named).encode()).hexdigest()


def own(headers: Sequence[str]) -> Sequence[str]:
    """The headers without those at the end that a workbook of refused rows adds."""
    return trimmed(headers, (ERRORS, SENT_ROW, USE_ROW))


def trimmed(headers: Sequence[str], added: Iterable[str]) -> Sequence[str]:
    """The headers without these added ones at their end, in any language, the last one first."""
    for name in added:
        if headers and _added(name).fullmatch(headers[-1]):
            headers = headers[:-1]
    return headers


def reasons(headers: Sequence[str]) -> set[str]:
    """The column of a workbook of refused rows with what was wrong; none in another file."""
    if not any(_added(SENT_ROW).fullmatch(header) for header in headers):
        return set()
    return {header for header in headers if _added(ERRORS).fullmatch(header)}


@cache
def _added(name: str) -> re.Pattern[str]:
    """The headers of an added column; numbered where the file has one of that name itself."""
    names = "|".join(map(re.escape, sorted(languages.everywhere(f"refused.{name}"))))
    return re.compile(rf"(?:{names})( \(\d+\))?")


@cache
def decision_keys() -> frozenset[str]:
    """The keys of the header that decides whether a row is used, in all languages."""
    return frozenset(map(key, languages.everywhere(f"refused.{USE_ROW}")))


def sent_place(headers: Sequence[str]) -> int | None:
    """The place of the column with the numbers of rows in an earlier file; None where none has it.

    It is among those at the end that a workbook of refused rows, or of fixed ones, adds.
    """
    before = trimmed(headers, (ERRORS,))
    return len(before) - 1 if len(trimmed(before, (SENT_ROW,))) < len(before) else None


def unique_headers(wanted: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """The headers, with a number added to those that are repeated or taken."""
    unique: list[str] = []
    names = set(taken)
    # The last number of each header: a hostile file has one header in thousands of columns.
    copies: dict[str, int] = {}
    for header in wanted:
        name, copy = header, copies.get(header, 1)
        while name in names:
            copy += 1
            name = f"{header} ({copy})"
        copies[header] = copy
        names.add(name)
        unique.append(name)
    return unique


#: A longer text is no header, and would only fill the caches.
_MOST_CACHED_CHARS: Final = 200


def _cached(find: Callable[[str], _Found]) -> Callable[[str], _Found]:
    """Keep what is found for a header: those of a file are looked up many times."""
    cached = lru_cache(maxsize=4096)(find)

    @wraps(find)
    def found(header: str) -> _Found:
        return cached(header) if len(header) <= _MOST_CACHED_CHARS else find(header)

    return found


@_cached
def key(header: str) -> str:
    """A header without case, accents, spaces and punctuation, unless it has nothing else."""
    plain = unicodedata.normalize("NFKD", header).casefold()
    return "".join(filter(str.isalnum, plain)) or plain.strip()


#: Whether a header is too plain to be sure of, and its place in the table: what counts first.
_Rank = tuple[bool, int]


def _recognised(header: str) -> tuple[str | None, _Rank]:
    """The field that a header means by itself, with its rank; None where it isn't known."""
    found, own = _built_in(header), fields.current()
    if found[0] is None and own.fields:
        return _own_headers(own).get(key(header), found)
    return found


def _corrected(header: str) -> tuple[str, bool] | None:
    """The field that a header of corrections is about, and whether it may be the only one."""
    short = header if len(header) <= _MOST_CACHED_CHARS else ""
    for text, is_sure in correction_words.without(_ENUMERATION.sub("", short)):
        field, (is_weak, _) = _recognised(text)
        if field is not None:
            return field, is_sure and (not is_weak or field == "id_number")
    return None


def _former(header: str) -> str | None:
    """The field of which a header has the former values."""
    found = (_recognised(rest)[0] for rest in correction_words.without_former(words_of(header)))
    return next(filter(None, found), None)


@cache
def _own_headers(own: OwnFields) -> Mapping[str, tuple[str, _Rank]]:
    """Field and rank by the key of each header of an own field."""
    return {
        key(header): (field.key, (False, place))
        for field in own.fields
        for place, header in enumerate(field.headers)
    }


@_cached
def _built_in(header: str) -> tuple[str | None, _Rank]:
    """The same among the built-in fields."""
    for name, is_sure in _readings(header):
        found = _by_canonical().get(name)
        if found is not None and (is_sure or not found[1][0]):
            return found
    alternatives = _alternatives(header)
    if len(alternatives) > 1:
        return _of_alternatives(alternatives)
    return None, (True, 0)


def _readings(header: str) -> Iterator[tuple[str, bool]]:
    """The names under which a header may be in the table, and whether a plain one counts."""
    yield _canonical(header), True
    unnumbered = _ENUMERATION.sub("", header)
    bare = _BRACKETS.sub(lambda match: " " if _is_qualifier(match[1]) else match[0], unnumbered)
    if not _BRACKETS.search(bare):
        yield _canonical(bare), True
        head, *tail = _TRAIL.split(bare, maxsplit=1)
        if tail and _is_qualifier(tail[0]):
            yield _canonical(head), True
        words = words_of(bare)
        for owner in _listed("owners"):
            if words.startswith(f"{owner} "):
                yield _canonical(words.removeprefix(f"{owner} ").removeprefix("s ")), False


def _is_qualifier(text: str) -> bool:
    words = words_of(text)
    return (
        not words
        or words in _listed("qualifiers")
        or words in _above()
        or _DIGITS_NEEDED.match(words) is not None
        or date_order(text) is not None
    )


def _alternatives(header: str) -> list[str]:
    return [part for part in _BETWEEN.split(_BRACKETS.sub(" ", header)) if part.strip()]


def _of_alternatives(parts: Sequence[str]) -> tuple[str | None, _Rank]:
    """The field of "ID number / Passport" or "Surname / Van": all parts must agree."""
    found = [_by_canonical().get(_canonical(part)) for part in parts]
    fields = {one[0] for one in found if one is not None}
    if "id_number" in fields:
        fields.discard("passport_number")  # a cell is one or the other; see documents.py
    others = {words_of(part) for part, one in zip(parts, found, strict=True) if one is None}
    if fields == {"firstname", "surname"} and not others:
        return FULL_NAME, (False, len(_by_canonical()))
    allowed = set(_listed("other_documents")) if fields == {"id_number"} else set()
    if len(fields) != 1 or not others <= allowed:
        return None, (True, 0)
    field = fields.pop()
    return field, min(one[1] for one in found if one is not None and one[0] == field)


def words_of(header: str) -> str:
    """The words of a header or a name in small letters without accents, with single spaces."""
    plain = unicodedata.normalize("NFKD", header).casefold()
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in kept).split())


def _canonical(header: str) -> str:
    """The key of a header, with one word for all that mean "number"."""
    numbers = _listed("number_words")
    words = ["number" if word in numbers else word for word in words_of(header).split()]
    return "".join(words) or key(header)


@cache
def _by_canonical() -> Mapping[str, tuple[str, _Rank]]:
    """Field and rank by canonical name; a name that would mean two fields is left to its key."""
    weak = {_canonical(name) for name in _listed("weak")}
    found: dict[str, tuple[str, _Rank]] = {}
    for place, (field, name) in enumerate(
        (field, name) for field, names in built_in().items() for name in names
    ):
        canonical = _canonical(name)
        found.setdefault(canonical, (field, (canonical in weak, place)))
        # As one word: "idno", "cellno".
        found.setdefault(key(name), (field, (canonical in weak, place)))
    return found


@cache
def _by_words() -> Mapping[str, str]:
    """Field by the words of its names that are long enough to be found inside other headers."""
    return {
        words: field
        for field, names in built_in().items()
        for name in names
        if len(words := words_of(name)) >= _LEAST_NEAR - 1 and words not in _listed("weak")
    }


@cache
def _listed_suggestions() -> Mapping[str, Sequence[str]]:
    listed: dict[str, Sequence[str]] = _listed("suggested")
    exact = {key(name): fields for name, fields in listed.items()}
    return {_canonical(name): fields for name, fields in listed.items()} | exact


@cache
def _above() -> frozenset[str]:
    """What the columns that ``lines`` adds have in brackets, in all languages."""
    return frozenset(map(words_of, languages.everywhere("lines.above")))


def _listed(name: str) -> Any:
    """A list or table of ``headers.toml``."""
    return written("headers.toml")[name]


@cache
def _weak() -> frozenset[str]:
    return frozenset(key(name) for name in _listed("weak"))
