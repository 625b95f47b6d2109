"""A fields file: what it defines, and a sentence with the line for each mistake."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from rollbook import fields
from rollbook.errors import ConfigurationError
from rollbook.fields import file
from rollbook.fields.definition import OwnField, OwnFields, Rule
from rollbook.pipeline import problems
from rollbook.pipeline.columns import check_own

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, text: str | bytes) -> OwnFields:
    path = folder / "fields.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file.read(path)


def test_a_file_defines_fields_and_rules(tmp_path: Path) -> None:
    (tmp_path / "wards.txt").write_text("79800001\n\n 79800002 \n", encoding="utf-8")
    own = read(
        tmp_path,
        """
        [fields.branch]
        headers = ["Branch", "Tak"]
        needed = true
        pattern = "[A-Z]{3}"
        [fields.pledge]
        headers = ["Pledge"]
        type = "decimal"
        decimals = 3
        least = 0.5
        most = 10
        [fields.trained_on]
        headers = ["Trained on"]
        type = "date"
        least = 2001-02-03
        [rules.ward]
        choices_file = "wards.txt"
        refuse = true
        [rules.date_of_birth]
        least_age = 18
        """,
    )
    assert own.fields == (
        OwnField(
            "branch", ("Branch", "Tak"), "text", Rule(needed=True, pattern="[A-Z]{3}"), line=3
        ),
        OwnField(
            "pledge", ("Pledge",), "decimal", Rule(least=Decimal("0.5"), most=Decimal(10)), 3, 7
        ),
        OwnField("trained_on", ("Trained on",), "date", Rule(least=dt.date(2001, 2, 3)), line=13),
    )
    assert dict(own.built_in) == {
        "ward": Rule(refuse=True, choices=("79800001", "79800002")),
        "date_of_birth": Rule(refuse=True, least_age=18),
    }
    assert own.needed == ("own.branch",)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[fields.a]\nheaders = [", 2, "This is not TOML"),
        ("[fields.a]\nheaders = ['A']\nheaders = ['B']\n", 3, "This is not TOML"),
        (b"[fields.a]\n# \xff\n", 2, "not UTF-8"),
        ("# what\n[columns.a]\n", 2, "no part 'columns'"),
        ("fields = 3\n", 1, "write [fields.name]"),
        ("[fields]\na = 3\n", 2, "write [fields.a]"),
        ("[fields.A]\nheaders = ['A']\n", 1, "no name of a field"),
        ("[fields.a]\ntype = 'text'\n", 1, "a list of 1 to 50"),
        ("[fields.a]\nheaders = []\n", 2, "a list of 1 to 50"),
        ("[fields.a]\nheaders = ['--']\n", 2, "a letter or digit"),
        ('[fields.a]\nheaders = ["A\\tB"]\n', 2, "can't be seen"),
        ("[fields.a]\nheaders = ['A']\n[fields.b]\nheaders = ['B', ' a.'.strip()]\n", 4, "TOML"),
        ("[fields.a]\nheaders = ['A x']\n[fields.b]\nheaders = ['B', 'a-X']\n", 4, "field a's too"),
        ("[fields.a]\nheaders = ['A']\ntype = 'number'\n", 3, "no type 'number'"),
        ("[fields.a]\nheaders = ['A']\nneeds = true\n", 3, "no key 'needs'"),
        ("[fields.a]\nheaders = ['A']\nneeded = 1\n", 3, "true or false"),
        ("[fields.a]\nheaders = ['A']\ntype = 'choice'\n", 1, "needs choices"),
        ("[fields.a]\nheaders = ['A']\nchoices = ['x', 'X ']\n", 3, "can't be seen"),
        ("[fields.a]\nheaders = ['A']\nchoices = ['x', 'X.']\n", 3, "can't be told apart"),
        ("[fields.a]\nheaders = ['A']\nchoices_file = 'none.txt'\n", 3, "can't be read"),
        ("[fields.a]\nheaders = ['A']\npattern = '(a'\n", 3, "The pattern can't be used"),
        ("[fields.a]\nheaders = ['A']\npattern = 'a)|(?:b'\n", 3, "The pattern can't be used"),
        ("[fields.a]\nheaders = ['A']\npattern = '(a)\\1'\n", 3, "The pattern can't be used"),
        ("[fields.a]\nheaders = ['A']\npattern = '((a{1000}){1000}){9}'\n", 3, "can't be used"),
        ("[fields.a]\nheaders = ['A']\ntype = 'integer'\npattern = '1'\n", 4, "has no pattern"),
        ("[fields.a]\nheaders = ['A']\ntype = 'integer'\nleast = 1.5\n", 4, "a whole number"),
        ("[fields.a]\nheaders = ['A']\ntype = 'integer'\nleast = 3\nmost = 2\n", 4, "no value"),
        ("[fields.a]\nheaders = ['A']\ntype = 'decimal'\nmost = inf\n", 4, "Give a number"),
        ("[fields.a]\nheaders = ['A']\ntype = 'date'\nleast = '2020-01-01'\n", 4, "without quot"),
        ("[fields.a]\nheaders = ['A']\ntype = 'yes/no'\nleast = 1\n", 4, "has no least"),
        ("[fields.a]\nheaders = ['A']\ndecimals = 2\n", 3, "Only the type decimal"),
        ("[rules.id_number]\nneeded = true\n", 1, "No rule can be made"),
        ("[rules.municipality]\nchoices = ['x']\n", 2, "no key 'choices'"),
        ("[rules.date_of_birth]\nneeded = true\n", 2, "no key 'needed'"),
        ("[rules.date_of_birth]\nleast_age = 0\n", 2, "the least age"),
        ("".join(f"[fields.a{n}]\nheaders = ['A{n}']\n" for n in range(31)), 61, "30 can be used"),
    ],
)
def test_a_mistake_is_a_sentence_with_its_line(
    text: str | bytes, line: int, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert f"line {line}: " in caught.value.message
    assert said in caught.value.message


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        file.read(tmp_path / "none.toml")


def test_a_header_of_a_built_in_field_is_refused_with_its_line(tmp_path: Path) -> None:
    own = read(tmp_path, "[fields.other_id]\n\nheaders = ['Other', 'ID-No.']\n")
    with fields.using(own), pytest.raises(ConfigurationError, match=r"line 3: .*'ID-No\.'"):
        check_own()


def test_a_problem_of_a_field_that_is_gone_is_said_to_be_of_former_rules(tmp_path: Path) -> None:
    own = read(tmp_path, "[fields.size]\nheaders = ['Size']\ntype = 'integer'\n")
    with fields.using(own):
        assert (
            problems.sentence("own.size.unclear") == "Size is a whole number, such as 12 or 1 200."
        )
    assert "own rules" in problems.sentence("own.size.unclear")
