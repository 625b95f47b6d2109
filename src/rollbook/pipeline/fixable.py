"""Fixable: the cells of refused and doubtful rows, which their sender can fix and send again.

Only these rows are stored, for as long as the report is. The grid beside them says how the file's
cells were read, so that a row of a follow-up is read as it was in its file, where the other rows
have shown, for example, the order of the dates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from rollbook.backends.database import queries
from rollbook.errors import AttemptError
from rollbook.fields import is_gone
from rollbook.languages import phrase
from rollbook.model import OUTCOMES, REFUSED
from rollbook.pipeline.cells import nulls
from rollbook.pipeline.columns import (
    ERRORS,
    SENT_ROW,
    ColumnMap,
    is_birth_date,
    trimmed,
    unique_headers,
)
from rollbook.pipeline.dates import Orders
from rollbook.pipeline.read import ROW_NUMBER, Sheet, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from psycopg import Connection

    from rollbook.backends.database import Row

#: Outcomes of a row that was taken in.
TAKEN: Final = [outcome for outcome in OUTCOMES if outcome not in REFUSED]
#: Rows of one piece of the COPY.
_PIECE_ROWS: Final = 10_000

_SQL = queries("fixes")


@dataclass(frozen=True, slots=True)
class Grid:
    """How the cells of an upload's fixable rows are read."""

    #: Of the file in its order, without those that a workbook of refused rows adds at the end.
    headers: tuple[str, ...]
    columns: ColumnMap
    #: Of the whole file.
    orders: Orders
    unheaded: tuple[str, ...] = ()
    is_1904: bool = False

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Grid:
        """The grid of ``as_json``; columns of own fields that are gone since aren't read."""
        headers = tuple(stored["headers"])
        by_field = {
            field: tuple(found) for field, found in stored["fields"].items() if not is_gone(field)
        }
        fields = {header: field for field, found in by_field.items() for header in found}
        known = {header: fields[header] for header in headers if header in fields}
        unknown = tuple(header for header in headers if header not in known)
        return cls(
            headers,
            ColumnMap(known, unknown, by_field, frozenset(stored.get("left_out_columns", ()))),
            Orders.of(stored["orders"]),
            tuple(stored["unheaded"]),
            stored["is_1904"],
        )

    @classmethod
    def of_file(cls, last: Sheet, orders: Orders) -> Grid:
        """The grid of a file, from its last batch."""
        headers = tuple(trimmed(last.frame.columns[1:], (ERRORS, SENT_ROW)))
        return cls(headers, last.columns, orders, last.unheaded, last.is_1904)

    def as_json(self, *, rows: int, left_out: int) -> dict[str, Any]:
        """As ``uploads.grid`` stores it, with how many rows are stored and how many aren't."""
        return {
            "headers": list(self.headers),
            "fields": {
                field: [header for header in found if header in self.headers]
                for field, found in self.columns.headers.items()
            },
            "orders": self.orders.as_json(),
            "left_out_columns": [name for name in self.headers if name in self.columns.left_out],
            "unheaded": [name for name in self.unheaded if name in self.headers],
            "is_1904": self.is_1904,
            "rows": rows,
            "left_out": left_out,
        }

    @property
    def sent_row(self) -> str:
        """The header of a follow-up's last column: the number of the row in the first file."""
        return unique_headers([*self.headers, phrase(f"refused.{SENT_ROW}")])[-1]

    def wanted(self, *, accepts_passports: bool) -> Wanted:
        """What finds the header row of a follow-up."""
        columns = self.columns
        # A column of birth dates is no field, and is compared unless it was left out.
        births = {name for name in columns.unknown if is_birth_date(name)} - columns.left_out
        fields = {name: columns.known.get(name) for name in self.headers if name not in births}
        return Wanted(columns=fields, accepts_passports=accepts_passports, has_lines=False)

    def sheet(self, frame: pl.DataFrame) -> Sheet:
        """Rows as a batch of the file that they come from.

        Args:
            frame: ``row_number`` and the cells, in the order of the headers.
        """
        names = dict(zip(frame.columns[1:], self.headers, strict=True))
        return Sheet(
            frame.rename(names),
            "",
            self.columns,
            "",
            unheaded=self.unheaded,
            is_1904=self.is_1904,
        )

    def applied(self, sheets: Iterable[Sheet]) -> Iterator[Sheet]:
        """The batches of a follow-up, read as the rows were in their first file.

        Raises:
            AttemptError: the file isn't one that Rollbook wrote for these headers.
        """
        for sheet in sheets:
            if sheet.frame.width != len(self.headers) + 2:
                raise AttemptError(
                    "The file of fixed rows doesn't have the columns of the upload that it fixes. "
                    "Nothing was changed. Send the rows again from the page."
                )
            own = self.sheet(pl.DataFrame(sheet.frame.get_columns()[:-1]))
            yield replace(
                sheet,
                frame=own.frame.with_columns(sheet.frame.to_series(-1).alias(self.sent_row)),
                columns=own.columns,
                unheaded=own.unheaded,
                is_1904=own.is_1904,
            )


