"""A user's text as it may be shown: ID numbers as ``8001••••••087``, and no control characters.

Only downloads contain whole ones. Everything else that is made of a user's text (names
of files, sheets and columns, cells, sentences, log lines) comes through here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: What may separate groups: blanks, hyphens, dashes and invisible characters.
_BETWEEN = r"[\s\-\u00ad\u200b-\u200d\u2010-\u2015\u2060\u2212\ufeff]{0,3}"
#: Thirteen digits, perhaps in groups, and no part of a longer number. A UUID may look like one and
#: is left as it is, as most of what is logged and answered is about a job.
_ID_NUMBER = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    rf"|(?<!\d)\d(?:{_BETWEEN}\d){{12}}(?!\d)"
)
_DIGIT = re.compile(r"\d")
#: A key for programs (``accounts.keys``) after its first characters, which are its hint.
_KEY = re.compile(r"(\brbk_[A-Za-z0-9_-]{8})[A-Za-z0-9_-]{16,}")
#: The longest cell that is shown whole although it is meant to be an ID number and isn't one: a
#: shorter text identifies nobody.
_SHORT = 9
#: Problems whose cell is the country of a passport.
_OF_COUNTRY = frozenset({"passport_country_unknown", "passport_south_african"})
#: Categories of Unicode: all that begin with C, and separators of lines and paragraphs.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: In place of what is not shown.
HIDDEN = "••••••"


def masked(text: str) -> str:
    """A text with each ID number and each key for programs in it masked."""
    if "rbk_" in text:
        text = _KEY.sub(rf"\1{HIDDEN}", text)
    return _ID_NUMBER.sub(_one, text)


def visible(text: str) -> str:
    """A text without what steers the program that shows it, except for line feeds.

    Control characters move a terminal's cursor, some of Unicode's turn the order of letters round.
    """
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) not in _STEERING)


def masked_cell(text: str) -> str:
    """A cell that is meant to be an ID number: masked also where a digit is wrong or missing."""
    return text if len(text) <= _SHORT else f"{text[:4]}{HIDDEN}{text[-3:]}"


def masked_passport(text: str) -> str:
    """A passport's number, or a cell that is meant to be one; it may have a few signs only."""
    return f"{text[:1]}{HIDDEN}{text[-2:]}" if len(text) > 4 else HIDDEN


def mask_of(code: str) -> Callable[[str], str]:
    """What masks the cell of a problem with this code."""
    kind = "country" if code in _OF_COUNTRY else code.partition("_")[0]
    return {"id": masked_cell, "passport": masked_passport, "country": _masked_country}.get(
        kind, masked
    )


def _masked_country(text: str) -> str:
    """A country; a passport number in its place is masked."""
    return masked_passport(text) if _DIGIT.search(text) else masked(text)


def _one(found: re.Match[str]) -> str:
    if found["uuid"]:
        return found[0]
    digits = "".join(_DIGIT.findall(found[0]))
    return f"{digits[:4]}{HIDDEN}{digits[-3:]}"
