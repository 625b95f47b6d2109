"""The empty workbook with the columns that Rollbook expects, and a note on each."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING

import polars as pl

from rollbook import clock, fields
from rollbook.pipeline import problems
from rollbook.pipeline.columns import FULL_NAME, variants
from rollbook.spreadsheets.workbook import AnyCell, Cell, Look, WorkbookWriter

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.fields import OwnField

_GENERAL = (
    "Write one member a row on the sheet 'Members'. Columns may be in any order, may be left "
    "out unless they are required, and may be joined by others, which the report will show.",
    "An empty cell never erases what is known of a member.",
)


def write_template(path: Path) -> None:
    """Write the template to ``path``."""
    text = files("rollbook.pipeline").joinpath("template.toml").read_text(encoding="utf-8")
    notes: dict[str, str] = tomllib.loads(text)
    titles = {field: names[0] for field, names in variants().items() if field != FULL_NAME}
    rows: list[list[AnyCell]] = [[Cell("How to fill in the sheet 'Members'", Look.TITLE)], []]
    rows += [[line] for line in _GENERAL]
    rows += [[], [Cell(title, Look.HEADER) for title in ("Column", "What belongs there")]]
    notes |= {field.key: _note(field) for field in fields.current().fields}
    rows += [[Cell(title, Look.LABEL), notes.get(field)] for field, title in titles.items()]
    with WorkbookWriter(
        path, title="Members: the template", fills={}, created=clock.now()
    ) as workbook:
        workbook.add_table(
            "Members", pl.DataFrame(schema=dict.fromkeys(titles.values(), pl.String))
        )
        workbook.add_cells("Notes", rows)


def _note(field: OwnField) -> str:
    """What belongs into the column of an own field, in the words of its problems."""
    needed = "Required. " if field.rule.needed else ""
    return needed + " ".join(problems.asked_of(field))