def keep_cells(
    connection: Connection[Row],
    batches: Iterable[tuple[pl.DataFrame, ...]],
    *,
    upload_id: UUID,
    headers: Sequence[str],
    most: int,
    refused: int,
) -> tuple[int, int]:
    """Store the cells of the rows that were refused or are doubtful; refused ones come first.

    Args:
        connection: inside the attempt's transaction.
        batches: the outcomes of rows, the rows as they were read, and their problems.
        upload_id: whose rows they are.
        headers: the columns that are stored.
        most: rows that are stored.
        refused: rows of the file that were refused.

    Returns:
        How many rows are stored, and how many aren't since there are more than ``most``.
    """
    room = {"refused": min(refused, most), "doubtful": max(most - refused, 0)}
    stored = left_out = 0
    with connection.cursor() as cursor:
        cursor.execute(_SQL["forget_cells"], {"ids": [upload_id]})
        with cursor.copy(_SQL["keep_cells"]) as copy:
            for lines, rows, problems in batches:
                if problems.is_empty() and not refused:
                    continue
                is_refused = lines["outcome"].cast(pl.String).is_in(REFUSED)
                doubtful = problems[ROW_NUMBER].filter(problems["severity"] == "warning")
                is_doubtful = ~is_refused & lines[ROW_NUMBER].is_in(doubtful.implode())
                wanted = []
                for name, where in (("refused", is_refused), ("doubtful", is_doubtful)):
                    numbers = lines[ROW_NUMBER].filter(where)
                    wanted.append(numbers.head(room[name]))
                    room[name] -= len(wanted[-1])
                    left_out += len(numbers) - len(wanted[-1])
                chosen = rows.filter(rows[ROW_NUMBER].is_in(pl.concat(wanted).implode()))
                stored += chosen.height
                for piece in chosen.iter_slices(_PIECE_ROWS):
                    if piece.height:
                        copy.write(
                            _lines(piece, upload_id, headers).write_csv(include_header=False)
                        )
    return stored, left_out


def _lines(rows: pl.DataFrame, upload_id: UUID, headers: Sequence[str]) -> pl.DataFrame:
    # By position and under other names: a header such as "^ID$" would be a pattern.
    there = set(rows.columns)
    cells = [
        rows.to_series(rows.get_column_index(name)).alias(f"c{place}")
        if name in there
        else nulls(rows.height, f"c{place}")
        for place, name in enumerate(headers)
    ]
    as_list = pl.DataFrame(cells).select(pl.struct(c=pl.concat_list(pl.all())).struct.json_encode())
    # Without what makes an object of it.
    text = as_list.to_series().str.slice(5).str.head(-1)
    return pl.DataFrame(
        [
            pl.Series("upload_id", [str(upload_id)], pl.String).new_from_index(0, rows.height),
            rows[ROW_NUMBER],
            text.alias("cells"),
        ]
    )
