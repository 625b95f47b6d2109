"""A text in a cell stays that text: the rules, and that they are the same in both their forms."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbook.spreadsheets.workbook.cell_text import (
    ELLIPSIS,
    MOST_CHARACTERS,
    Traits,
    is_active,
    traits_of,
    xml_text,
    xml_texts,
)
from tests.examples import few

#: The machine may be busy with other tests: none fails for having been slow.
UNHURRIED = settings(deadline=None, max_examples=few(20, more=100))
FEW_AND_UNHURRIED = settings(deadline=None, max_examples=few(12, more=40))

#: Beside any character: those that mean something to XML, to Excel or to our rules.
CHARACTERS = st.one_of(
    st.sampled_from("_x0041DFe&<>;\"'=+-@ \t\r\n\0\x01\x0b\x1f\x7f\x85\u2028\ufffe\uffff…😀"),
    st.sampled_from(["_x0041_", "_x", "\r\n", "&amp;", "]]>"]),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.lists(CHARACTERS, max_size=12).map("".join)
#: Around the limit of a cell, as counted in characters and in UTF-16 units.
LONG_TEXTS = st.builds(
    lambda start, filler, number, end: start + filler * number + end,
    TEXTS,
    st.sampled_from(["a", "😀", "\r\n", "\x01", "_x0041_", "&", "é"]),
    st.one_of(st.integers(4_680, 4_690), st.integers(16_370, 16_390), st.integers(32_750, 32_780)),
    TEXTS,
)


def by_expression(texts: list[str | None]) -> list[str | None]:
    frame = pl.DataFrame({"texts": pl.Series(texts, dtype=pl.String)})
    traits = traits_of(frame, ["texts"])["texts"]
    return frame.select(xml_texts(pl.col("texts"), traits)).to_series().to_list()


def as_read(xml: str) -> str:
    """What a reader makes of it: XML first, then Excel's own escapes."""
    text = ET.fromstring(f'<t xml:space="preserve">{xml}</t>').text or ""  # noqa: S314 - our own
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), text)


def legal(text: str) -> str:
    """The characters that XML 1.0 lists as its own (section 2.2), with line ends as it has them."""
    ranges = ((0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        character
        for character in unified
        if character in "\t\n" or any(low <= ord(character) <= high for low, high in ranges)
    )


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@UNHURRIED
@given(TEXTS)
def test_what_is_read_is_what_was_written(text: str) -> None:
    assert as_read(xml_text(text)) == legal(text)


@UNHURRIED
@given(st.lists(st.none() | TEXTS, min_size=1, max_size=5))
def test_the_expression_and_the_python_version_agree(texts: list[str | None]) -> None:
    expected = [None if text is None else xml_text(text) or None for text in texts]
    assert by_expression(texts) == expected


@FEW_AND_UNHURRIED
@given(st.lists(LONG_TEXTS, min_size=1, max_size=3))
def test_they_agree_on_long_texts_and_no_cell_is_longer_than_excel_allows(texts: list[str]) -> None:
    written = by_expression(list(texts))
    assert written == [xml_text(text) or None for text in texts]
    for text, xml in zip(texts, written, strict=True):
        read, whole = as_read(xml or ""), legal(text)
        assert units(read) <= MOST_CHARACTERS
        if units(whole) <= MOST_CHARACTERS:
            assert read == whole
        else:
            assert read.endswith(ELLIPSIS)
            assert whole.startswith(read.removesuffix(ELLIPSIS))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a" * 32_767, "a" * 32_767),
        ("a" * 32_768, "a" * 32_766 + "…"),
        # Two units each: half as many fit, and none is split.
        ("😀" * 16_383, "😀" * 16_383),
        ("😀" * 16_384, "😀" * 16_383 + "…"),
        # Counted as they are read, not as they are escaped.
        ("_x0041_" * 4_000, "_x0041_" * 4_000),
        ("&" * 32_767, "&" * 32_767),
        # Counted when they are clean.
        ("\r\n" * 32_767, "\n" * 32_767),
        ("\x01" * 9 + "a" * 32_767, "a" * 32_767),
    ],
    ids=["full", "one over", "astral", "astral over", "escapes", "markup", "line ends", "control"],
)
def test_a_text_is_cut_where_a_cell_ends(text: str, read: str) -> None:
    assert as_read(xml_text(text)) == read
    assert by_expression([text]) == [xml_text(text)]


@pytest.mark.parametrize(
    ("text", "xml"),
    [
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("&amp;", "&amp;amp;"),
        ("]]>", "]]&gt;"),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\0b\x08c\x0bd\x1fe\ufffef\uffffg", "abcdefg"),
        ("_x0041_", "_x005F_x0041_"),
        # One underscore ends the first and begins the second.
        ("_x0041_x0042_", "_x005F_x0041_x005F_x0042_"),
        ("_x005F_x0041_", "_x005F_x005F_x005F_x0041_"),
        # Removing it may leave an escape.
        ("_x00\x0141_", "_x005F_x0041_"),
        # LibreOffice decodes fewer digits, too.
        ("_xe_", "_x005F_xe_"),
        ("_x00041_ tax_x_rate", "_x00041_ tax_x_rate"),
        ("\ud800alone", "alone"),
    ],
)
def test_the_rules_one_by_one(text: str, xml: str) -> None:
    assert xml_text(text) == xml


@pytest.mark.parametrize(
    ("text", "traits"),
    [
        ("Thandi 😀 é", Traits()),
        ("a&b", Traits(markup=True)),
        ("_x", Traits(rare=True, gaps=True)),
        ("a\x01b", Traits(rare=True, gaps=True)),
        ("a ", Traits(edge=True)),
        ("a\nb", Traits(edge=True)),
        ("a\rb", Traits(rare=True, edge=True, gaps=True)),
        # What is at the edge once the control character is gone.
        ("\x01 a", Traits(rare=True, edge=True, gaps=True)),
        ("a \x01", Traits(rare=True, edge=True, gaps=True)),
        ("", Traits(gaps=True)),
        (None, Traits(gaps=True)),
        ("é" * 20_000, Traits(long=True)),
        *((f"{first}1", Traits(active=True)) for first in "=+-@"),
        ("\t1", Traits(edge=True, active=True)),
        ("\n1", Traits(edge=True, active=True)),
        ("\r1", Traits(rare=True, edge=True, active=True, gaps=True)),
        ("\x01=1", Traits(rare=True, active=True, gaps=True)),
    ],
)
def test_a_look_at_a_column_finds_what_it_needs(text: str | None, traits: Traits) -> None:
    frame = pl.DataFrame({"a": ["plain", text], "b": ["plain", "plain"]})
    assert traits_of(frame, ["a", "b"]) == {"a": traits, "b": Traits()}


@UNHURRIED
@given(TEXTS)
def test_a_text_is_active_if_what_is_left_of_it_starts_like_a_formula(text: str) -> None:
    found = pl.select(is_active(pl.lit(text))).item()
    assert found == legal(text).startswith(("=", "+", "-", "@", "\t", "\n"))
    assert found <= traits_of(pl.DataFrame({"a": [text]}), ["a"])["a"].active
