"""The command ``rollbook``.

The module of a command is imported when the command is used. What this module imports is paid for
by each command, ``rollbook --version`` included.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from rollbook import __version__
from rollbook.cli import failures
from rollbook.cli.failures import ExitCode
from rollbook.cli.output import ReaderGoneError, drop_output, err, out

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Module and function, or group of commands, of each command.
_PLACES = {
    "demo": ("demo", "demo"),
    "up": ("processes", "up"),
    "serve": ("processes", "serve"),
    "worker": ("processes", "worker"),
    "watch": ("processes", "watch"),
    "migrate": ("processes", "migrate"),
    "doctor": ("doctor", "doctor"),
    "login": ("sign_in", "login"),
    "logout": ("sign_in", "logout"),
    "upload": ("uploads", "upload"),
    "status": ("uploads", "status"),
    "report": ("uploads", "report"),
    "history": ("uploads", "history"),
    "cancel": ("uploads", "cancel"),
    "retry": ("uploads", "retry"),
    "undo": ("uploads", "undo"),
    "queue": ("queue", "app"),
    "members": ("members", "app"),
    "sample": ("sample", "sample"),
    "purge": ("purge", "purge"),
    "users": ("users", "app"),
    "keys": ("keys", "app"),
}


class _Commands(Mapping[str, Any]):
    """The commands by name; each is imported when it is used.

    The imports of a command about accounts or jobs take longer than `up` needs to start.
    """

    def __getitem__(self, name: str) -> Any:
        module, attribute = _PLACES[name]
        found = getattr(import_module(f"rollbook.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class _Group(TyperGroup):
    def __init__(self, **more: Any) -> None:
        super().__init__(**{**more, "commands": _Commands()})


app = typer.Typer(name="rollbook", no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(asked: bool) -> None:
    if asked:
        out.print(f"rollbook {__version__}", highlight=False)
        raise typer.Exit


@app.callback(cls=_Group)
def _rollbook(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Members' spreadsheets in, checked rows in PostgreSQL and a report out."""


def main() -> None:
    """Run the command line; an error is one sentence on standard error and an exit code."""
    try:
        app()
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(ExitCode.INTERRUPTED)
    except ReaderGoneError:
        drop_output()
        sys.exit(ExitCode.READER_GONE)
    except Exception as error:
        found = failures.explained(error)
        if found is None:
            raise
        code, sentence = found
        err.print(f"[bold red]rollbook:[/] {escape(sentence)}", soft_wrap=True)
        sys.exit(code)
