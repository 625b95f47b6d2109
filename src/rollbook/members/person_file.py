"""A person's file: everything that is held about one person, as a workbook or as JSON.

It answers a request for access (POPIA section 23, GDPR article 15). Names and addresses of accounts
and of others' files are no data of the person and left out.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from rollbook import clock
from rollbook.backends.database import queries
from rollbook.errors import NotFoundError
from rollbook.model import Scope
from rollbook.spreadsheets.workbook import AnyCell, Cell, Look, WorkbookWriter

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg import Connection

    from rollbook.backends.database import Row

#: The parts of the file after the record itself: the query of each, its title, and what it is.
_PARTS: Final = (
    ("changes", "Former values", "What the record was before uploads changed it."),
    ("corrections", "Corrections", "Corrections by hand, with their reasons."),
    ("uploads", "Uploads", "The files that are known to have held the person."),
    ("rows", "Rows", "The rows of these files of which something is stored."),
    ("roll", "Voter roll", "What the voter roll answered."),
    ("verifications", "Verifications", "Rows that were compared with the voter roll."),
    ("questions", "Questions", "Whether the voter roll is still to be asked."),
    ("kept", "Undone uploads", "Undone uploads that left the record as it was."),
    ("notifications", "Notifications", "Messages about these uploads; they name nobody."),
    ("audit", "Audit trail", "What was done with this record, and in which role."),
    ("files", "Exports", "Exports that may hold the person and are still stored."),
)

_SQL = queries("member_access")


def write(connection: Connection[Row], path: Path, asked: Row) -> int:
    """Write the file of a member, as the path's ending says; returns the number of its entries.

    ``asked`` is the row of the table ``member_files``.

    Raises:
        NotFoundError: the member is gone, or belongs to another office now.
    """
    person = _read(connection, asked)
    if path.suffix == ".json":
        path.write_text(
            json.dumps(person, ensure_ascii=False, indent=1, default=_plain), encoding="utf-8"
        )
    else:
        _write_workbook(path, person)
    return 1 + sum(len(person[name]) for name, _, _ in _PARTS)


def _read(connection: Connection[Row], asked: Row) -> dict[str, Any]:
    scope = Scope(asked["province"], asked["municipality"])
    own = {"member_id": asked["member_id"], **scope.parameters()}
    member = connection.execute(_SQL["member"], own).fetchone()
    if member is None:
        raise NotFoundError("There is no such member any more.")
    values = {**own, **member}
    found: dict[str, Any] = {"written_at": clock.now(), "record": dict(member)}
    for name, _, _ in _PARTS:
        values["uploads"] = [row["upload_id"] for row in found.get("uploads", [])]
        found[name] = [dict(row) for row in connection.execute(_SQL[name], values).fetchall()]
    return found


def _write_workbook(path: Path, person: dict[str, Any]) -> None:
    record: list[list[AnyCell]] = [
        [Cell("Everything that is held about one person", Look.TITLE)],
        [f"Written at {person['written_at']:%Y-%m-%d %H:%M} UTC."],
        [],
        *([Cell(name, Look.LABEL), _cell(value)] for name, value in person["record"].items()),
    ]
    with WorkbookWriter(path, title="A person's file", fills={}, created=clock.now()) as workbook:
        workbook.add_cells("Record", record)
        for name, title, about in _PARTS:
            rows = person[name]
            cells: list[list[AnyCell]] = [[about], []]
            if rows:
                cells.append([Cell(column, Look.HEADER) for column in rows[0]])
                cells += [[_cell(value) for value in row.values()] for row in rows]
            else:
                cells.append(["Nothing is held."])
            workbook.add_cells(title, cells)


def _cell(value: Any) -> AnyCell:
    """A value as a cell: documents as text, and times without their zone, which is UTC."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    if value is None or isinstance(value, str):
        return value
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, UUID | Decimal):
        return str(value)
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
