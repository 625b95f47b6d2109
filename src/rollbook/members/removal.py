"""Removal by filters: the members who fit become a list, which is sent as an upload of its own.

So the list goes the way of a file that an office sends: a dry run, the report, the queue's order,
the office's scope, undo and the audit trail are the upload's.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
from psycopg import sql

from rollbook.backends.database import fetch_all, queries
from rollbook.errors import ConflictError, InvalidRequestError
from rollbook.members import search
from rollbook.uploads import receive
from rollbook.uploads.options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.backends.database import Row
    from rollbook.members.search import Filters
    from rollbook.model import User
    from rollbook.service.system import System

#: The headers of a list, which every installation knows.
_HEADERS = ("ID Number", "Passport Number", "Passport Country")
_FILE_NAME = "members by filter.csv"

_SQL, _FILES = queries("removal"), queries("member_files")
log = structlog.get_logger(__name__)


async def found(system: System, user: User, filters: Filters) -> list[Row]:
    """Those of the reader's scope who fit the filters, at most one more than may be removed.

    Raises:
        InvalidRequestError: no filter is given, one is blank, or one can't be understood.
        ServerLimitError: the search took too long.
    """
    # A blank filter would leave its field open, and more members would fit than were meant.
    blank = [
        name
        for name, value in asdict(filters).items()
        if isinstance(value, str) and not value.strip()
    ]
    if blank:
        raise InvalidRequestError(
            f"{' and '.join(blank)}: blank. Give it a value, or leave it out. Nothing was changed."
        )
    if filters == search.Filters():
        raise InvalidRequestError(
            "Give a filter at least: without one, all members would fit. Nothing was changed."
        )
    async with search.bounded(system) as connection:
        query = await search.text_query(connection, filters, user.scope)
        parts: dict[str, Any] = {
            **{name: sql.Literal(value) for name, value in user.scope.parameters().items()},
            "source": sql.SQL(_FILES["all_members" if query is None else "found_members"]),
            "filters": search.conditions(filters, query),
            "most": sql.Literal(system.settings.removal_most + 1),
        }
        return await fetch_all(connection, sql.SQL(_SQL["to_remove"]).format(**parts))


async def send(
    system: System,
    user: User,
    filters: Filters,
    *,
    expected: int,
    dry_run: bool,
    new_status: str | None,
    reason: str,
) -> Row:
    """Send the members who fit as a list of removals; returns its upload.

    Args:
        system: the opened parts.
        user: whose scope counts.
        filters: who; at least one is given.
        expected: how many the user has seen that fit.
        dry_run: change nothing.
        new_status: the status that they get; None: they are removed.
        reason: for the record.

    Raises:
        ConflictError: another number of members fits by now.
        What ``found`` and ``receive.record`` raise. Nothing is changed then.
    """
    people = await found(system, user, filters)
    check_number(system, len(people))
    if len(people) != expected:
        raise ConflictError(
            f"{len(people):,} members fit now, and you have confirmed {expected:,}. Nothing was "
            "changed; look at them again."
        )
    stored = await receive.store_file(system, _FILE_NAME, _csv(people))
    options = Options(
        kind="removal",
        new_status=new_status,
        reason=reason,
        dry_run=dry_run,
        # Another act on the same members is no file that was sent twice.
        allow_duplicate=True,
        about=f"{len(people)} members by filter",
    )
    upload = await receive.record(system, user, stored, options)
    log.info("removal by filter requested", job_id=str(upload["id"]), members=len(people))
    return upload


def check_number(system: System, members: int) -> None:
    """Check that so many members may be removed at once.

    Raises:
        InvalidRequestError: there is none, or there are too many.
    """
    most = system.settings.removal_most
    if not members:
        raise InvalidRequestError("No member fits these filters, so there is nothing to do.")
    if members > most:
        raise InvalidRequestError(
            f"More than {most:,} members fit, and so many may be removed or changed at once. "
            "Nothing was changed. Narrow the filters."
        )


async def _csv(people: list[Row]) -> AsyncIterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEADERS)
    for row in people:
        writer.writerow(row.values())
    yield text.getvalue().encode()
