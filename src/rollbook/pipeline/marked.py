"""Marked cells: a note on rows that are struck through, and on comments, which are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollbook.languages import phrase
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.spreadsheets.books.marks import Marks

_MOST_LISTED: Final = 5


def notes(marks: Marks, header_row: int) -> Iterator[Note]:
    """The notes on the marks of a sheet below its header row, which counts from 1."""
    rows = [row for row in marks.struck_rows if row > header_row]
    if rows:
        which = _listed([str(row) for row in rows])
        yield Note("struck_rows", len(rows), {"rows": which})
    if marks.comments:
        count = len(marks.comments)
        listed = _listed(list(marks.comments))
        yield Note("comments_not_read", count, {"n": count, "cells": listed})


def notes_on_parts(*, are_struck: bool) -> Iterator[Note]:
    """The note on texts of which parts are struck through."""
    if are_struck:
        yield Note("struck_texts")


def _listed(texts: list[str]) -> str:
    listed, more = ", ".join(name[:10] for name in texts[:_MOST_LISTED]), len(texts) - _MOST_LISTED
    return phrase("list.more", listed=listed, more=more) if more > 0 else listed
