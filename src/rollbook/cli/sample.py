"""`rollbook sample`: writes a synthetic file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from rollbook.cli.output import JsonOption, say
from rollbook.errors import ConflictError


def sample(
    target: Annotated[Path, typer.Argument(help="An .xlsx or .csv file to write.")],
    rows: Annotated[int, typer.Option(min=0, help="How many rows.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same file.")] = 1,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a synthetic members' file with typical flaws."""
    from rollbook.cli.sample_file import write_sample

    if target.exists():
        # The usual name of a file of real members.
        raise ConflictError(
            f"There is a file {str(target)!r} already; it was not changed. Give another name, "
            "or remove it first."
        )
    facts = write_sample(target, rows, seed=seed)
    sentence = (
        f"{escape(str(target))}: {facts.rows} rows, of them {facts.invalid} invalid and "
        f"{facts.duplicates} duplicates."
    )
    say(sentence, {"file": str(target), **asdict(facts)}, as_json=as_json)
