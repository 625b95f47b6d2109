"""The command ``rollbook``.

Exit codes: 0 done; 1 the work failed (an upload that failed, an error of the system); 2 the
command was used wrongly; 3 something isn't there (a job, an account, a file); 4 a part of the
service isn't reachable.
"""

from __future__ import annotations

import asyncio
import sys

import psycopg
import typer
from psycopg_pool import PoolTimeout
from rich.markup import escape

from rollbook.cli import demo, jobs, processes, purge, users
from rollbook.cli.session import err
from rollbook.errors import (
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    RollbookError,
    ServiceUnavailableError,
)

app = typer.Typer(
    name="rollbook",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Members' spreadsheets in, checked rows in PostgreSQL and a report out.",
)
app.command()(demo.demo)
app.command()(processes.up)
app.command()(processes.serve)
app.command()(processes.worker)
app.command()(processes.watch)
app.command()(processes.migrate)
app.command()(jobs.sample)
app.command()(jobs.upload)
app.command()(purge.purge)
app.command("undo")(jobs.undo_upload)
app.add_typer(jobs.queue_app)
app.add_typer(users.app)

EXIT_CODES: dict[type[Exception], int] = {
    ConfigurationError: 2,
    InvalidRequestError: 2,
    NotFoundError: 3,
    ServiceUnavailableError: 4,
    PoolTimeout: 4,
    psycopg.OperationalError: 4,
}


def main() -> None:
    """Run the command line; an error is one sentence on standard error and an exit code."""
    try:
        app()
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    except (RollbookError, psycopg.OperationalError, PoolTimeout) as error:
        text = (
            str(error)
            if isinstance(error, RollbookError)
            else "PostgreSQL doesn't answer. Is it started, and is DATABASE_URL right?"
        )
        err.print(f"[bold red]rollbook:[/] {escape(text)}", soft_wrap=True)
        codes = (code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        sys.exit(next(codes, 1))
