"""The documentation says what the code says, and its site has every page."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from scripts import docs_pages, readme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

from rollbook.cli import app
from rollbook.config.environment import OF_COMMANDS, unknown_names

DOCS = docs_pages.DOCS
ROOT = DOCS.parent


def test_the_pages_that_are_made_are_up_to_date() -> None:
    assert docs_pages.out_of_date() == []


def test_every_page_has_its_place_in_the_site() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    listed = sorted(_pages(site["project"]["nav"]))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    # Each decision has its link on the list of decisions.
    decisions = {name for name in there if re.match(r"decisions/\d", name)}
    assert listed == sorted(there - decisions)


def _pages(nav: list[dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        for page in entry.values():
            if isinstance(page, str):
                yield page
            else:
                yield from _pages(page)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):  # of Typer's own copy of click
        for child, inner in command.commands.items():
            yield from _commands(inner, f"{name} {child}")
    else:
        yield name, command


COMMANDS = dict(_commands(typer.main.get_command(app), "rollbook"))
#: Named on one line; their options are in their help.
_GROUPS = ("rollbook keys", "rollbook members", "rollbook queue", "rollbook users")


def test_the_page_of_commands_names_each_and_no_other() -> None:
    said = set()
    for line in (DOCS / "reference/commands.md").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| `(rollbook [\w-]+)(?: ([\w\\|-]+))?", line):
            group, inner = found.groups()
            children = inner.split("\\|") if group in _GROUPS else [""]
            said |= {f"{group} {child}".strip() for child in children}
    assert said == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(name for name in COMMANDS if len(name.split()) == 2))
def test_the_page_of_commands_has_their_options(name: str) -> None:
    [line] = [
        line
        for line in (DOCS / "reference/commands.md").read_text(encoding="utf-8").splitlines()
        if re.match(rf"\| `{name}[ `]", line)
    ]
    options = {
        option
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option" and not parameter.hidden
        for option in parameter.opts
        if option.startswith("--")
    }
    assert set(re.findall(r"--[a-z-]+", line.split("`", 2)[1])) == options - {"--help"}


#: Names that begin as settings do: of commands, of compose.yaml and the scripts beside it, and two
#: that the page about upgrading calls ignored.
_OTHERS = {
    *OF_COMMANDS,
    *(
        name
        for path in (ROOT / "compose.yaml", *(ROOT / "deploy/compose").glob("*.*"))
        for name in re.findall(r"ROLLBOOK_[A-Z_]+", path.read_text(encoding="utf-8"))
    ),
    "ROLLBOOK_NOTIFICATION_QUEUE_NAME",
    "ROLLBOOK_VOTER_ROLL_QUEUE_NAME",
}


def test_every_setting_that_a_page_names_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        name
        for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]
        for name in re.findall(r"\bROLLBOOK_[A-Z0-9_]*[A-Z0-9]\b", page.read_text(encoding="utf-8"))
    }
    assert len(names) > 150
    for name in names:
        monkeypatch.setenv(name, "1")
    assert unknown_names().keys() & names <= _OTHERS


def test_every_block_is_run_and_marked_as_the_script_knows_it() -> None:
    marks = [
        block.mark
        for page in readme.PAGES
        for block in readme.blocks((ROOT / page).read_text(encoding="utf-8"))
    ]
    assert len(marks) > 6
    known = re.compile(r"|with servers of the script's|in the background until: .+")
    assert [mark for mark in marks if not known.fullmatch(mark)] == []
    # The pattern finds every block there is.
    fences = sum(
        (ROOT / page).read_text(encoding="utf-8").count("```sh\n") for page in readme.PAGES
    )
    assert len(marks) == fences


def test_a_failing_block_is_named_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    reader = readme.Reader(tmp_path)
    assert reader.run(readme.Block(1, "TOKEN=one\necho fine\n")) is None
    assert reader.run(readme.Block(2, 'test "$TOKEN" = one\n')) is None
    wrong = reader.run(readme.Block(3, "echo that went wrong >&2\nfalse\n"))
    assert wrong is not None
    assert "exit code 1" in wrong
    assert "that went wrong" in wrong


def names_in(path: Path) -> set[str]:
    """The names of the tests in a file."""
    names = re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    return set(names)


def test_what_a_page_names_as_proof_is_there() -> None:
    for page in DOCS.rglob("*.md"):
        for named in re.findall(r"`([^`\s]+)`", page.read_text(encoding="utf-8")):
            path, _, test = named.rpartition("::")
            if named.startswith("tests/"):
                assert (ROOT / (path or named)).exists(), f"{page.name} names {named}"
            if path and re.fullmatch(r"test_\w+", test):
                assert test in names_in(ROOT / path), f"{page.name} names {named}"


def test_the_guarantees_name_a_test_and_a_time_for_each_fault() -> None:
    page = (DOCS / "explanation" / "guarantees.md").read_text(encoding="utf-8")
    _, _, tables = page.partition("## Faults, promises and tests")
    tables, _, _ = tables.partition("## How it is tested")
    rows = [line.split("|")[1:-1] for line in tables.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() not in {"fault", "act"}]
    assert len(rows) > 60
    named = ""
    for row in rows:
        fault, promise, test, until = (cell.strip() for cell in row[:4])
        assert promise, f"no promise: {fault}"
        assert until, f"no time until normal again: {fault}"
        assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`(, `[^`]+::test_\w+`)*", test), fault
        named += test
    for path in (ROOT / "tests" / "faults").glob("test_*.py"):
        assert path.name in named, f"no row for {path.name}"
