"""What a fields file defines: own fields, and rules on their values and on built-in fields'."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

#: In front of an own field's name wherever it is among the built-in fields, so that a later version
#: of Rollbook may have a built-in field of that name.
PREFIX: Final = "own."

Kind = Literal["text", "integer", "decimal", "date", "yes/no", "choice", "phone", "e-mail"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Bound = int | Decimal | dt.date


@dataclass(frozen=True, slots=True)
class Rule:
    """What the values of a field must satisfy; None in a field leaves it open."""

    #: A row without a value is refused.
    needed: bool = False
    #: A row with another value is refused; otherwise the value is left out.
    refuse: bool = False
    #: The values that are known. A text is compared without case, spaces and punctuation.
    choices: tuple[str, ...] | None = None
    #: A regular expression of Rust's crate ``regex``, which a whole value must match. Its time is
    #: linear in the text.
    pattern: str | None = None
    #: Of a number or a date its value; of a text its characters.
    least: Bound | None = None
    most: Bound | None = None
    #: Years since the birth date, on the day of the upload.
    least_age: int | None = None

    @property
    def is_strict(self) -> bool:
        """Whether a value that breaks the rule refuses the row."""
        return self.needed or self.refuse


@dataclass(frozen=True, slots=True)
class OwnField:
    """A column of the organisation's own."""

    name: str
    #: The first is its title.
    headers: tuple[str, ...]
    kind: Kind
    rule: Rule
    #: Of a ``decimal``.
    decimals: int = 2
    #: Where the file gives the headers.
    line: int = 1

    @property
    def key(self) -> str:
        """Its name among the built-in fields."""
        return PREFIX + self.name

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.headers[0]


@dataclass(frozen=True)
class OwnFields:
    """What a fields file defines."""

    fields: tuple[OwnField, ...] = ()
    #: Of built-in fields, by field.
    built_in: tuple[tuple[str, Rule], ...] = ()

    @cached_property
    def by_key(self) -> Mapping[str, OwnField]:
        """The own fields in the file's order."""
        return {field.key: field for field in self.fields}

    @cached_property
    def rules(self) -> Mapping[str, Rule]:
        """All rules, by field."""
        return {**dict(self.built_in), **{field.key: field.rule for field in self.fields}}

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Fields without which a row is refused."""
        return tuple(name for name, rule in self.rules.items() if rule.needed)

    def __bool__(self) -> bool:
        """Whether anything is defined."""
        return bool(self.fields or self.built_in)


NONE: Final = OwnFields()
