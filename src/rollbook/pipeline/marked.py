"""Marked cells: a note on rows that are struck through, and on comments, which are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
        yield Note(
            "struck_rows",
            f"Cells are struck through in row {which}. They were read as the others: remove the "
            "rows of those who are no members.",
            len(rows),
        )
    if marks.comments:
        count = len(marks.comments)
        yield Note(
            "comments_not_read",
            f"{count} {'cell has a comment' if count == 1 else 'cells have comments'}, which "
            f"Rollbook does not read: {_listed(list(marks.comments))}.",
            count,
        )


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else ""
    return ", ".join(text[:10] for text in texts[:_MOST_LISTED]) + more
