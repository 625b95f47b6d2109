"""Connections to PostgreSQL and the named queries of ``sql/``."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, LiteralString, cast

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from rollbook.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]
Pool = AsyncConnectionPool[Connection]

#: The schema revision that this code needs; ``schema.migrate`` upgrades to it.
SCHEMA_REVISION = "0015"
#: Timeout for a connection to PostgreSQL, in seconds.
CONNECT_TIMEOUT_S = 10
#: The errors that mean that PostgreSQL, or another part of the service, is unavailable.
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


@asynccontextmanager
async def _cursor(
    where: Pool | Connection, query: LiteralString, parameters: Mapping[str, Any] | None
) -> AsyncIterator[psycopg.AsyncCursor[Row]]:
    if isinstance(where, psycopg.AsyncConnection):
        yield await where.execute(query, parameters)
    else:
        async with where.connection() as connection:
            yield await connection.execute(query, parameters)


async def execute(
    where: Pool | Connection, query: LiteralString, parameters: Mapping[str, Any] | None = None
) -> int:
    """Run a statement and return the number of rows it changed.

    Here and in the three functions below, ``where`` is a connection, whose transaction the
    statement joins, or a pool, where the statement gets a transaction of its own.
    """
    async with _cursor(where, query, parameters) as cursor:
        return cursor.rowcount


async def fetch_one(
    where: Pool | Connection, query: LiteralString, parameters: Mapping[str, Any] | None = None
) -> Row | None:
    """The first row of a query's result; None when it has no rows."""
    async with _cursor(where, query, parameters) as cursor:
        return await cursor.fetchone()


async def fetch_all(
    where: Pool | Connection, query: LiteralString, parameters: Mapping[str, Any] | None = None
) -> list[Row]:
    """Every row of a query's result."""
    async with _cursor(where, query, parameters) as cursor:
        return await cursor.fetchall()


async def fetch_page(
    where: Pool | Connection, query: LiteralString, parameters: Mapping[str, Any]
) -> tuple[list[Row], int]:
    """One page of a query's result, and the number of rows over all pages.

    Args:
        where: see ``execute``.
        query: takes ``limit`` and ``offset``; each row has the total as ``found``.
        parameters: the query's parameters.
    """
    page = await fetch_all(where, query, parameters)
    if page or not parameters["offset"]:
        return page, page[0]["found"] if page else 0
    # Past the last page no row says the total: the first row does.
    row = await fetch_one(where, query, {**parameters, "limit": 1, "offset": 0})
    return [], row["found"] if row else 0


async def lock(connection: Connection, name: str) -> None:
    """Wait for the advisory lock of this name, and hold it until the transaction ends."""
    await connection.execute(queries("locks")["wait"], {"name": name})


@asynccontextmanager
async def exclusive(pool: Pool, lock: int | str) -> AsyncIterator[Connection | None]:
    """A transaction that holds an advisory lock; None when another process holds that lock.

    Args:
        pool: gives the connection.
        lock: any fixed number, or a name.
    """
    query = queries("locks")["try_number" if isinstance(lock, int) else "try_name"]
    async with pool.connection() as connection:
        row = await fetch_one(connection, query, {"lock": lock})
        yield connection if row and row["locked"] else None


def make_pool(address: str, *, max_size: int = 10) -> Pool:
    """A pool, not opened yet; its connections commit at the end of their block and return dicts."""
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
    """A blocking connection, for the child process and the command line."""
    try:
        return psycopg.connect(
            address,
            row_factory=dict_row,
            application_name="rollbook-child",
            connect_timeout=CONNECT_TIMEOUT_S,
            # The server notices within a second that a child was killed, and releases its locks.
            options="-c client_connection_check_interval=1000",
        )
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            "PostgreSQL doesn't answer. Nothing was changed; try again when it is back."
        ) from error


def has_schema(address: str) -> bool:
    """Does the database have the schema that this code needs, or a newer one?

    Quick, whereas importing ``schema.migrate`` takes a second.

    Raises:
        ServiceUnavailableError: PostgreSQL doesn't answer.
    """
    with connect(address) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except psycopg.errors.UndefinedTable:
            return False
    return row is not None and row["version_num"] >= SCHEMA_REVISION
