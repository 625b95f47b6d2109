"""Output of the commands: results on standard output, everything else on standard error.

What a command asks for is read from the terminal, or from standard input.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import select
import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rollbook import clock
from rollbook.errors import InvalidRequestError
from rollbook.masking import visible


class ReaderGoneError(Exception):
    """The program that read standard output has ended, as in ``rollbook queue jobs | head``."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise ReaderGoneError


#: For results. In a file or a pipe, tables have their full width.
out = _Console()
if not out.is_terminal:
    out.width = 240
#: For progress, notices and errors.
err = Console(stderr=True)

#: Seconds that a reader of standard error gets to take the last line of a process.
LAST_LINE_S = 1.0

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def shown(text: object) -> str:
    """A text of a server, without markup and without what steers a terminal."""
    return escape(visible(str(text)))


def moment(text: str | None, zone: str) -> str:
    """A moment of an answer as the page and mails give it; empty where there is none."""
    return clock.in_words(dt.datetime.fromisoformat(text), zone) if text else ""


def print_json(value: Any) -> None:
    """Print one line of JSON on standard output.

    Raises:
        ReaderGoneError: nobody reads it any more.
    """
    try:
        typer.echo(json.dumps(value, default=str))
    except BrokenPipeError:
        raise ReaderGoneError from None


def say(sentence: str, data: Any, *, as_json: bool) -> None:
    """Print the result of a command: a sentence with markup, or its data as JSON."""
    if as_json:
        print_json(data)
    else:
        out.print(sentence, soft_wrap=True)


def asked(what: str, *, hidden: bool = True, twice: bool = False) -> str:
    """What a person types at a prompt, or the next line of standard input in a script.

    Raises:
        InvalidRequestError: nothing was given.
    """
    if sys.stdin.isatty():
        given = typer.prompt(what, hide_input=hidden, confirmation_prompt=twice, err=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise InvalidRequestError(f"{what}: nothing was given on standard input.")
    return str(given)


def print_last(sentence: str) -> None:
    """Print on standard error as a process ends, unless nobody reads it: that keeps none running.

    A terminal after Ctrl-S, or a log collector that hangs, takes nothing more.
    """
    try:
        is_read = bool(select.select([], [sys.stderr], [], LAST_LINE_S)[1])
    except (OSError, ValueError, TypeError):  # a stream without a file, or none
        is_read = True
    if is_read:
        err.print(sentence, soft_wrap=True)


def write_bytes(data: bytes) -> None:
    """Write a part of a file on standard output.

    Raises:
        ReaderGoneError: nobody reads it any more.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None


def drop_output() -> None:
    """Discard what is still in the buffer of standard output, since its reader has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def outcome_table(outcomes: dict[Any, int]) -> Table:
    """The outcomes with their sum, the number of rows read."""
    table = Table("Outcome", "Rows", show_footer=True)
    table.columns[0].footer = "all rows"
    table.columns[1].footer = str(sum(outcomes.values()))
    table.columns[1].justify = "right"
    for name, number in outcomes.items():
        table.add_row(name.replace("_", " "), str(number))
    return table


def roll_table(results: dict[Any, int], *, title: str) -> Table:
    """The results of the voter roll; those without rows are left out."""
    table = Table("Voter roll", "Rows", title=title)
    table.columns[1].justify = "right"
    for name, number in results.items():
        if number:
            table.add_row(name.replace("_", " "), str(number))
    return table
