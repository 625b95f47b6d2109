"""The file of an export, which a child writes: the template's columns, in bounded memory."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from psycopg import sql

from rollbook import clock, fields
from rollbook.backends import files
from rollbook.backends.database import queries
from rollbook.members import person_file, search
from rollbook.model import Progress, Scope
from rollbook.pipeline.columns import FULL_NAME, built_in
from rollbook.pipeline.match import copy_out
from rollbook.pipeline.normalise import MEMBERSHIP_MONTHS
from rollbook.spreadsheets.workbook import WorkbookWriter
from rollbook.spreadsheets.workbook.cell_text import is_active

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.backends.files import FileStore

#: The title of each built-in field in the template. An age is in no record.
TITLES: Final = {
    field: names[0] for field, names in built_in().items() if field not in {FULL_NAME, "age"}
}
_DATES: Final = ("date_joined", "last_payment", "expiry_date")
_PHONES: Final = ("cell_number", "landline_number")
_BUILT_IN_TYPES: Final[dict[str, type[pl.DataType]]] = {
    **dict.fromkeys(TITLES, pl.String),
    **dict.fromkeys(_DATES, pl.Date),
    "membership_amount": pl.Float64,
}
#: The columns of own fields that aren't text.
_OWN_TYPES: Final[dict[str, type[pl.DataType]]] = {
    "integer": pl.Int64,
    "decimal": pl.Float64,
    "date": pl.Date,
}
#: Where a cell begins in a program whose lists are separated by semicolons or tabs, as in South
#: Africa: what follows would be a formula, though the text is one quoted cell.
_CELL_INSIDE: Final = r"([;\t\r\n])([=+\-@])"
#: It follows from the last payment: an older version didn't record that, but the dates show it.
_EXPIRY: Final = (
    "CASE WHEN COALESCE(m.expiry_is_derived, m.expiry_date ="
    f" (m.last_payment + interval '{MEMBERSHIP_MONTHS} months')::date)"
    " IS NOT TRUE THEN m.expiry_date END"
)

#: Fields that aren't the column of their name. The key of a member by passport is no ID number.
_COLUMNS: Final = {
    "id_number": "CASE WHEN m.identity_kind IS NULL THEN m.id_number END",
    "passport_number": "m.identity_number",
    "passport_country": "m.identity_country",
    "expiry_date": _EXPIRY,
}

_SQL = queries("member_files")


def process(
    connection: Connection[Row],
    store: FileStore,
    *,
    file_id: UUID,
    attempt: int,
    hours: float,
    report_progress: Callable[[Progress], None],
) -> dict[str, Any]:
    """Make a requested file (see the table ``member_files``), and store it for so many hours.

    Returns:
        Whether it was made; False where it is done already, its owner's request is gone, or
        ``attempt``, the number of the claim, isn't the last one: a person may have been erased.
    """
    own = {"id": file_id, "tries": attempt}
    asked = connection.execute(_SQL["by_id"], own).fetchone()
    if asked is None:
        return {"is_made": False}
    with tempfile.TemporaryDirectory(prefix="rollbook-") as name:
        path = Path(name) / f"members.{asked['format']}"
        if asked["kind"] == "access":
            rows = person_file.write(connection, path, asked)
        else:
            rows = _export(connection, path, asked, report_progress)
        connection.commit()
        key = files.members_key(file_id, asked["format"], attempt)
        store.put(key, path)
        done = {**own, "rows": rows, "bytes": path.stat().st_size, "hours": hours}
    is_made = connection.execute(_SQL["complete"], done).rowcount == 1
    connection.commit()
    if not is_made:
        store.discard(key)
    return {"is_made": is_made}


def _export(
    connection: Connection[Row],
    path: Path,
    asked: Row,
    report_progress: Callable[[Progress], None],
) -> int:
    """Write an export; returns the number of its members."""
    parts = _parts(asked)
    counted = connection.execute(sql.SQL(_SQL["count_members"]).format(**parts)).fetchone()
    total = counted["members"] if counted else 0
    done = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal done
        query = sql.SQL(_SQL["export"]).format(**parts)
        for frame in copy_out(connection, query, _types()):
            yield frame
            done += frame.height
            percent = min(99, 100 * done // max(total, 1))
            report_progress(Progress("export", percent, done, max(total, done)))

    write = _write_workbook if asked["format"] == "xlsx" else _write_csv
    write(path, frames())
    return done


def _parts(asked: Row) -> dict[str, sql.Composable]:
    wanted = dict(asked["filters"])
    query = wanted.pop("query", None)
    if "expires_before" in wanted:
        wanted["expires_before"] = dt.date.fromisoformat(wanted["expires_before"])
    filters = search.Filters(**wanted)
    scope = Scope(asked["province"], asked["municipality"])
    columns: list[sql.Composable] = [
        sql.SQL(_COLUMNS[name]) if name in _COLUMNS else sql.Identifier("m", name)
        for name in TITLES
    ]
    columns += [
        sql.SQL("m.own_fields ->> {}").format(sql.Literal(field.name))
        for field in fields.current().fields
    ]
    return {
        **{name: sql.Literal(value) for name, value in scope.parameters().items()},
        "columns": sql.SQL(", ").join(columns),
        "source": sql.SQL(_SQL["all_members" if query is None else "found_members"]),
        "filters": search.conditions(filters, query),
    }


def _write_workbook(path: Path, frames: Iterator[pl.DataFrame]) -> None:
    empty = pl.DataFrame(schema=_types())
    with WorkbookWriter(path, title="Members", fills={}, created=clock.now()) as workbook:
        table = workbook.begin_tables(["Members"])
        table.add(_titled(empty))
        for frame in frames:
            table.add(_titled(frame))


def _write_csv(path: Path, frames: Iterator[pl.DataFrame]) -> None:
    """As UTF-8 with its mark, by which spreadsheet programs know it."""
    with path.open("wb") as target:
        target.write("\ufeff".encode())
        target.write(_titled(pl.DataFrame(schema=_types())).write_csv().encode())
        for frame in frames:
            target.write(_titled(_harmless(frame)).write_csv(include_header=False).encode())


def _harmless(frame: pl.DataFrame) -> pl.DataFrame:
    """No cell that a spreadsheet program takes for a formula; read again, all mean the same.

    A phone number begins with 0 or 00 instead of +, any other text gets a space before it, which
    reading strips. Inside a text, a separator that a formula follows gets a space, which stays.
    """
    own = [field.key for field in fields.current().fields if field.kind == "phone"]
    phones = pl.col(*_PHONES, *own).str.replace(r"^\+27", "0").str.replace(r"^\+", "00")
    texts = [name for name, kind in _types().items() if kind is pl.String]
    return (
        frame.with_columns(phones)
        .with_columns(pl.col(texts).str.replace_all(_CELL_INSIDE, "${1} ${2}"))
        .with_columns(
            pl.when(is_active(pl.col(name))).then(" " + pl.col(name)).otherwise(name).alias(name)
            for name in texts
        )
    )


def _titled(frame: pl.DataFrame) -> pl.DataFrame:
    own = {field.key: field.title for field in fields.current().fields}
    return frame.rename({**TITLES, **own})


def _types() -> dict[str, type[pl.DataType]]:
    own = {field.key: _OWN_TYPES.get(field.kind, pl.String) for field in fields.current().fields}
    return {**_BUILT_IN_TYPES, **own}
