"""The page about the codebase names modules, functions and files that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "rollbook"
PAGE = (ROOT / "docs" / "explanation" / "codebase.md").read_text(encoding="utf-8")
#: ``room/module.py:Class.function`` in backticks.
PLACES = re.findall(r"`([a-z_/]+\.py):([A-Za-z_.]+)`", PAGE)
FILES = sorted(
    set(re.findall(r"`((?:docs|tests)?[a-z_]*/?[a-z_./]+\.(?:py|toml|sql|js|md))`", PAGE))
)


def _names(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= _names(node, f"{prefix}{node.name}.")
    return found


@cache
def _names_of(module: str) -> set[str]:
    return _names(ast.parse((SOURCE / module).read_text(encoding="utf-8")))


@pytest.mark.parametrize(("module", "name"), PLACES, ids=[f"{m}:{n}" for m, n in PLACES])
def test_every_function_that_the_page_names_is_there(module: str, name: str) -> None:
    assert name in _names_of(module)


@pytest.mark.parametrize("file", FILES)
def test_every_file_that_the_page_names_is_there(file: str) -> None:
    assert (SOURCE / file).exists() or (ROOT / file).exists()


def test_the_page_names_every_room() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name[0] != "_"}
    named = set(re.findall(r"`([a-z_]+)/`", PAGE))
    assert rooms <= named, rooms - named


def test_every_room_and_module_of_the_table_is_there() -> None:
    rows = re.findall(r"^\| ((?:`[a-z_]+/`(?:, )?)+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 10
    missing = []
    for rooms, text in rows:
        folders = [SOURCE / room for room in re.findall(r"`([a-z_]+)/`", rooms)]
        missing += [str(folder) for folder in folders if not folder.is_dir()]
        for name in re.findall(r"`([a-z_]+)/?`", text):
            places = [folder / name for folder in folders]
            if not any(place.is_dir() or place.with_suffix(".py").exists() for place in places):
                missing.append(f"{rooms}: {name}")
    assert missing == []
