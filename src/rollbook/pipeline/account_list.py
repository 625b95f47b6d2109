"""A list of accounts to invite, as a file: how one is read, and the template for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from rollbook import clock, places
from rollbook.errors import (
    ColumnRepeatedError,
    MissingColumnsError,
    NoRowsError,
    TooManyAccountsError,
)
from rollbook.masking import masked, visible
from rollbook.model import Role
from rollbook.pipeline import tables
from rollbook.pipeline.columns import key
from rollbook.pipeline.header import SEARCH_ROWS, one_line
from rollbook.spreadsheets.workbook import AnyCell, Cell, Look, WorkbookWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rollbook.pipeline.tables import Table
    from rollbook.spreadsheets.inspect.archive import Limits

#: The fields of an account, with their headers; the first is the template's.
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "email": ("E-mail", "E-mail address", "Mail", "Mail address"),
    "name": ("Name", "Full name", "Person", "Name and surname"),
    "role": ("Role", "Account role"),
    "province": ("Province", "Province name", "Province code"),
    "municipality": ("Municipality", "Municipality name", "Municipality code"),
}
REQUIRED: Final = ("email", "role")
#: Rows that are read at a time.
_BATCH: Final = 1_000
#: Characters of a cell that are read: no field of an account has as many.
_MOST_CHARS: Final = 1_000
#: Sheets and headers that an answer names.
_MOST_NAMED: Final = 20

_BY_KEY: Final = {key(header): field for field, names in HEADERS.items() for header in names}
_NOTES: Final = {
    "email": "Required. The person signs in with it, and each address is there once.",
    "name": "The person's name. May be empty.",
    "role": "Required. One of the roles below; at most your own.",
    "province": "For both kinds of office. Its name or code. If empty, your own.",
    "municipality": "For a municipality_admin. Its name or code, as on the sheet 'Places'.",
}
_ROLES: Final = {
    Role.SUPER_ADMIN: "Everything. Leave province and municipality empty.",
    Role.NATIONAL_ADMIN: "All offices. Leave province and municipality empty.",
    Role.PROVINCE_ADMIN: "A province and its municipalities. Needs the province.",
    Role.MUNICIPALITY_ADMIN: "A municipality. Needs the province and the municipality.",
}


def read(path: Path, kind: str, *, limits: Limits, most: int) -> dict[str, Any]:
    """Read a list of accounts.

    Args:
        path: the file.
        kind: see ``spreadsheets.kinds``.
        limits: on what a workbook may hold.
        most: accounts that a list may have.

    Returns:
        Fit for JSON: ``sheet``, ``rows`` (``row_number``, and a text for each of ``HEADERS``),
        ``sheets_not_read`` and ``columns_not_read`` (names), and ``hidden_rows`` (numbers of rows
        that the spreadsheet program hides; they are read like the others).

    Raises:
        FileProblemError: the file can't be read, has no such table, or has too many rows.
    """
    with tables.opened(path, kind, lambda _: None, limits) as found:
        for number, table in enumerate(found):
            if table.is_hidden:
                continue
            rows = _rows(table, most)
            if (header := next(rows, None)) is None:
                continue
            others = [other.name for at, other in enumerate(found) if at != number]
            listed = list(rows)
            if not listed:
                raise NoRowsError(
                    "The list has headers and no accounts below them. Nobody was invited."
                )
            hidden = [row["row_number"] for row in listed if row.pop("is_hidden")]
            return {
                "sheet": _shown(table.name),
                "rows": listed,
                "sheets_not_read": [_shown(name) for name in others[:_MOST_NAMED]],
                "columns_not_read": header["others"],
                "hidden_rows": hidden,
            }
    wanted = " and ".join(f"'{HEADERS[field][0]}'" for field in REQUIRED)
    raise MissingColumnsError(
        f"No visible sheet of the file has a row with the headers {wanted}, so nobody was invited. "
        "Download the template and fill it in."
    )


def _rows(table: Table, most: int) -> Iterator[dict[str, Any]]:
    """First the headers that aren't read, as ``others``; then the accounts.

    Nothing where the table has no header row.
    """
    fields: dict[str, str] = {}
    above = accounts = 0
    for batch in table.open(_BATCH):
        frame = tables.with_short_cells(batch.frame)
        hidden = set(batch.hidden)
        for at, cells in enumerate(frame.iter_rows(), start=above + 1):
            texts = dict(zip(frame.columns, map(one_line, cells), strict=True))
            if not fields:
                if at > SEARCH_ROWS:
                    return
                fields = _fields(texts)
                if fields:
                    yield {"others": _others(texts, fields)}
            elif any(texts.values()):
                accounts += 1
                if accounts > most:
                    raise TooManyAccountsError(
                        f"The list has more than {most:,} accounts, which one list may have. "
                        "Nobody was invited. Split it into several files."
                    )
                row = {name: texts.get(column, "") for name, column in fields.items()}
                yield {
                    "row_number": at,
                    "is_hidden": at in hidden,
                    **{name: row.get(name, "")[:_MOST_CHARS] for name in HEADERS},
                }
        above += frame.height


def _fields(texts: Mapping[str, str]) -> dict[str, str]:
    """The column of each field, where this is the header row.

    Raises:
        ColumnRepeatedError: it is, and two columns mean one field.
    """
    found: dict[str, list[str]] = {}
    for column, text in texts.items():
        if (field := _BY_KEY.get(key(text))) is not None:
            found.setdefault(field, []).append(column)
    if any(field not in found for field in REQUIRED):
        return {}
    for columns in found.values():
        if len(columns) > 1:
            named = " and ".join(f"'{_shown(texts[column])}'" for column in columns)
            raise ColumnRepeatedError(
                f"The columns {named} mean the same, so it isn't clear which of them counts. "
                "Nobody was invited. Remove one of them."
            )
    return {field: columns[0] for field, columns in found.items()}


def _others(texts: Mapping[str, str], fields: Mapping[str, str]) -> list[str]:
    read_ = set(fields.values())
    named = [_shown(text) for column, text in texts.items() if text and column not in read_]
    return named[:_MOST_NAMED]


def _shown(text: str) -> str:
    return masked(visible(text))[:100]


def write_template(path: Path) -> None:
    """Write the empty list to ``path``, with notes and the register's places."""
    titles = [names[0] for names in HEADERS.values()]
    columns: list[list[AnyCell]] = [
        [Cell(HEADERS[name][0], Look.LABEL), note] for name, note in _NOTES.items()
    ]
    roles: list[list[AnyCell]] = [
        [Cell(role.value, Look.LABEL), note] for role, note in _ROLES.items()
    ]
    rows: list[list[AnyCell]] = [
        [Cell("How to fill in the sheet 'Accounts'", Look.TITLE)],
        [],
        ["Write one person a row. Each gets an account and a link to choose a password."],
        [],
        [Cell(title, Look.HEADER) for title in ("Column", "What belongs there")],
        *columns,
        [],
        [Cell(title, Look.HEADER) for title in ("Role", "What it manages")],
        *roles,
    ]
    provinces = places.provinces()
    known: list[list[AnyCell]] = [
        [Cell(title, Look.HEADER) for title in ("Province", "Municipality", "Code")]
    ]
    towns = sorted(places.municipalities().values(), key=lambda one: (one.province, one.name))
    known.extend([provinces[one.province].name, one.name, one.code] for one in towns)
    with WorkbookWriter(
        path, title="Accounts to invite: the template", fills={}, created=clock.now()
    ) as workbook:
        workbook.add_table("Accounts", pl.DataFrame(schema=dict.fromkeys(titles, pl.String)))
        workbook.add_cells("Notes", rows)
        workbook.add_cells("Places", known)
