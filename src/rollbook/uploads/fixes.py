"""Rows that were refused or are doubtful: listed, edited, and sent as a follow-up upload.

A follow-up is an upload like any other, with a report, an undo and entries in the audit trail; it
names the upload that it fixes (``mends``). Each row belongs to one follow-up at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import fetch_all, fetch_one, fetch_row, queries
from rollbook.errors import ConflictError, InvalidRequestError, SourceGoneError
from rollbook.masking import HIDDEN, masked, masked_cell, masked_passport, visible
from rollbook.model import REFUSED, Scope
from rollbook.pipeline.columns import unique_headers
from rollbook.pipeline.problems import catalogue
from rollbook.pipeline.suggest import suggestion
from rollbook.uploads import receive
from rollbook.uploads.options import Options
from rollbook.uploads.receive import FollowUp, StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rollbook.backends.database import Row, Where
    from rollbook.model import User
    from rollbook.service.system import System

_MASKS: Final[Mapping[str, Callable[[str], str]]] = {
    "id_number": masked_cell,
    "passport_number": masked_passport,
}
#: Facets that are listed.
MOST_FACETS: Final = 200

_SQL, _UPLOADS = queries("fixes"), queries("uploads")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Edits:
    """What a person has changed."""

    #: ``row_number`` and ``cells`` (header to value) of single rows.
    rows: Sequence[Mapping[str, Any]]
    #: ``column``, ``value``, ``becomes`` and ``remember``: values that are replaced wherever they
    #: have a problem.
    values: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)  # without slots, for the values that are computed once
class Reader:
    """A person before the rows of an upload: who sent them sees all of them."""

    upload: Row
    user: User
    #: False for a key that may send and not read.
    may_read: bool = True

    @property
    def sees_all(self) -> bool:
        """Whether values are shown whole."""
        is_owner: bool = self.upload["owner_id"] == self.user.id
        return is_owner and self.may_read

    def refuse_undone(self) -> None:
        """Refuse to fix rows of an upload that was undone.

        Raises:
            ConflictError: it was.
        """
        if self.upload["undone_at"] is not None:
            raise ConflictError(receive.ROWS_UNDONE)

    @cached_property
    def headers(self) -> list[str]:
        """The headers as they are shown, each once."""
        return unique_headers([masked(visible(name)) for name in self._grid["headers"]])

    @cached_property
    def fields(self) -> list[str | None]:
        """The field of each header; None for a column that isn't read."""
        by_header = {
            header: field for field, found in self._grid["fields"].items() for header in found
        }
        return [by_header.get(header) for header in self._grid["headers"]]

    @property
    def left_out(self) -> int:
        """Rows that can't be fixed here, since there are more than are stored."""
        rows: int = self._grid["left_out"]
        return rows

    def cells(self, stored: Sequence[str | None]) -> list[str | None]:
        """The cells of a row, as many as there are headers."""
        padded = [*stored, *[None] * (len(self.headers) - len(stored))]
        return [self.shown(cell, field) for cell, field in zip(padded, self.fields, strict=True)]

    def shown(self, text: str | None, field: str | None = None) -> str | None:
        """A value, masked for everybody but the person who sent it."""
        if text is None or self.sees_all:
            return text
        return masked(_MASKS.get(field or "", masked)(text))

    def problem(self, problem: Mapping[str, Any]) -> dict[str, Any]:
        """A problem with its column and values as they are shown."""
        column = problem["column"]
        field = self._field_of(column)
        return {
            **problem,
            "column": column and self._shown_by_own.get(column, masked(column)),
            "value": self.shown(problem["value"], field),
            "kept": self.shown(problem.get("kept"), field),
        }

    def field_of(self, shown: str) -> str | None:
        """The field of a header as it is shown."""
        return self._field_of(self._own_by_shown.get(shown))

    def own(self, edits: Edits) -> Edits:
        """The edits under the file's own headers.

        Raises:
            InvalidRequestError: there is no such header, or a value is masked.
        """
        return Edits(
            [
                {
                    "row_number": row["row_number"],
                    "cells": {
                        self.own_header(name): _whole(value) for name, value in row["cells"].items()
                    },
                }
                for row in edits.rows
            ],
            [
                {
                    **value,
                    "column": self.own_header(value["column"]),
                    "value": _whole(value["value"]),
                    "becomes": _whole(value["becomes"]),
                }
                for value in edits.values
            ],
        )

    def own_header(self, shown: str) -> str:
        """The file's own header of one that is shown.

        Raises:
            InvalidRequestError: there is none.
        """
        own = self._own_by_shown.get(shown)
        if own is None:
            raise InvalidRequestError(
                f"The file has no column '{masked(shown)[:100]}', so nothing was changed. Name its "
                "headers as they are listed."
            )
        return own

    @property
    def _grid(self) -> dict[str, Any]:
        grid: dict[str, Any] = self.upload["grid"]
        return grid

    @cached_property
    def _own_by_shown(self) -> dict[str, str]:
        return dict(zip(self.headers, self._grid["headers"], strict=True))

    @cached_property
    def _shown_by_own(self) -> dict[str, str]:
        return dict(zip(self._grid["headers"], self.headers, strict=True))

    @cached_property
    def _field_by_own(self) -> dict[str, str | None]:
        return dict(zip(self._grid["headers"], self.fields, strict=True))

    def _field_of(self, own: str | None) -> str | None:
        return None if own is None else self._field_by_own.get(own)


