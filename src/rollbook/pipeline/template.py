"""The empty workbook with the columns that Rollbook expects, and a note on each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from rollbook import clock, fields
from rollbook.languages import has, phrase
from rollbook.pipeline import problems
from rollbook.pipeline.columns import FULL_NAME, title, variants
from rollbook.spreadsheets.workbook import AnyCell, Cell, Look, WorkbookWriter

if TYPE_CHECKING:
    from pathlib import Path


def write_template(path: Path) -> None:
    """Write the template to ``path``, in the spoken language."""
    sheet = phrase("template.sheet")
    titles = {field: title(field) for field in variants() if field != FULL_NAME}
    heading = phrase("template.notes.title", sheet=sheet)
    rows: list[list[AnyCell]] = [[Cell(heading, Look.TITLE)], []]
    rows += [[phrase("template.rows", sheet=sheet)], [phrase("template.empty")], []]
    rows.append([Cell(phrase(f"template.notes.{key}"), Look.HEADER) for key in ("column", "what")])
    rows += [[Cell(name, Look.LABEL), _note(field)] for field, name in titles.items()]
    with WorkbookWriter(
        path, title=phrase("template.title"), fills={}, created=clock.now()
    ) as workbook:
        workbook.add_table(sheet, pl.DataFrame(schema=dict.fromkeys(titles.values(), pl.String)))
        workbook.add_cells(phrase("template.notes"), rows)


def _note(field: str) -> str | None:
    """What belongs into a column; of an own field, in the words of its problems."""
    own = fields.current().by_key.get(field)
    if own is None:
        key = f"template.note.{field}"
        return phrase(key) if has(key) else None
    needed = [phrase("template.required")] if own.rule.needed else []
    return " ".join([*needed, *problems.asked_of(own)])
