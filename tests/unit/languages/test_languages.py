"""Choosing a language, and speaking it."""

from __future__ import annotations

import asyncio

import pytest

from rollbook import languages
from rollbook.languages import phrase, preferred, speak, speaking, spoken


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("de-DE, fr;q=0.5", None),
        ("*", None),
        ("en", "en"),
        ("en-ZA,en;q=0.9", "en"),
        ("de, EN-gb;q=0.3", "en"),
        ("en;q=0", None),
        ("en;q=nonsense", None),
        (";;;,,=;q", None),
    ],
)
def test_the_language_of_a_request_is_the_best_of_those_that_are_there(
    header: str | None, expected: str | None
) -> None:
    assert preferred(header) == expected


def test_a_language_is_spoken_within_its_context_only() -> None:
    with speaking("nothing of the kind"):
        assert spoken() == "en"
    with speaking(None):
        assert spoken() == "en"
    assert spoken() == "en"


async def test_tasks_speak_their_own_languages() -> None:
    async def one(language: str) -> str:
        speak(language)
        await asyncio.sleep(0)
        return spoken()

    tags = list(languages.available())
    assert await asyncio.gather(*map(one, tags)) == tags
    assert spoken() == "en"


def test_numbers_choose_the_plural_form_and_have_separated_thousands() -> None:
    said = [phrase("problem.own.least_characters", title="T", n=n) for n in (0, 1, 2, 1234)]
    assert [text.removeprefix("T must have at least ") for text in said] == [
        "0 characters.",
        "1 character.",
        "2 characters.",
        "1,234 characters.",
    ]


def test_a_text_without_its_values_is_a_fault() -> None:
    with pytest.raises(KeyError):
        phrase("report.kept", other="x")
    with pytest.raises(KeyError):
        phrase("there is no such key")
