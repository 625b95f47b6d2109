"""The known columns, and which header of a file stands for which of them."""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Without these a row can't become a member.
REQUIRED = ("id_number", "firstname", "surname")

#: The header of what the workbook of refused rows has behind the file's own columns.
ERRORS = "Errors"
#: The same where the file has a column of that name itself.
_ADDED = re.compile(rf"{ERRORS}( \(\d+\))?")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """What a file's headers stand for."""

    #: Field by header, in the order of the file.
    known: Mapping[str, str]
    unknown: tuple[str, ...]

    def header(self, field: str) -> str | None:
        """The header under which the file has a field."""
        return next((header for header, known in self.known.items() if known == field), None)

    @property
    def missing(self) -> tuple[str, ...]:
        """Required fields that the file doesn't have."""
        return tuple(field for field in REQUIRED if field not in self.known.values())


@cache
def variants() -> Mapping[str, tuple[str, ...]]:
    """Every field with its header variants; the first is the one to show."""
    text = files("rollbook.pipeline").joinpath("columns.toml").read_text(encoding="utf-8")
    return {field: tuple(names) for field, names in tomllib.loads(text).items()}


def map_headers(headers: Sequence[str], given: Mapping[str, str | None] | None = None) -> ColumnMap:
    """Find the field of each header.

    Where two headers stand for one field, that does which is before the other in the table, which
    has plain words such as "ID" and "Name" last; of two that are equal there, the first. The other
    stays unknown.

    Args:
        headers: of the file, in its order.
        given: the sender's own word for some headers, which counts before the table; null leaves
            a column alone.
    """
    own = {key(header): field for header, field in (given or {}).items()}
    taken = set(own.values())
    fields = {name: field for name, field in _fields_by_key().items() if field not in taken} | own
    ranks = {name: rank for rank, name in enumerate(fields)} | dict.fromkeys(own, 0)
    best: dict[str, str] = {}
    for header in sorted(headers, key=lambda header: ranks.get(key(header), len(ranks))):
        if field := fields.get(key(header)):
            best.setdefault(field, header)
    found = {header: field for field, header in best.items()}
    known = {header: found[header] for header in headers if header in found}
    return ColumnMap(known, tuple(header for header in headers if header not in known))


def fingerprint(headers: Sequence[str]) -> str:
    """The same for every file with these headers in this order, however they are spelt.

    It is also that of the workbook of its refused rows, which is sent next. Columns at either end
    that have no header don't count: those of a stray note, and those in front of a table that
    doesn't begin in column A, which not every format tells us of.
    """
    named = ["" if name == f"Column {n}" else name for n, name in enumerate(own(headers), start=1)]
    while named and not named[-1]:
        named.pop()
    while named and not named[0]:
        named.pop(0)
    return hashlib.sha256("\n".join(key(header) for header in named).encode()).hexdigest()


def own(headers: Sequence[str]) -> Sequence[str]:
    """The headers without the last one, where that is what a workbook of refused rows adds."""
    return headers[:-1] if headers and _ADDED.fullmatch(headers[-1]) else headers


def unique_headers(wanted: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """The headers, with a number behind those that stand there before or are taken."""
    unique: list[str] = []
    names = set(taken)
    for header in wanted:
        name, copy = header, 1
        while name in names:
            copy += 1
            name = f"{header} ({copy})"
        names.add(name)
        unique.append(name)
    return unique


def key(header: str) -> str:
    """A header without case, accents, spaces and punctuation, unless it has nothing else."""
    plain = unicodedata.normalize("NFKD", header).casefold()
    return "".join(filter(str.isalnum, plain)) or plain.strip()


@cache
def _fields_by_key() -> Mapping[str, str]:
    return {key(name): field for field, names in variants().items() for name in names}
