"""The command ``rollbook``.

Exit codes: 0 done; 1 the work failed (an upload that failed, an error of the system); 2 the
command was used wrongly; 3 something isn't there (a job, an account, a file); 4 a part of the
service isn't reachable.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import psycopg
import typer
from rich.markup import escape
from typer.core import TyperGroup

from rollbook.backends.database import UNAVAILABLE, reason
from rollbook.cli.session import err
from rollbook.errors import (
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    RollbookError,
)

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
    "sample": ("jobs", "sample"),
    "upload": ("jobs", "upload"),
    "purge": ("purge", "purge"),
    "undo": ("jobs", "undo_upload"),
    "queue": ("jobs", "queue_app"),
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


app = typer.Typer(
    name="rollbook", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback(cls=_Group)
def _rollbook() -> None:
    """Members' spreadsheets in, checked rows in PostgreSQL and a report out."""


EXIT_CODES: dict[type[Exception], int] = {
    ConfigurationError: 2,
    InvalidRequestError: 2,
    NotFoundError: 3,
    **dict.fromkeys(UNAVAILABLE, 4),
}


def _reason(error: Exception) -> str:
    return f" ({reason(error)})" if isinstance(error, psycopg.OperationalError) else ""


def main() -> None:
    """Run the command line; an error is one sentence on standard error and an exit code."""
    try:
        app()
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    except (RollbookError, *UNAVAILABLE) as error:
        text = (
            str(error)
            if isinstance(error, RollbookError)
            else f"PostgreSQL doesn't answer{_reason(error)}. Is it started, and is DATABASE_URL "
            "right? `rollbook doctor` says more."
        )
        err.print(f"[bold red]rollbook:[/] {escape(text)}", soft_wrap=True)
        codes = (code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        sys.exit(next(codes, 1))
