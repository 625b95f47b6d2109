"""The words in a header that make its column one of corrections, or one of former values."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from rollbook.pipeline.values import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Where a word begins in "CorrectedID".
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
#: "Correction of ID number".
_OF: Final = re.compile(r"^(?:of|for|to|in|van|vir)\s+(?:the\s+|die\s+)?", re.IGNORECASE)
#: What sets a word after a name apart from it.
_MARKS: Final = frozenset("([{:-\u2013/")


@lru_cache(maxsize=4096)
def without(header: str) -> tuple[tuple[str, bool], ...]:
    """What is left of a header without its words of correction, and whether they surely are such.

    "ID updated" may be a date or a yes, so a word after the name is sure only in brackets or after
    a dash or a colon. "New Member Status" is about new members. Empty where there is no such word.
    """
    text = " ".join(_CAMEL.sub(" ", header).replace("_", " ").split())
    if _of_new_members().match(text):
        return ()
    first, last = _patterns()
    found: list[tuple[str, bool]] = []
    while (match := first.match(text)) is not None and match.end() < len(text):
        text = text[match.end() :]
        found += [(text, True), (_OF.sub("", text), True)]
    if (match := last.search(text)) is not None and match.start():
        is_apart = bool(found) or not _MARKS.isdisjoint(match[0])
        found.append((text[: match.start()].strip(), is_apart))
    return tuple(found)


def no_corrections() -> Sequence[str]:
    """Cells of a column of corrections that correct nothing, such as "yes", in small letters."""
    return _listed("no_corrections")


def without_former(words: str) -> Iterator[str]:
    """What is left of the words of a header without one such as "old" at either end."""
    for word in _listed("former"):
        rest = words.removeprefix(f"{word} ").removesuffix(f" {word}")
        if rest != words:
            yield rest


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Words of correction at the beginning and at the end of a header."""
    words = _any_of(_listed("corrections"))
    return (
        re.compile(rf"[\W_]*(?:(?:the|die)\s+)?(?:{words})\b[\W_]*", re.IGNORECASE),
        re.compile(rf"[\s(\[{{:/\u2013-]+(?:as\s+)?(?:{words})[\W_]*$", re.IGNORECASE),
    )


@cache
def _of_new_members() -> re.Pattern[str]:
    owners = _any_of(_listed("new_people"))
    return re.compile(rf"\W*(?:new|nuwe)\W+(?:{owners})\b", re.IGNORECASE)


def _any_of(words: Sequence[str]) -> str:
    longest_first = sorted(words, key=len, reverse=True)
    return "|".join(re.escape(word).replace("\\ ", r"[\s-]+") for word in longest_first)


def _listed(name: str) -> Sequence[str]:
    listed: Sequence[str] = written("corrections.toml")[name]
    return listed
