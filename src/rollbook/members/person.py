"""A person as texts and files name them: what erasing looks for."""

from __future__ import annotations

import re
import struct
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Separators between the digits of a number.
_BETWEEN: Final = r"[\s\-().]{0,3}"
_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{13}(?![0-9])")
#: What is written between the signs of a passport number; a dot may be an amount's.
_IN_PASSPORT: Final = r"[ ._/-]{0,3}"
_IN_DIGITS: Final = r"[ _-]?"
#: A text that is likely a passport number. Wards and voting districts have 8 digits.
_PASSPORT: Final = re.compile(
    r"(?<![A-Z0-9@._-])(?:[A-Z]{1,3}[ -]?[0-9]{5,9}[A-Z]?|[0-9]{2}[A-Z]{2}[0-9]{5}|[1-9][0-9]{8})"
    r"(?![A-Z0-9@_-])",
    re.IGNORECASE,
)
#: Digits of a South African phone number without country code and zero.
_NATIONAL: Final = 9
#: Of the files that offices send.
_CODECS: Final = ("utf-8", "latin-1", "utf-16-le")


@dataclass(frozen=True)
class Person:
    """Who is looked for."""

    #: Or the passport's number, which never has 13 digits.
    id_number: str
    firstname: str
    surname: str
    #: As stored: ``+27820000001``.
    phones: tuple[str, ...] = ()
    email: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Person:
        """The person of a row of the table ``members``, or of ``as_json``."""
        phones = values.get("phones") or [values.get("cell_number"), values.get("landline_number")]
        return cls(
            values.get("identity_number") or values["id_number"],
            values["firstname"],
            values["surname"],
            tuple(phone for phone in phones if phone),
            values.get("email"),
        )

    def as_json(self) -> dict[str, Any]:
        """For ``of``."""
        return {
            "id_number": self.id_number,
            "firstname": self.firstname,
            "surname": self.surname,
            "phones": list(self.phones),
            "email": self.email,
        }

    @property
    def has_passport(self) -> bool:
        """Whether a passport names the person. Other countries may use its number too."""
        return re.fullmatch("[0-9]{13}", self.id_number) is None

    @cached_property
    def number(self) -> re.Pattern[str]:
        """The ID number in any grouping, also without the zeros that a numeric cell loses.

        A passport number in any case and grouping, but no part of a longer word, phone number or
        amount.
        """
        if self.has_passport:
            return _passport(self.id_number)
        digits = self.id_number.lstrip("0") or self.id_number
        return re.compile(rf"(?<![1-9])0{{0,3}}{_BETWEEN.join(digits)}(?![0-9])")

    def is_in(self, text: str) -> bool:
        """Whether a row's text is about this person.

        It holds the ID number, or the passport number and the surname; or the names, or the surname
        with a phone number or the e-mail address, and no other person's ID number: a typing error
        leaves a row without a right one. A row with another passport is another person's.
        """
        has_number = self.number.search(text) is not None
        if has_number and not self.has_passport:
            return True
        folded = _folded(text)
        has_other = any(_is_right(found) for found in _NUMBER.findall(text))
        if has_other or not _holds(folded, self.surname):
            return False
        if self.has_passport and (has_number or self._holds_other_passport(text)):
            return has_number
        if _holds(folded, self.firstname) or (self.email and self.email.lower() in folded):
            return True
        digits = re.sub(r"[^0-9]", "", text)
        return any(phone[-_NATIONAL:] in digits for phone in self.phones)

    def is_named_in(self, text: str) -> bool:
        """Whether a text beside the rows, such as a file's name, names this person.

        A passport number of digits counts with the surname only: it may be a ward or an amount.
        """
        folded = _folded(text)
        has_surname = _holds(folded, self.surname)
        both = has_surname and _holds(folded, self.firstname)
        digits = re.sub(r"[^0-9]", "", text)
        is_called = any(phone[-_NATIONAL:] in digits for phone in self.phones)
        may_be_other = self.has_passport and self.id_number.isdecimal() and not has_surname
        return both or is_called or (not may_be_other and self.number.search(text) is not None)

    def _holds_other_passport(self, text: str) -> bool:
        own = {phone[-_NATIONAL:] for phone in self.phones}
        return any(found not in own for found in _PASSPORT.findall(text))


@dataclass
class Traces:
    """What a file, read piece by piece, holds of a person; in any usual encoding."""

    person: Person
    _found: set[str] = field(default_factory=set)

    def look_at(self, content: bytes) -> None:
        """Look at a piece of the file, which overlaps the one before."""
        number = self.person.id_number
        if number.isdecimal() and struct.pack("<d", float(number)) in content:
            self._found.add("number")
        texts = (
            content.decode("latin-1"),
            content.decode("utf-16-le", "replace"),
            content[1:].decode("utf-16-le", "replace"),
        )
        if any(self.person.number.search(text) is not None for text in texts):
            self._found.add("number")
        small = content.lower()
        self._found |= {
            name
            for name, value in self._named
            if any(value.lower().encode(codec, "replace").lower() in small for codec in _CODECS)
        }

    @property
    def is_certain(self) -> bool:
        """The ID number; or both names with a phone number or the e-mail address.

        Of a passport its number with the surname.
        """
        names = {"firstname", "surname"} <= self._found
        numbered = {"number", "surname"} if self.person.has_passport else {"number"}
        return numbered <= self._found or (names and bool({"phone", "email"} & self._found))

    @cached_property
    def _named(self) -> list[tuple[str, str]]:
        person = self.person
        phones = [("phone", phone[-_NATIONAL:]) for phone in person.phones]
        named = [("firstname", person.firstname), ("surname", person.surname), *phones]
        return [*named, ("email", person.email)] if person.email else named


def _passport(number: str) -> re.Pattern[str]:
    if number.isdecimal():
        digits = _IN_DIGITS.join(number)
        before, after = (
            r"(?<![A-Za-z0-9+])(?<![0-9][ .()/-])",
            r"(?![A-Za-z0-9])(?![ ./-][0-9]|,[0-9]{2}\b)",
        )
        return re.compile(rf"{before}{digits}(?:[.,]0(?![0-9])|{after})")
    signs = _IN_PASSPORT.join(number)
    return re.compile(rf"(?<![A-Za-z0-9]){signs}(?![A-Za-z0-9])", re.IGNORECASE)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).split())


def _holds(folded: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(_folded(name))}(?!\w)", folded) is not None


def _is_right(number: str) -> bool:
    """Whether the check digit of an ID number fits (Luhn)."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
