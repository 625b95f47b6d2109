"""Documents: people whom a row names by a passport in place of a South African ID number.

A passport is an identity of its own: its country and its number together. It is never checked by
the rules of ID numbers and never compared with one. The reasons are in docs/decisions/0047.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from rollbook.pipeline.cells import clean, nulls
from rollbook.pipeline.columns import key
from rollbook.pipeline.id_numbers import has_form
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.values import written

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The columns that are added to a batch: the document as ``passport:ZWE:FN123456``, the key that
#: represents it in the column of ID numbers, and whether the row names a document at all, good or
#: not.
COLUMNS: Final = ("document", "document_key", "has_document")
#: Letters and digits of a passport's number. Passports have up to 9 (ICAO Doc 9303), some national
#: forms more.
_NUMBER: Final = re.compile(r"(?=.*[0-9])[A-Z0-9]{5,15}\Z")
#: What people write between the groups of a number. Any other character makes the text unclear.
_BETWEEN: Final = re.compile(r"[ _-]+")
#: A whole number as a spreadsheet program or pandas writes it: ``'123456789`` or ``123456789.0``.
_WHOLE: Final = re.compile(r"([0-9]+)[.,]0+\Z")
_POWER: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)?E[+-]?[0-9]{1,2}\Z")
_DATE: Final = re.compile(r"[0-9]{1,4}([ _-])(?:[0-9]{1,2}|[A-Z]{3,9})\1[0-9]{1,4}\Z")
#: An ID number has more digits than any passport (ICAO Doc 9303), also when it lost some.
_MOST_DIGITS: Final = 9
#: ID numbers have 13 digits; every key has more, and fits PostgreSQL's bigint.
_FIRST_KEY: Final = 10**13
_KEYS: Final = 9 * 10**18 - _FIRST_KEY
_SOUTH_AFRICA: Final = "ZAF"


class Found(NamedTuple):
    """What a batch says of documents."""

    frame: pl.DataFrame
    #: The field, the code and the rows of each problem.
    problems: list[tuple[str, str, pl.Series]]


def without_documents(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the columns of ``COLUMNS``, where no row names a document."""
    nobody = pl.Series("has_document", [False]).new_from_index(0, frame.height)
    return frame.hstack([*(nulls(frame.height, name) for name in COLUMNS[:2]), nobody])


def with_documents(
    frame: pl.DataFrame, written: pl.Series, *, is_combined: bool, accepts_passports: bool
) -> Found:
    """Find the rows whose person is named by a passport.

    An ID number counts before a passport, also one with a typing error: the row is refused then.
    ``written`` are the ID numbers as the file has them, before their separators were removed.
    ``is_combined``: their header names passports too.

    Returns:
        The frame with ``COLUMNS``, and without an ID number where that is a passport.
    """
    number, given = pl.col("id_number"), pl.col("passport_number")
    has_id = has_form(number)
    may_be = ~has_id & (given.is_not_null() | number.is_not_null())
    rows = frame.select("id_number", "passport_number", "passport_country")
    places = frame.select(may_be.arg_true()).to_series()
    own_texts = clean(written[places])
    problems: dict[tuple[str, str], list[int]] = {}
    documents: dict[int, str] = {}
    named: list[int] = []
    for place, own_text in zip(places, own_texts, strict=True):
        own, passport, country = rows.row(place)
        field = "id_number" if passport is None else "passport_number"
        if passport is None:
            own = _as_written(own, own_text)
            if not _may_be_passport(own, country, is_combined=is_combined):
                continue
        elif own is not None and _plain(own) != (_plain(passport) or None):
            continue  # the rules of ID numbers refuse it
        named.append(place)
        code, document = document_of(passport or own, country)
        if not accepts_passports and code != "passport_south_african":
            code, document = "passport_not_accepted", None
        if document is not None:
            documents[place] = document
        else:
            of = "passport_country" if code in _OF_COUNTRY and country else field
            problems.setdefault((of, code), []).append(place)
    unneeded = frame.select((has_id & given.is_not_null()).arg_true()).to_series()
    if len(unneeded):
        problems["passport_number", "passport_not_needed"] = unneeded.to_list()
    return Found(
        _marked(frame, named, documents),
        [(field, code, _at(found, frame.height)) for (field, code), found in problems.items()],
    )


