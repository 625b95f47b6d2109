"""The texts that people read, in each language: one catalogue a language, such as ``en.json``.

A catalogue is an object of texts by key. A text is a string, or an object of plural forms by the
categories of CLDR ("one", "other"), of which the value ``n`` chooses one. ``{name}`` is replaced by
a value. English is the source: what another catalogue lacks is said in English.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

#: A text, or its plural forms by category.
Text = str | Mapping[str, str]

#: The language of the source, and of whoever hasn't chosen one.
ENGLISH: Final = "en"
#: Names or numbers that a sentence lists.
MOST_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class Language:
    """A language that Rollbook speaks."""

    #: As in RFC 5646, and the name of its catalogue.
    tag: str
    #: In the language itself.
    name: str
    #: For the dates and plural forms of a browser.
    locale: str
    #: For the numbers of a browser; English has them as in the reports and everywhere else.
    numbers: str
    #: The category of plural of a whole number, by the rules of CLDR.
    plural: Callable[[int], str]
    #: What separates thousands.
    thousands: str
    #: Has a speaker read the catalogue? If not, it is a machine translation.
    is_reviewed: bool


def _one_is_singular(n: int) -> str:
    return "one" if n == 1 else "other"


def _none_is_singular_too(n: int) -> str:
    return "one" if n in {0, 1} else "other"


_LANGUAGES: Final = (
    Language(ENGLISH, "English", "en-ZA", "en", _one_is_singular, ",", is_reviewed=True),
    Language("af", "Afrikaans", "af-ZA", "af-ZA", _one_is_singular, "\u00a0", is_reviewed=False),
    Language("zu", "isiZulu", "zu-ZA", "zu-ZA", _none_is_singular_too, ",", is_reviewed=False),
    Language("xh", "isiXhosa", "xh-ZA", "xh-ZA", _one_is_singular, "\u00a0", is_reviewed=False),
)


@cache
def available() -> Mapping[str, Language]:
    """The languages, by their tag; English is the first."""
    return {language.tag: language for language in _LANGUAGES}


@cache
def own_texts(language: str) -> Mapping[str, Text]:
    """The texts that a catalogue has itself, by key."""
    content = files("rollbook.languages").joinpath(f"{language}.json").read_text(encoding="utf-8")
    found: dict[str, Text] = json.loads(content)
    return found


@cache
def texts(language: str) -> Mapping[str, Text]:
    """All texts by key, in a language; those that its catalogue lacks in English."""
    return {**own_texts(ENGLISH), **own_texts(language)}


#: The language of what is being done: of a request, or of an upload's attempt.
_asked_for: Final = ContextVar[str | None]("language", default=None)


def spoken() -> str:
    """The language in which ``phrase`` speaks now."""
    return _asked_for.get() or ENGLISH


def asked_for() -> str | None:
    """The same; None where nobody has asked for one, and English is spoken."""
    return _asked_for.get()


def speak(language: str | None) -> None:
    """Speak this language until the current context ends; English, if it isn't available."""
    _asked_for.set(_available(language))


def _available(language: str | None) -> str | None:
    return language if language in available() else None


@contextmanager
def speaking(language: str | None) -> Iterator[None]:
    """Speak this language within the context; English, if it isn't available."""
    before = _asked_for.set(_available(language))
    try:
        yield
    finally:
        _asked_for.reset(before)


def phrase(key: str, /, **values: object) -> str:
    """A text in the spoken language, with its values; ``n`` chooses among plural forms.

    Whole numbers get separated thousands. A row's number or another name is given as a string.

    Raises:
        KeyError: no catalogue has the text, or a value is missing.
    """
    language = spoken()
    found = texts(language)[key]
    if not isinstance(found, str):
        n = values["n"]
        assert isinstance(n, int), key
        found = found[available()[language].plural(n)]
    if not values:
        return found
    shown = {name: number(value) if type(value) is int else value for name, value in values.items()}
    return found.format_map(shown)


def joined(names: Iterable[str]) -> str:
    """All names: "red, blue and green"."""
    *others, last = names
    return phrase("list.and", listed=", ".join(others), last=last) if others else last


def listed(names: Sequence[object], most: int = MOST_LISTED, total: int | None = None) -> str:
    """The first ``most`` names or numbers, and how many more there are: "3, 5 and 12 more".

    ``total`` is how many there are in all, where ``names`` are only the first ones.
    """
    some = names[:most]
    words = ", ".join(map(str, some))
    more = (len(names) if total is None else total) - len(some)
    return phrase("list.more", listed=words, more=more) if more > 0 else words


def has(key: str) -> bool:
    """Is there a text with this key?"""
    return key in own_texts(ENGLISH)


def number(value: int) -> str:
    """A whole number with separated thousands, in the spoken language."""
    return f"{value:,}".replace(",", available()[spoken()].thousands)


@cache
def everywhere(key: str) -> frozenset[str]:
    """A text in all languages: a word that a file may have brought back in any of them."""
    return frozenset(str(texts(language)[key]) for language in available())


def preferred(accepted: str | None) -> str | None:
    """The available language that a header ``Accept-Language`` likes best; None: it names none."""
    weights: dict[str, float] = {}
    for part in (accepted or "").split(","):
        wanted, *parameters = part.split(";")
        tag = wanted.strip().lower().partition("-")[0]
        if tag in available() and tag not in weights:
            weights[tag] = _weight(parameters)
    best = max(weights, key=lambda tag: weights[tag], default=None)
    return best if best is not None and weights[best] > 0 else None


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0
    return 1
