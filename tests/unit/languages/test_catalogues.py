"""The catalogues of texts: whole, and of the same form in every language."""

from __future__ import annotations

import ast
import re
import string
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rollbook
from rollbook import languages
from rollbook.errors import RollbookError
from rollbook.model import RESULTS
from rollbook.pipeline.columns import built_in, map_headers, sent_place, trimmed
from rollbook.pipeline.report import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.languages import Text

SOURCE = Path(rollbook.__file__).parent
ENGLISH = languages.own_texts(languages.ENGLISH)
ALL = list(languages.available())
OTHERS = [tag for tag in ALL if tag != languages.ENGLISH]
CATEGORIES = {"one", "other"}
#: As Excel has them.
MOST_SHEET_CHARS, NOT_IN_SHEETS = 31, set("[]:*?/\\")


def forms(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())


def placeholders(form: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(form) if name is not None}


@pytest.mark.parametrize("tag", OTHERS)
def test_a_catalogue_has_every_key_of_the_english_one_and_no_other(tag: str) -> None:
    own = languages.own_texts(tag)
    assert [key for key in ENGLISH if key not in own] == []
    assert [key for key in own if key not in ENGLISH] == []


@pytest.mark.parametrize("tag", ALL)
def test_every_text_has_the_placeholders_and_the_plural_forms_of_the_english_one(tag: str) -> None:
    wrong = []
    for key, text in languages.own_texts(tag).items():
        source = ENGLISH[key]
        if isinstance(text, str) != isinstance(source, str):
            wrong.append(f"{key}: plural forms in one of the two only")
            continue
        if not isinstance(text, str) and set(text) != CATEGORIES:
            wrong.append(f"{key}: the plural forms are {sorted(text)}")
        allowed = set().union(*map(placeholders, forms(source)))
        needed = allowed - {"n"} if not isinstance(text, str) else allowed
        for form in forms(text):
            found = placeholders(form)
            if not needed <= found <= allowed:
                wrong.append(f"{key}: placeholders {sorted(found)}, not {sorted(allowed)}")
            if not form.strip() or form != form.strip():
                wrong.append(f"{key}: empty, or with spaces at its ends")
    assert wrong == []


@pytest.mark.parametrize("tag", ALL)
def test_the_note_on_more_sheets_names_the_choice_as_the_page_does(tag: str) -> None:
    texts = languages.own_texts(tag)
    for form in forms(texts["note.more_sheets"]):
        assert str(texts["page.check.sheets.all"]) in form


@pytest.mark.parametrize("tag", ALL)
def test_every_placeholder_is_a_plain_name(tag: str) -> None:
    for key, text in languages.own_texts(tag).items():
        for form in forms(text):
            for _, name, spec, conversion in string.Formatter().parse(form):
                assert name is None or (name.isidentifier() and not spec and not conversion), key


@pytest.mark.parametrize("tag", ALL)
def test_names_of_sheets_fit_into_excel_and_names_of_columns_differ(tag: str) -> None:
    with languages.speaking(tag):
        report = [
            languages.phrase(f"report.sheet.{part}") for part in (*PARTS, "summary", "changes")
        ]
        template = [languages.phrase(f"template.{key}") for key in ("sheet", "notes")]
        for sheets in (report, template, [languages.phrase("refused.sheet")]):
            assert len({sheet.lower() for sheet in sheets}) == len(sheets)
            assert all(len(sheet) <= MOST_SHEET_CHARS for sheet in sheets), sheets
            assert not any(NOT_IN_SHEETS & set(sheet) for sheet in sheets), sheets
        columns = [key for key in ENGLISH if key.startswith("report.column.")]
        names = [languages.phrase(key) for key in columns if key != "report.column.of_file"]
        assert len(set(names)) == len(names), names


@pytest.mark.parametrize("tag", ALL)
def test_each_name_of_a_column_is_read_as_its_field(tag: str) -> None:
    """The template in any language is read back without a question."""
    with languages.speaking(tag):
        names = {languages.phrase(f"column.{field}"): field for field in built_in()}
    assert len(names) == len(built_in())
    for name, field in names.items():
        assert map_headers([name]).known == {name: field}, name


@pytest.mark.parametrize("tag", ALL)
def test_columns_that_a_workbook_of_refused_rows_adds_are_known_in_each_language(tag: str) -> None:
    with languages.speaking(tag):
        added = [languages.phrase(f"refused.{key}") for key in ("use_row", "sent_row", "errors")]
    headers = ["ID Number", *added]
    assert trimmed(headers, ("errors", "sent_row", "use_row")) == ["ID Number"]
    assert sent_place(headers) == 2


def test_the_codes_of_problems_and_errors_have_their_texts() -> None:
    content = files("rollbook.pipeline").joinpath("problems.toml").read_text(encoding="utf-8")
    own = {"unknown", "former"}
    said = {key.removeprefix("problem.") for key in ENGLISH if key.startswith("problem.")}
    assert {key for key in said if not key.startswith("own.")} - own == set(tomllib.loads(content))
    kinds: list[type[RollbookError]] = [RollbookError]
    for kind in kinds:
        kinds.extend(one for one in kind.__subclasses__() if one.__module__ == "rollbook.errors")
    titles = {key.removeprefix("error.") for key in ENGLISH if key.startswith("error.")}
    assert titles == {kind.code for kind in kinds}
    assert {key for key in ENGLISH if re.fullmatch(r"report\.roll\.\w+\.count", key)} == {
        f"report.roll.{result}.count" for result in RESULTS
    }


@cache
def asked() -> list[re.Pattern[str]]:
    """The keys that the Python code asks for, as patterns."""
    found = []
    for path in SOURCE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if not re.search("phrase|everywhere|key.* = ", source):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and node.args:
                if _name(node.func) in {"phrase", "everywhere"}:
                    found += list(_patterns(node.args[0]))
            elif (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.IfExp | ast.Constant | ast.JoinedStr)
                and "key" in ast.unparse(node.targets[0])
            ):
                found += list(_patterns(node.value))
    return [re.compile(pattern) for pattern in found]


def _name(node: ast.expr) -> str:
    """The last part of a dotted name; empty for anything else."""
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _patterns(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _patterns(node.body)
        yield from _patterns(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"[\w.]+"
            for part in node.values
        )


def test_the_code_asks_for_every_text_that_is_not_the_page_s() -> None:
    unused = [
        key
        for key in ENGLISH
        if not key.startswith("page.") and not any(one.fullmatch(key) for one in asked())
    ]
    assert unused == []


def test_there_is_a_text_for_every_key_that_the_code_asks_for() -> None:
    calls = [one for one in asked() if re.match(r"[a-z]+\\\.", one.pattern)]
    assert len(calls) > 100
    missing = [one.pattern for one in calls if not any(map(one.fullmatch, ENGLISH))]
    assert missing == []