def person() -> pl.Expr:
    """Whom a normalised row is about, as a hash: one number or passport is one person."""
    row = pl.col(ROW_NUMBER).cast(pl.String)
    return pl.coalesce("id_number", "document", "passport_number", row).hash()


def _marked(frame: pl.DataFrame, named: list[int], documents: Mapping[int, str]) -> pl.DataFrame:
    places, found = list(documents), list(documents.values())
    nothing = nulls(frame.height)
    keys = pl.Series([key_of(document) for document in found], dtype=pl.String)
    has_document = _at(named, frame.height)
    return frame.with_columns(
        nothing.clone().scatter(places, pl.Series(found, dtype=pl.String)).alias("document"),
        nothing.clone().scatter(places, keys).alias("document_key"),
        has_document.alias("has_document"),
        frame["id_number"].zip_with(~has_document, nothing).alias("id_number"),
    )


def _at(places: list[int], height: int) -> pl.Series:
    """One boolean for each row: true at these places."""
    return pl.repeat(value=False, n=height, dtype=pl.Boolean, eager=True).scatter(
        places, [True] * len(places)
    )


def key_of(document: str) -> str:
    """The key of a document: more digits than an ID number has, and the same each time.

    PostgreSQL checks that no two documents have one key (``same_key`` in sql/members.sql).
    """
    digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
    return str(_FIRST_KEY + int.from_bytes(digest, "big") % _KEYS)


def country_of(text: str) -> str | None:
    """The code of three letters of a country that is named by its code or name."""
    return _countries().get(key(text))


def _plain(text: str) -> str:
    """The passport number that a clean text is; empty where it isn't exactly one.

    Parts are never joined into a number of another passport: dates, powers of ten and texts with
    several numbers are none.
    """
    text = _WHOLE.sub(r"\1", text.removeprefix("'")).upper()
    if _POWER.match(text) or _DATE.match(text):
        return ""
    parts = _BETWEEN.split(text)
    number = "".join(parts)
    is_one = sum(_NUMBER.match(part) is not None for part in parts) < 2
    return number if is_one and _NUMBER.match(number) else ""


def _as_written(number: str, text: str | None) -> str:
    """An ID number with the separators that the file has."""
    same = text is not None and re.sub(r"[\W_]", "", text) == re.sub(r"[\W_]", "", number)
    return text if text is not None and same else number


def _may_be_passport(text: str, country: str | None, *, is_combined: bool) -> bool:
    """Whether a text in the column of ID numbers is a passport number and no mistyped ID number.

    Only digits, or more of them than a passport has, are an ID number that lost some or has a
    letter for a digit. Passport numbers of digits need a column of their own. A text with several
    passport numbers is one here, so that the row says so.
    """
    if not (is_combined or country) or text.isdecimal() or _POWER.match(text.upper()):
        return False
    plain = _plain(text)
    parts = [plain] if plain else re.split(r"[\W_]+", text.upper())
    return all(sum(map(str.isdecimal, part)) <= _MOST_DIGITS for part in parts) and any(
        _NUMBER.match(part) and not part.isdecimal() for part in parts
    )


#: By Saudi Arabia's code of two letters senders mean South Africa, and "Congo" is two countries.
_UNCLEAR: Final = frozenset({"SA", "Congo"})
_OF_COUNTRY: Final = ("passport_country_unknown", "passport_south_african")


def document_of(text: str, country: str | None) -> tuple[str, str | None]:
    """The code of what is wrong with a passport, or the document as ``passport:ZWE:FN123456``."""
    number = _plain(text)
    if re.fullmatch("[0-9]{13}", number):
        return "passport_is_id", None
    if not number:
        return "passport_unclear", None
    if country is None:
        return "passport_country_missing", None
    code = country_of(country)
    if code is None:
        return "passport_country_unknown", None
    if code == _SOUTH_AFRICA:
        return "passport_south_african", None
    return "", f"passport:{code}:{number}"


@cache
def _countries() -> Mapping[str, str]:
    """The code of three letters by every name and code, as ``columns.key`` writes them."""
    return {
        key(name): three
        for two, (three, *names) in written("countries.toml").items()
        for name in (two, three, *names)
        if name not in _UNCLEAR
    }
