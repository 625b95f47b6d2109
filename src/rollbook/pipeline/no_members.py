"""Words that say that people are no members, or no longer: ``Deceased``, ``Waiting list``.

One list has them for names of files and sheets, for titles, for lines between the members and for
remarks on one person. A sheet with such a name is never chosen while another visible one holds
members. Where it is the only one, it is read, and each of its rows has a warning. Only a sender who
names it has decided.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from rollbook.languages import listed
from rollbook.masking import masked
from rollbook.pipeline.columns import words_of
from rollbook.pipeline.reading import Note
from rollbook.pipeline.values import written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: The problem of each row that was read though the name of its sheet or file says so.
CODE: Final = "sheet_of_former"
_WORD: Final = re.compile(r"[^\W\d_]+")
#: Names of files are often written as one word, such as "DeceasedMembers".
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ENDING: Final = re.compile(r"\.[A-Za-z]{3,4}$")
#: A title of members who have paid and of those who haven't.
_BOTH: Final = re.compile(r"\bpaid (?:up )?(?:and |or )?(?:un|not |non )|\bbetaal\w* en onbetaal")
#: Of a summary, such as "Deceased: 3" or "Key: D = deceased".
_COUNTED: Final = re.compile(
    r"(?<![0-9])\s*[:\u2013-]\s*(?!(?:19|20)[0-9]{2}\b)[0-9][0-9 ]*$|=|^\s*\*[^*]*$"
)
_NUMBERED: Final = re.compile(
    r"\b(?:ward|wyk|iwadi|vd)\W*(?:no|nr|number|nommer)?\W*[0-9]+\W*$", re.IGNORECASE
)
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}(?:\W+(?:19|20)?[0-9]{2})?$")
_MOST_CHARS: Final = 31
#: What may be between two words of a phrase: "non-member", "nie meer 'n lid".
_GAP: Final = r"[\s'\u2019.-]+"
#: A longer text is no title, and only costs time.
_MOST_TITLE_CHARS: Final = 200


def says_no_members(text: str, *, may_be_columns: bool = False) -> bool:
    """Whether the name of a sheet, a title or a line says that its people are no members.

    A text that ``may_be_columns``' title says so of other people, such as "Spouses", only where it
    is that of a list.
    """
    words = _words(text)
    if _BOTH.search(words):
        return False
    if _has_any(words, "negated"):
        return True
    if _is_opposite(text):
        return False
    if _has_any(words, "everywhere", "of_names"):
        return True
    lists, single = _written(), set(words.split())
    is_of_people = not single.isdisjoint(lists["of_people"])
    names = lists["by_itself"]
    if not is_of_people and not (may_be_columns and single.isdisjoint(lists["of_lists"])):
        names |= lists["of_others"]
    has_places = is_of_people or not single.isdisjoint(names & lists["of_others"])
    of_lists = lists["of_people"] | lists["of_lists"]
    if has_places:
        of_lists |= lists["of_places"]
    return bool(single & names) and not single - names - of_lists


def has_word(text: str) -> bool:
    """Whether a text has a word or phrase that says so wherever it is."""
    return _has_any(_words(text), "everywhere", "of_names")


def file_says_no_members(name: str) -> bool:
    """The same of a file's name: "Old" and "Test" say nothing there."""
    bare = _ENDING.sub("", name)
    return has_word(bare) and says_no_members(bare)


def title_says_no_members(texts: Sequence[str], *, may_be_headers: bool = False) -> bool:
    """The same of a row above the headers, as its texts.

    A count ("Deceased: 3"), a legend ("D = deceased") and a note on single rows are no titles.
    Several texts that ``may_be_headers`` are, unless they name people: "Deceased" may be above the
    columns of a date and a cause.
    """
    first, *others = dict.fromkeys(texts)
    others = [one for one in others if not _YEAR.match(one)]
    text = " ".join([first, *others])
    is_count = any(map(str.isdecimal, others))
    is_header = may_be_headers and others and not _has_any(_words(text), "of_people")
    if is_count or is_header or len(text) > _MOST_TITLE_CHARS:
        return False
    if not says_no_members(text, may_be_columns=True):
        return False
    if _COUNTED.search(text) and not _NUMBERED.search(text):
        return False
    words = _words(text)
    return not _has_any(words, "of_notes") or _has_any(words, "of_rows_below")


def says_members(text: str) -> bool:
    """Whether a name or a title says that its people are members now."""
    return _has_any(_words(text), "current")


def says_stays(text: str) -> bool:
    """Whether a line in a list of removals says that the people below it are not to go."""
    return _has_any(_words(text), "current", "staying")


def title_says_members(texts: Sequence[str]) -> bool:
    """The same of a row above the headers; in "Active Citizens' Movement" it says nothing."""
    words = _words(" ".join(texts))
    return _has_any(words, "current") and _has_any(words, "of_people")


def notes(names: Sequence[str]) -> Iterator[Note]:
    """The note on visible sheets of this kind that hold people and weren't read."""
    if names:
        sheets = listed([f"'{masked(name)[:_MOST_CHARS]}'" for name in names])
        yield Note("former_sheets", values={"sheets": sheets, "n": len(names)})


def pattern(*lists: str) -> str:
    """A pattern, in the syntax of polars, of the words and phrases of these lists."""
    return phrases(one for name in lists for one in _written()[name])


def phrases(words: Iterable[str]) -> str:
    """The same of given words and phrases, the longest first."""
    ordered = sorted(set(words), key=len, reverse=True)
    return "|".join(_GAP.join(map(re.escape, phrase.split())) for phrase in ordered)


def _is_opposite(text: str) -> bool:
    """Whether words make it the opposite, or a list of both: "not resigned"."""
    return _has_any(_words(text), "current", "without")


def _has_any(words: str, *lists: str) -> bool:
    padded, single = f" {words} ", set(words.split())
    return any(
        f" {phrase} " in padded
        for name in lists
        for first in single & _by_first_word()[name].keys()
        for phrase in _by_first_word()[name][first]
    )


def _words(text: str) -> str:
    """The words of a text, with "ward no 5" as "ward"."""
    words = _WORD.findall(words_of(_CAMEL.sub(" ", text)))
    numbered = _written()["numbered"]
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not (word == "no" and before in numbered)
    ]
    return " ".join(kept)


@cache
def _written() -> Mapping[str, frozenset[str]]:
    lists = {name: frozenset(words) for name, words in written("no_members.toml").items()}
    phrases = [one for one in lists["everywhere"] | lists["of_names"] if " " in one]
    # In "not yet paid", the word for "not" belongs to what is said.
    own = (one for one in phrases if not lists["without"].isdisjoint(one.split()))
    return {**lists, "negated": frozenset(own)}


@cache
def _by_first_word() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """The phrases of each list by their first words: a file may have a million lines."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, phrases in _written().items():
        by_word = found.setdefault(name, {})
        for phrase in phrases:
            by_word.setdefault(phrase.split()[0], []).append(phrase)
    return found
