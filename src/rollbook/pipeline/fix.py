"""Fix: checks rows that their sender has edited, and writes them to the file of a follow-up upload.

Both read a row as the pipeline does, with what its file has shown (``fixable.Grid``). The check
sees only the rows that it is given: repeats, and members of other offices, are found by the
follow-up.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import polars as pl
from psycopg.types.json import Jsonb

from rollbook.backends import files
from rollbook.backends.database import queries
from rollbook.errors import ConflictError, InvalidRequestError
from rollbook.masking import masked
from rollbook.model import Scope
from rollbook.pipeline import aliases as aliases_
from rollbook.pipeline.fixable import Grid
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.validate import validate
from rollbook.spreadsheets.workbook import WorkbookWriter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.backends.files import FileStore
    from rollbook.pipeline.erased import Erased

#: Rows that are in memory at a time.
_PIECE_ROWS: Final = 5_000
_SHEET: Final = "Fixed rows"

_SQL, _ALIASES = queries("fixes"), queries("aliases")


def check(
    connection: Connection[Row],
    upload: Row,
    edited: Sequence[Mapping[str, Any]],
    *,
    today: dt.date,
    erased: Erased,
    accepts_passports: bool = False,
) -> list[dict[str, Any]]:
    """The problems of rows as they would be with some edited cells.

    Args:
        connection: for the cells that were not edited.
        upload: ``by_upload`` of the upload that the rows are of.
        edited: ``row_number`` and ``cells`` (header to value) of each row.
        today: decides which dates are possible.
        erased: people whose rows are refused.
        accepts_passports: passports may take the place of ID numbers.

    Returns:
        ``row_number``, ``verdict`` and ``problems`` (``column``, ``value``, ``code``, ``severity``
        and ``kept``) of each row that is still stored, in the order of the file.
    """
    grid, scope = Grid.of(upload["grid"]), Scope(upload["province"], upload["municipality"])
    edits = {row["row_number"]: row["cells"] for row in edited}
    wanted = {"id": upload["id"], "rows": list(edits)}
    stored = connection.execute(_SQL["cells_of"], wanted).fetchall()
    connection.commit()
    if not stored:
        return []
    rows = [
        (row["row_number"], *_edited(grid, row["cells"], edits[row["row_number"]]))
        for row in stored
    ]
    sheet = grid.sheet(_frame(rows, grid))
    normalised = normalise(
        sheet,
        today,
        grid.orders,
        empty_text=aliases_.key_of(upload["empty_text"]),
        accepts_passports=accepts_passports,
        aliases=aliases_.aliases_of(connection, scope),
    )
    validated = validate(normalised, sheet, scope)
    validated = erased.refuse(validated, normalised.headers.get("id_number"))
    found: dict[int, list[dict[str, Any]]] = {}
    for problem in validated.problems.iter_rows(named=True):
        found.setdefault(problem.pop(ROW_NUMBER), []).append(problem)
    return [
        {"row_number": number, "verdict": verdict, "problems": found.get(number, [])}
        for number, verdict in validated.rows.select(ROW_NUMBER, "verdict").iter_rows()
    ]


def write(
    connection: Connection[Row],
    store: FileStore,
    folder: Path,
    upload: Row,
    *,
    edited: Sequence[Mapping[str, Any]],
    values: Sequence[Mapping[str, Any]],
    leave: Sequence[int] = (),
    earlier: UUID | None = None,
) -> dict[str, Any]:
    """Write the file of a follow-up and put it into the store.

    The same rows with the same cells give the same bytes.

    Args:
        connection: for the cells that were not edited.
        store: where the file goes, under an id that its upload will have.
        folder: for the file until then.
        upload: ``by_upload`` of the upload that the rows are of.
        edited: ``row_number`` and ``cells`` (header to value) of single rows; they count before:
        values: ``column``, ``value`` and ``becomes``: a value that is replaced in every row where
            it has a problem, unless it is a repeat.
        leave: rows in which no value is replaced.
        earlier: the upload that an earlier request of the same key has made; its rows are free.

    Returns:
        ``upload_id``, ``bytes``, ``sha256``, and ``rows``: the numbers of the rows of the first
        file, in the order of this one.

    Raises:
        ConflictError: one of the rows is no longer stored, or none is left.
    """
    grid = Grid.of(upload["grid"])
    edits = {row["row_number"]: row["cells"] for row in edited}
    path = folder / "fixed.xlsx"
    numbers: list[int] = []
    with WorkbookWriter(path, title=_SHEET, fills={}, created=upload["created_at"]) as workbook:
        sheet = workbook.begin_tables([_SHEET])
        for rows in _wanted(connection, grid, upload, edits, values, leave, earlier):
            frame = _frame(rows, grid)
            numbers += frame[ROW_NUMBER].to_list()
            own = frame.drop(ROW_NUMBER).rename(
                dict(zip(frame.columns[1:], grid.headers, strict=True))
            )
            sent = frame[ROW_NUMBER].cast(pl.String).alias(grid.sent_row)
            sheet.add(own.with_columns(sent))
        if not numbers:
            raise ConflictError(
                "None of these rows is left to be fixed: others have been sent since. Nothing was "
                "kept. Load the rows again."
            )
    missing = edits.keys() - set(numbers)
    if missing:
        raise ConflictError(
            f"Row {min(missing)} is no longer stored, so nothing was sent: its retention ended, or "
            "its person was erased. Load the rows again and send the others."
        )
    upload_id = uuid4()
    store.put(files.source_key(upload_id, "xlsx"), path)
    content = path.read_bytes()
    return {
        "upload_id": str(upload_id),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": numbers,
    }


def check_aliases(upload: Row, values: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The aliases that are to be remembered, as ``value_aliases`` stores them.

    Raises:
        InvalidRequestError: one of them can't be an alias.
    """
    grid = Grid.of(upload["grid"])
    found = []
    for value in values:
        if not value["remember"]:
            continue
        field = grid.columns.known.get(value["column"])
        text, becomes = aliases_.key_of(value["value"]), value["becomes"].strip()
        if field not in aliases_.FIELDS:
            raise InvalidRequestError(
                f"Values of the column '{masked(value['column'])}' can't be remembered, so nothing "
                "was sent. It is possible for provinces, municipalities, gender, citizenship, race "
                "and language."
            )
        if not aliases_.is_known(field, becomes):
            raise InvalidRequestError(
                f"'{masked(becomes)}' is no known value of this column, so it can't be remembered "
                "and nothing was sent. Choose a known one, or send without remembering."
            )
        if not text or len(text) > aliases_.MOST_CHARS or masked(text) != text:
            raise InvalidRequestError(
                f"'{masked(value['value'])[:100]}' can't be remembered: it is empty, too long or "
                "holds an ID number. Nothing was sent. Send without remembering it."
            )
        if not aliases_.is_known(field, text):
            found.append({"field": field, "text": text, "value": becomes})
    return found


