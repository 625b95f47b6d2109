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

#: What stands between the digits of a number.
_BETWEEN: Final = r"[\s\-().]{0,3}"
_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{13}(?![0-9])")
#: Digits of a South African phone number without country code and zero.
_NATIONAL: Final = 9
#: Of the files that offices send.
_CODECS: Final = ("utf-8", "latin-1", "utf-16-le")


@dataclass(frozen=True)
class Person:
    """Who is looked for."""

    #: Or that of the passport.
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

    @cached_property
    def number(self) -> re.Pattern[str]:
        """The ID number in any grouping, also without the zeros that a numeric cell loses."""
        digits = self.id_number.lstrip("0") or self.id_number
        return re.compile(rf"(?<![1-9])0{{0,3}}{_BETWEEN.join(digits)}(?![0-9])")

    def is_in(self, text: str) -> bool:
        """Whether a row's text is about this person.

        It holds the ID number; or the names, or the surname with a phone number or the e-mail
        address, and no other person's ID number: a typing error leaves a row without a right one.
        """
        if self.number.search(text):
            return True
        if any(_is_right(found) for found in _NUMBER.findall(text)):
            return False
        folded = _folded(text)
        if not _holds(folded, self.surname):
            return False
        if _holds(folded, self.firstname) or (self.email and self.email.lower() in folded):
            return True
        digits = re.sub(r"[^0-9]", "", text)
        return any(phone[-_NATIONAL:] in digits for phone in self.phones)

    def is_named_in(self, text: str) -> bool:
        """Whether a text beside the rows, such as a file's name, names this person."""
        folded = _folded(text)
        both = _holds(folded, self.surname) and _holds(folded, self.firstname)
        digits = re.sub(r"[^0-9]", "", text)
        is_called = any(phone[-_NATIONAL:] in digits for phone in self.phones)
        return both or is_called or self.number.search(text) is not None


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
        """The ID number; or both names with a phone number or the e-mail address."""
        names = {"firstname", "surname"} <= self._found
        return "number" in self._found or (names and bool({"phone", "email"} & self._found))

    @cached_property
    def _named(self) -> list[tuple[str, str]]:
        person = self.person
        phones = [("phone", phone[-_NATIONAL:]) for phone in person.phones]
        named = [("firstname", person.firstname), ("surname", person.surname), *phones]
        return [*named, ("email", person.email)] if person.email else named


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
