"""The command line in the tests' own process, which saves a second for each command."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from rollbook import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What names an installation or a server, and would lead a test to the developer's own.
_OURS = ("ROLLBOOK_", "REDIS_", "DATABASE_", "XDG_CONFIG_HOME")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    #: In one line: sentences are folded to the width of the terminal.
    stderr: str


class _Typed(io.StringIO):
    """Standard input that is no terminal."""


class CommandLine:
    """Runs commands in one folder, with the environment of a new user."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def place(self, folder: Path, home: Path) -> None:
        """Set the folder that commands run in, and the user's home."""
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            self._patch.delenv(name)
        self._patch.setenv("HOME", str(home))
        self._patch.chdir(folder)
        # The log is the test process's own.
        self._patch.setattr("rollbook.telemetry.logs.configure", lambda *_, **__: None)

    def set(self, **environment: str) -> None:
        """Set variables of the environment."""
        for name, value in environment.items():
            self._patch.setenv(name, value)

    def __call__(self, *arguments: str, typed: str = "") -> Done:
        """Run a command to its end."""
        self._capture.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["rollbook", *arguments])
            # Else the command would be named "python -m pytest", and completed under that name.
            patch.setattr(sys.modules["__main__"], "__package__", None)
            patch.setattr(sys, "stdin", _Typed(typed))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        stdout, stderr = self._capture.readouterr()
        code = ended.value.code
        return Done(int(code or 0), stdout, " ".join(stderr.split()))


@pytest.fixture
def rollbook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[CommandLine]:
    """The command line in an empty folder of a user who has never signed in."""
    folder, home = tmp_path / "elsewhere", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    line = CommandLine(monkeypatch, capsys)
    line.place(folder, home)
    with capture_logs():  # those of a server in the same process are no output of a command
        yield line