def _wanted(
    connection: Connection[Row],
    grid: Grid,
    upload: Row,
    edits: Mapping[int, Mapping[str, str | None]],
    values: Sequence[Mapping[str, Any]],
    leave: Sequence[int],
    earlier: UUID | None,
) -> Iterator[list[tuple[int | str | None, ...]]]:
    """The rows of the follow-up with their new cells, piece by piece."""
    matches = [Jsonb([{"column": v["column"], "value": v["value"]}]) for v in values]
    wanted = {
        "id": upload["id"],
        "rows": list(edits),
        "matches": matches,
        "leave": list(leave),
        "earlier": earlier,
    }
    left = set(leave)
    with connection.cursor("wanted") as cursor:
        cursor.execute(_SQL["wanted"], wanted)
        while found := cursor.fetchmany(_PIECE_ROWS):
            rows: list[tuple[int | str | None, ...]] = []
            for row in found:
                bad = {(one["column"], one["value"]) for one in row["problems"] or ()}
                is_left = row["outcome"] == "duplicate" or row["row_number"] in left
                replaced = {
                    v["column"]: v["becomes"]
                    for v in values
                    if not is_left and (v["column"], v["value"]) in bad
                }
                cells = _edited(
                    grid, row["cells"], {**replaced, **edits.get(row["row_number"], {})}
                )
                rows.append((row["row_number"], *cells))
            yield rows


def _edited(
    grid: Grid, cells: Sequence[str | None], edits: Mapping[str, str | None]
) -> list[str | None]:
    """The cells of a row with the edited ones in their places."""
    padded = [*cells, *[None] * (len(grid.headers) - len(cells))]
    return [edits.get(name, cell) or None for name, cell in zip(grid.headers, padded, strict=True)]


def _frame(rows: Sequence[Sequence[Any]], grid: Grid) -> pl.DataFrame:
    """``row_number`` and the cells, under names that collide with no header."""
    names = [f"c{place}" for place in range(len(grid.headers))]
    schema = {ROW_NUMBER: pl.UInt32, **dict.fromkeys(names, pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")