def _whole(value: str | None) -> str | None:
    if value is not None and HIDDEN in value:
        raise InvalidRequestError(
            "A value is masked, so nothing was changed. Only the person who sent the file sees "
            "whole values; type the value, or leave the cell as it is."
        )
    return value


def reader_of(upload: Row, user: User, *, may_read: bool = True) -> Reader:
    """The reader of an upload's rows; ``may_read`` is False for a key that may only send.

    Raises:
        ConflictError: the upload hasn't completed.
        SourceGoneError: its rows are no longer stored.
    """
    if upload["kind"] != "members":
        raise ConflictError(
            "Rows of a list of members to remove aren't fixed here: sent again, they would become "
            "members. Send a corrected list."
        )
    if upload["status"] != "completed":
        raise ConflictError(
            f"This upload is {upload['status']}, so it has no rows to fix. Rows can be fixed when "
            "an upload has completed; one that failed says what to correct in its file."
        )
    if upload["grid"] is None:
        raise SourceGoneError(
            "The rows of this upload are no longer stored: their retention ended, an operator "
            "removed the report, or an earlier version processed the file. The outcome of each "
            "row is still listed. Correct the rows in your own file and send it again."
        )
    return Reader(upload, user, may_read)


async def rows(
    system: System,
    reader: Reader,
    *,
    after: int,
    skip: int,
    limit: int,
    attention: str,
    only_open: bool,
) -> tuple[list[Row], dict[str, int] | None]:
    """The next rows that can be fixed, and on the first page how many there are.

    Seeing whole values for the first time in ten minutes is recorded in the audit trail.

    Args:
        system: the opened parts.
        reader: whose view it is.
        after: the number of the row after which they begin.
        skip: how many more rows are skipped.
        limit: rows on a page.
        attention: only rows that were ``refused``, are ``doubtful``, of which a cell was
            ``left_out``, or ``any`` of these.
        only_open: only rows that no follow-up has.
    """
    parameters = {
        "id": reader.upload["id"],
        "after": after,
        "skip": skip,
        "limit": limit,
        "attention": attention,
        "open": only_open,
        "refused": list(REFUSED),
        "left_out": [code for code, kind in catalogue().items() if kind.leaves_out],
    }
    async with system.pool.connection() as connection:
        found = await fetch_all(connection, _SQL["page"], parameters)
        counts = None
        if after == 0 and skip == 0:
            counts = await fetch_one(connection, _SQL["count"], parameters)
        if found:
            await note_seen(connection, reader)
    return found, counts


