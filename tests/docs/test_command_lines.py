"""Each command line of Rollbook that somebody reads is one that the command takes."""

from __future__ import annotations

import re
import shlex
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from scripts import docs_pages

from rollbook.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = docs_pages.DOCS.parent
#: What names a command: pages, and sentences of the program and its page. `test_pages` checks the
#: page of all commands.
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(path for path in docs_pages.DOCS.rglob("*.md") if path.name != "commands.md"),
    *(
        path
        for path in (ROOT / "src/rollbook").rglob("*")
        if path.suffix in {".py", ".json", ".js", ".html", ".toml"}
    ),
]
_FENCE = re.compile(r"^ *```(?:sh|console|bash)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
#: In a sentence, a command is between backticks; an ellipsis is for arguments.
_NAMED = re.compile(r"`(?:\.venv/bin/)?rollbook ([a-z][^`\n]*)`")
#: Services of compose.yaml whose container is a process of Rollbook.
_SERVICES = {"api", "worker", "watch"}
#: Programs that run another one, whose path or an argument ``--`` is before it.
_RUNNERS = {"kubectl", "sudo", "systemd-run"}


def typed(page: str) -> Iterator[list[str]]:
    """The arguments of each command line of Rollbook in the blocks of a page."""
    for block in _FENCE.findall(page):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\||&&|;(?=\s)", line.removeprefix("$ ")):
                words = list(dropwhile(_is_variable, _words(part)))
                if words and (arguments := _arguments(words)) is not None:
                    yield arguments


def _is_variable(word: str) -> bool:
    return re.match(r"[A-Z_]+=", word) is not None


def _words(text: str) -> list[str]:
    """The words of a command, without a comment, a redirection or an ellipsis."""
    read = shlex.shlex(text, posix=True, punctuation_chars="<>&|")
    read.whitespace_split = True
    try:
        words = list(read)
    except ValueError:  # a quotation over several lines: no command of ours
        return []
    ends = (at for at, word in enumerate(words) if word[0] in "<>&|")
    return [word for word in words[: next(ends, len(words))] if word not in {"...", "…"}]


def _arguments(words: list[str]) -> list[str] | None:
    """What Rollbook's command is given, where the words run it."""
    if Path(words[0]).name == "rollbook":
        return words[1:]
    if words[:4] == ["docker", "compose", "run", "--rm"] and words[4] in _SERVICES:
        return words[5:]
    if words[0] in _RUNNERS:
        for at, word in reversed(list(enumerate(words))):  # rather the last: a user has its name
            if Path(word).name == "rollbook" and ("/" in word or words[at - 1] == "--"):
                return words[at + 1 :]
    return None


def refused(words: list[str], *, is_whole: bool) -> str | None:
    """Why the command doesn't take these arguments; a whole line has all that it needs."""
    command: Any = typer.main.get_command(app)
    name = "rollbook"
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = f"{name} {words[0]}"
        if words[0] not in command.commands:
            return f"there is no {name}"
        command, words = command.commands[words[0]], words[1:]
    # Parsed, and neither converted (JOB is no UUID) nor run.
    parser = command.make_parser(command.context_class(command, info_name=name))
    try:
        values, left, _ = parser.parse_args(list(words))
    except Exception as error:  # noqa: BLE001 - of Typer's own copy of click
        return f"{name}: {error}"
    if left:
        return f"{name} takes no {' '.join(left)}"
    lacking = [one.name for one in command.params if one.required and values.get(one.name) is None]
    return f"{name} needs {', '.join(lacking)}" if is_whole and lacking else None


def test_each_command_line_is_one_that_there_is() -> None:
    lines: list[tuple[Path, list[str], bool]] = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            lines += [(path, words, True) for words in typed(text)]
        lines += [(path, _words(line), False) for line in _NAMED.findall(text)]
    wrong = [
        f"{path.relative_to(ROOT)}: {why}"
        for path, words, is_whole in lines
        if (why := refused(words, is_whole=is_whole))
    ]
    assert wrong == []
    assert sum(is_whole for *_, is_whole in lines) > 50  # the patterns find them
    assert len(lines) > 150


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("rollbook uplaod members.xlsx", "there is no rollbook uplaod"),
        ("rollbook users ad thandi@example.org", "there is no rollbook users ad"),
        ("A=b rollbook upload members.xlsx --watch", "rollbook upload: No such option: --watch"),
        ("$ rollbook upload members.xlsx --wait now | cat", "rollbook upload takes no now"),
        ("rollbook upload --wait   # a file", "rollbook upload needs file"),
        ("docker compose run --rm api user add x", "there is no rollbook user"),
        ("kubectl exec deploy/api -- rollbook users up", "there is no rollbook users up"),
        ("systemd-run -p A=b \\\n  /opt/rollbook/bin/rollbook serv", "there is no rollbook serv"),
        ("true && .venv/bin/rollbook doctor --fix", "rollbook doctor: No such option: --fix"),
    ],
)  # fmt: skip
def test_a_command_line_that_the_command_does_not_take_is_found(line: str, why: str) -> None:
    [words] = typed(f"Text.\n\n```sh\n{line}\n```\n")
    said = refused(words, is_whole=True)
    assert said is not None
    assert said.startswith(why)
