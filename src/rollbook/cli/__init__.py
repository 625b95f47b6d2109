"""The command ``rollbook``.

The module of a command is imported when the command is used. What this module imports is paid for
by each command, ``rollbook --version`` included.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from rollbook.cli import failures
from rollbook.cli.failures import ExitCode
from rollbook.cli.options import Commands
from rollbook.cli.output import ReaderGoneError, drop_output, out, print_last

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Module and help of each command. The module has a function of the command's name, or a group of
#: commands as ``app``. The list of commands is made of this alone; a test compares it with the
#: functions.
_PLACES = {
    "demo": ("demo", "Send a synthetic file through the whole system, on a temporary database."),
    "up": (
        "processes",
        "Run everything: engines (unless you have your own), API, worker and folder watcher.",
    ),
    "serve": ("processes", "Run only the API (add workers with `rollbook worker`)."),
    "worker": (
        "processes",
        "Run only a worker; start as many as you like, on any number of machines.",
    ),
    "watch": ("processes", "Watch a folder and take the files from it."),
    "migrate": ("processes", "Migrate the database's schema to the newest revision."),
    "upgrade-engine": (
        "upgrade_engine",
        "Move the bundled PostgreSQL's data to the version that this Rollbook brings.",
    ),
    "doctor": (
        "doctor",
        "Check servers, file store, mail, voter roll and settings, and say what to do.",
    ),
    "login": ("sign_in", "Sign in to a server; secrets are asked for or read from standard input."),
    "logout": ("sign_in", "End the session at the server, and remove it from this machine."),
    "upload": ("uploads", "Send a file; a worker runs its job."),
    "status": ("uploads", "Show how far an upload is, and what became of its rows."),
    "report": ("uploads", "Download an upload's report, or its refused rows."),
    "history": ("uploads", "List uploads, newest first."),
    "cancel": ("uploads", "Cancel a waiting or running job; nothing of its file is merged."),
    "retry": ("uploads", "Retry a failed job; its attempts are counted from 1 again."),
    "undo": (
        "uploads",
        "Restore members to what they were before an upload; those changed since stay unchanged.",
    ),
    "queue": ("queue", "Show and control the queue."),
    "members": ("members", "Search members, show one, and store members in files."),
    "sample": ("sample", "Write a synthetic members' file with typical flaws."),
    "purge": ("purge", "Remove everything whose retention has ended; workers do this once a day."),
    "statistics": (
        "statistics",
        "Sum up the uploads of each day again; workers do it for days that have changed.",
    ),
    "users": ("users", "Add and change accounts."),
    "keys": ("keys", "Make and revoke keys for programs."),
}


class _Commands(Mapping[str, Any]):
    """The commands by name; each is imported when it is used.

    The imports of a command about accounts or jobs take longer than `up` needs to start.
    """

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"rollbook.cli.{_PLACES[name][0]}")
        if hasattr(module, "app"):
            return typer.main.get_group(module.app)
        alone = Commands(add_completion=False)
        alone.command(name)(getattr(module, name.replace("-", "_")))
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class _Group(TyperGroup):
    """Imports the one command that is run; the others are only listed."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{**more, "commands": _Commands()})

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        del ctx
        return list(_PLACES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command as help and completion list it."""
        del ctx
        found = _PLACES.get(cmd_name)
        return None if found is None else TyperCommand(cmd_name, help=found[1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is run."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, self.commands[name] if name is not None and listed is not None else None, rest


app = typer.Typer(name="rollbook", no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(asked: bool) -> None:
    if asked:
        from rollbook import __version__

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
    except SystemExit:
        raise
    except ReaderGoneError:
        drop_output()
        sys.exit(ExitCode.READER_GONE)
    except Exception as error:
        found = failures.explained(error)
        if found is None:
            raise
        code, sentence = found
        print_last(f"[bold red]rollbook:[/] {escape(sentence)}")
        sys.exit(code)
    except BaseException as error:
        # A panic of a library in Rust is a BaseException, too. asyncio isn't imported for one name.
        if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError":
            sys.exit(ExitCode.INTERRUPTED)
        raise