async def note_seen(where: Where, reader: Reader) -> None:
    """Record that the reader has seen values of rows, where they are shown whole."""
    if not reader.sees_all:
        return
    seen = {"job_id": reader.upload["id"], "user_id": reader.user.id}
    if not (await fetch_row(where, _SQL["was_seen"], seen))["was_seen"]:
        await audit.record(where, "view_rows", who=reader.user, job_id=seen["job_id"])


async def facets(
    system: System, reader: Reader, *, column: str | None, least: int
) -> list[dict[str, Any]]:
    """Equal values with a problem, the most frequent first, with what may be meant.

    Raises:
        InvalidRequestError: there is no such column.
    """
    parameters = {
        "id": reader.upload["id"],
        "column": None if column is None else reader.own_header(column),
        "least": least,
        "limit": MOST_FACETS,
    }
    async with system.pool.connection() as connection:
        found = await fetch_all(connection, _SQL["facets"], parameters)
        if found:
            await note_seen(connection, reader)
    listed = []
    for row in found:
        shown = reader.problem(row)
        field = reader.field_of(shown["column"])
        meant = row["kept"] or suggestion(field, row["value"])
        listed.append({**shown, "field": field, "suggestion": reader.shown(meant, field)})
    return listed


async def sent_with(system: System, reader: Reader, idempotency_key: str | None) -> UUID | None:
    """The upload that an earlier request of the reader with this key has made."""
    if idempotency_key is None:
        return None
    key = {"owner_id": reader.user.id, "idempotency_key": idempotency_key}
    earlier = await fetch_one(system.pool, _UPLOADS["by_idempotency_key"], key)
    return None if earlier is None else UUID(str(earlier["id"]))


async def send(
    system: System,
    reader: Reader,
    written: Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
) -> Row:
    """Send fixed rows as a follow-up of the reader, with the first upload's place and choices.

    Args:
        system: the opened parts.
        reader: of the upload whose rows are fixed.
        written: the stored file of the follow-up, as ``pipeline.fix.write`` describes it, and the
            ``aliases`` that are to be remembered.
        idempotency_key: of the request.

    Returns:
        The follow-up; the earlier one where the same rows with the same cells were sent before.

    Raises:
        ConflictError: another follow-up has one of the rows.
        What ``receive.record`` raises.
    """
    first, user = reader.upload, reader.user
    stem = first["file_name"].rpartition(".")[0] or first["file_name"]
    stored = StoredFile(
        UUID(written["upload_id"]),
        receive.clean_name(f"{stem}-fixed.xlsx"),
        "xlsx",
        written["bytes"],
        written["sha256"],
    )
    options = Options(
        allow_duplicate=True,
        idempotency_key=idempotency_key,
        act="fix_rows",
        **{name: first[name] for name in ("dry_run", "existing", "verify", "empty_text")},
    )
    # The words are remembered by the merge: a follow-up that fails, and a dry run, teach nothing.
    grid = {**first["grid"], "rows": 0, "left_out": 0, "aliases": written["aliases"]}
    follow_up = FollowUp(first["id"], grid, written["rows"])
    place = Scope(first["province"], first["municipality"])
    upload = await receive.record(
        system, replace(user, scope=place), stored, options, follow_up=follow_up
    )
    log.info("fixed rows sent", job_id=str(upload["id"]), mends=str(first["id"]))
    return upload


async def fixed(system: System, upload: Row) -> dict[str, int]:
    """How many rows follow-ups have taken in: ``fixed``, and how many were refused before."""
    parameters = {"id": upload["id"], "refused": list(REFUSED)}
    found = await fetch_row(system.pool, _SQL["fixed"], parameters)
    return {"fixed": found["fixed"], "refused_fixed": found["refused"]}
