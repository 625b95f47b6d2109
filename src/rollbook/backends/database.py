"""Connections to PostgreSQL and the named queries of ``sql/``."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, LiteralString, cast

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from rollbook.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, Any]
Pool = AsyncConnectionPool[psycopg.AsyncConnection[Row]]

#: The revision that this code was written for (``schema.migrate`` brings it).
SCHEMA_REVISION = "0010"
#: Seconds after which a PostgreSQL that says nothing counts as away.
CONNECT_TIMEOUT_S = 10
#: What it looks like when PostgreSQL, or another part of the service, is away.
UNAVAILABLE = (ServiceUnavailableError, psycopg.OperationalError, PoolTimeout)


@cache
def queries(noun: str) -> Mapping[str, LiteralString]:
    """The queries of ``sql/<noun>.sql`` by name.

    A query begins with a line ``-- name: its_name`` and ends where the next one begins.
    """
    text = files("rollbook").joinpath("sql", f"{noun}.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    # The files are part of the package, so their text is as literal as a string in the code.
    return dict(zip(parts[::2], cast("list[LiteralString]", parts[1::2]), strict=True))


async def page_of(
    pool: Pool, query: LiteralString, parameters: dict[str, Any]
) -> tuple[list[Row], int]:
    """A page of a query whose rows have ``found``, and how many rows there are in all.

    Args:
        pool: the record.
        query: with the parameters ``limit`` and ``offset``.
        parameters: all of the query's.
    """
    async with pool.connection() as connection:
        return await page_in(connection, query, parameters)


async def page_in(
    connection: psycopg.AsyncConnection[Row], query: LiteralString, parameters: dict[str, Any]
) -> tuple[list[Row], int]:
    """The same in a transaction of the caller's."""
    page = await (await connection.execute(query, parameters)).fetchall()
    if page or not parameters["offset"]:
        return page, page[0]["found"] if page else 0
    # The page lies behind the last one.
    first = {**parameters, "limit": 1, "offset": 0}
    row = await (await connection.execute(query, first)).fetchone()
    return [], row["found"] if row else 0


def make_pool(address: str, *, max_size: int = 10) -> Pool:
    """A pool that isn't open yet; its connections commit by block and return dicts."""
    return AsyncConnectionPool(
        address,
        connection_class=psycopg.AsyncConnection[Row],
        kwargs={"row_factory": dict_row, "application_name": "rollbook"},
        min_size=1,
        max_size=max_size,
        timeout=10,
        reconnect_timeout=60,
        check=AsyncConnectionPool.check_connection,
        open=False,
    )


def connect(address: str) -> psycopg.Connection[Row]:
    """One blocking connection, for the child process and the command line."""
    try:
        return psycopg.connect(
            address,
            row_factory=dict_row,
            application_name="rollbook-child",
            connect_timeout=CONNECT_TIMEOUT_S,
            # The server notices within a second that a killed child is gone, and frees its locks.
            options="-c client_connection_check_interval=1000",
        )
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            "PostgreSQL doesn't answer. Nothing was changed; try again when it is back."
        ) from error


def has_schema(address: str) -> bool:
    """Is the schema the one that this code was written for, or a newer one?

    Quick to say, where ``schema.migrate`` takes a second to import alone.

    Raises:
        ServiceUnavailableError: PostgreSQL doesn't answer.
    """
    with connect(address) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except psycopg.errors.UndefinedTable:
            return False
    return row is not None and row["version_num"] >= SCHEMA_REVISION
