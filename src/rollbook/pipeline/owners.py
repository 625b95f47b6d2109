"""Columns of another person than the member: what follows "Next of kin" may be that person's."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.columns import (
    FULL_NAME,
    REQUIRED,
    is_birth_date,
    is_of_other_person,
    key,
    map_headers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rollbook.pipeline.header import Header

#: A column of birth dates, which is compared and no field.
BORN: Final = "date_of_birth"
#: The fields that a list has of another person as well.
PERSONAL: Final = frozenset(
    {
        "id_number", "passport_number", "firstname", "surname", "full_name", "cell_number",
        "landline_number", "email", "residential_address", "gender", "age", BORN,
    }
)  # fmt: skip
#: Headers of a company or a school, and of contacts that don't say whose they are, by their keys.
_ORGANISATIONS: Final = frozenset(
    {
        "company", "companyname", "nameofcompany", "firm", "business", "businessname", "workplace",
        "placeofwork", "school", "schoolname", "nameofschool", "institution", "college",
        "university", "maatskappy", "werkplek", "skool", "isikole", "isikolo", "inkampani",
        "sekolo",
    }
)  # fmt: skip
_CONTACTS: Final = frozenset(
    {
        "phone", "phoneno", "phonenumber", "tel", "telno", "telephone", "telephonenumber",
        "contact", "contactno", "contactnumber", "email", "emailaddress", "address",
        "physicaladdress", "streetaddress", "telefoon", "telefoonnommer", "kontaknommer", "adres",
        "ikheli", "idilesi",
    }
)  # fmt: skip
_MOBILE: Final = r"^\W*(?:27|0027)?0?[678]|@(?:gmail|yahoo|hotmail|outlook|icloud|live)\."
#: Those that every member needs.
NEEDED: Final = frozenset({*REQUIRED, FULL_NAME})
_NAMES: Final = frozenset({"firstname", "surname"})
_EXPIRY: Final = "expiry_date"
#: Documents that expire, which an ID number doesn't.
_DOCUMENT: Final = re.compile(
    r"\b(?:passports?|paspoort|permits?|visas?|visum|licen[cs]es?|lisensie|asylum|refugee"
    r"|(?:id|identity|identiteits?) ?(?:doc(?:ument)?s?|cards?|kaart|dokument))\b",
    re.IGNORECASE,
)
#: What a list says of a document between its number and its end.
_OF_DOCUMENT: Final = re.compile(
    r"\b(?:issued?|country|origin|type|land|uitgereik)\b", re.IGNORECASE
)
_ID: Final = "id_number"
_PASSPORT: Final = "passport_number"


def of_others(
    names: Sequence[str], given: Mapping[str, str | None]
) -> Iterator[tuple[str, str, bool]]:
    """The columns that may be another person's, because they follow one that is.

    The names are in the order of the file. A field that the sender gave for a header counts.

    Yields:
        The column's name, that of the other person's column before it, and whether a column of the
        member's own has the same field, so that this one is the other person's.
    """
    others = {name for name in names if is_of_other_person(name)}
    if not others:
        return
    said = {key(name) for name in given}
    known = map_headers(names, given).known
    fields = {name: field for name in names if (field := known.get(name) or _field(name))}
    runs: list[tuple[str, list[str]]] = []
    is_within = False
    for name in names:
        if name in others and name not in known:
            runs.append((name, []))
            is_within = True
        elif name in fields and fields[name] not in PERSONAL:
            is_within = False
        elif name in fields and is_within and key(name) not in said:
            runs[-1][1].append(name)
    for before, run in runs:
        elsewhere = [fields[name] for name in fields if name not in run]
        end = _end([fields[name] for name in run], elsewhere)
        own = with_parts({*elsewhere, *(fields[name] for name in run[end:])})
        for name in run[:end]:
            # A birth date is only compared, and no field is lost where it is the member's.
            is_certain = fields[name] in own or fields[name] == BORN
            if is_certain or name in known:
                yield name, before, is_certain


def of_organisations(rows: pl.DataFrame, header: Header) -> Iterator[tuple[str, str]]:
    """The columns of contacts that may be those of the company or school in the column before them.

    ``rows`` are those below the header. Contacts that differ among the people of one company are
    their own, and so are mobile numbers.

    Yields:
        The column's name and that of the company's.
    """
    names, known = header.names, header.columns.known
    owner: int | None = None
    for column, name in enumerate(names[: rows.width]):
        if key(name) in _ORGANISATIONS:
            owner = column
        elif key(name) not in _CONTACTS or name not in known:
            owner = None
        elif owner is not None and key(name) not in map(key, header.given):
            pairs = rows.select(
                pl.nth(owner).alias("owner").str.strip_chars().str.to_lowercase(),
                pl.nth(column).alias("value").str.strip_chars(),
            ).filter((pl.col("owner") != "") & (pl.col("value") != ""))
            are_own = pairs.group_by("owner").agg(pl.col("value").n_unique())["value"] > 1
            is_mobile = pairs["value"].str.contains(_MOBILE)
            if len(pairs) and not (are_own.any() or is_mobile.all()):
                yield name, names[owner]


def document_before(
    names: Sequence[str], groups: Sequence[str], given: Mapping[str, str | None]
) -> tuple[str, str] | None:
    """The column of the membership's expiry that may be a document's, and what says so before it.

    The names are in the order of the file, and ``groups`` are the titles above them. What the
    sender gave for a header counts.
    """
    said = {key(name) for name in given}
    known = map_headers(names, given).known
    document = title = ""
    for name, group in zip_longest(names, groups[: len(names)], fillvalue=""):
        title = group or title
        if known.get(name) == _EXPIRY:
            owner = next((one for one in (document, title) if _DOCUMENT.search(one)), None)
            return None if owner is None or key(name) in said else (name, owner)
        if not _OF_DOCUMENT.search(name):
            document = name
    return None


def _end(run: Sequence[str], elsewhere: Sequence[str]) -> int:
    """How many columns of a run, given by their fields, may be the other person's.

    What every member needs is the member's own where no other column has it: the member's columns
    begin at the last place from which on none of that is missing.
    """
    needed = {*run, *elsewhere} & NEEDED
    if _ID not in needed:
        needed |= {*run, *elsewhere} & {_PASSPORT}
    return next(
        end for end in range(len(run), -1, -1) if not needed - with_parts({*elsewhere, *run[end:]})
    )


def with_parts(fields: set[str]) -> set[str]:
    """The fields, with first name and surname where there are full names, and the reverse."""
    if FULL_NAME in fields:
        return fields | _NAMES
    return fields | {FULL_NAME} if fields >= _NAMES else fields


def _field(name: str) -> str | None:
    return map_headers([name]).known.get(name) or (BORN if is_birth_date(name) else None)
