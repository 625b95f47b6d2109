"""Marked cells: a note on rows that are struck through, and on comments, which are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollbook.languages import listed
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.spreadsheets.books.marks import Marks


def notes(marks: Marks, header_row: int) -> Iterator[Note]:
    """The notes on the marks of a sheet below its header row, which counts from 1."""
    rows = [row for row in marks.struck_rows if row > header_row]
    if rows:
        yield Note("struck_rows", len(rows), {"rows": listed(rows)})
    if marks.comments:
        count = len(marks.comments)
        cells = listed([name[:10] for name in marks.comments])
        yield Note("comments_not_read", count, {"n": count, "cells": cells})


def notes_on_parts(*, are_struck: bool) -> Iterator[Note]:
    """The note on texts of which parts are struck through."""
    if are_struck:
        yield Note("struck_texts")
