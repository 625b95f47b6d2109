"""The shared ways of running queries: whose transaction they join, pages, and advisory locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from rollbook.backends.database import (
    Paging,
    connect,
    exclusive,
    execute,
    fetch_all,
    fetch_one,
    fetch_page,
    fetch_row,
    make_pool,
)

if TYPE_CHECKING:
    from rollbook.service.system import System

_MAKE = "CREATE TABLE shelf (book int)"
_FILL = "INSERT INTO shelf SELECT generate_series(1, 5)"
_COUNT = "SELECT count(*) AS books FROM shelf"


async def test_a_statement_on_the_pool_commits_and_one_on_a_connection_joins_its_transaction(
    system: System,
) -> None:
    await execute(system.pool, _MAKE)

    async def fill_and_fail() -> None:
        async with system.pool.connection() as connection:
            assert await execute(connection, _FILL) == 5
            assert await fetch_one(connection, _COUNT) == {"books": 5}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fill_and_fail()

    assert await fetch_one(system.pool, _COUNT) == {"books": 0}
    assert await fetch_one(system.pool, "SELECT book FROM shelf") is None
    assert await fetch_all(system.pool, "SELECT book FROM shelf") == []


async def test_statements_and_transactions_take_turns_on_one_connection(database_url: str) -> None:
    """A statement has no transaction around it; a block is one, also after statements."""
    pool = make_pool(database_url, max_size=1)
    alone = "SELECT now() = statement_timestamp() AS is_alone, pg_backend_pid() AS pid"
    async with pool:
        await execute(pool, _MAKE)
        for _ in range(2):
            one = await fetch_row(pool, alone)
            assert one["is_alone"]
            with pytest.raises(psycopg.errors.DivisionByZero):
                await execute(pool, "SELECT 1 / 0")
            async with pool.connection() as connection:
                within = await fetch_row(connection, alone)
                assert (within["is_alone"], within["pid"]) == (False, one["pid"])
                await execute(connection, _FILL)
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await execute(connection, "SELECT 1 / 0")
            assert await fetch_row(pool, _COUNT) == {"books": 0}


async def test_a_connection_that_was_ended_in_the_pool_is_replaced(database_url: str) -> None:
    pool = make_pool(database_url, max_size=1)
    ends = "SELECT pg_terminate_backend(%s, 60000)"  # and waits until it has ended
    async with pool:
        for _ in range(2):
            pid = (await fetch_row(pool, "SELECT pg_backend_pid() AS pid"))["pid"]
            with connect(database_url) as other:
                other.execute(ends, (pid,))
            assert (await fetch_row(pool, "SELECT pg_backend_pid() AS pid"))["pid"] != pid
            async with pool.connection() as connection:
                pid = connection.info.backend_pid
            with connect(database_url) as other:
                other.execute(ends, (pid,))
            async with pool.connection() as connection:
                assert connection.info.backend_pid != pid


async def test_a_page_after_the_last_one_is_empty_and_says_the_total(system: System) -> None:
    query = (
        "SELECT book, count(*) OVER () AS found FROM generate_series(1, 5) AS book "
        "ORDER BY book LIMIT %(limit)s OFFSET %(offset)s"
    )

    page = await fetch_page(system.pool, query, {}, Paging(3, 2))
    after = await fetch_page(system.pool, query, {}, Paging(4, 2))

    assert [row["book"] for row in page.rows] == [5]
    assert after.rows == []
    assert page.total == after.total == 5


@pytest.mark.parametrize("lock", [0x7265, "folder:one claim"])
async def test_one_process_at_a_time_holds_an_exclusive_lock(
    system: System, lock: int | str
) -> None:
    async with exclusive(system.pool, lock) as first, exclusive(system.pool, lock) as second:
        assert first is not None
        assert second is None

    async with exclusive(system.pool, lock) as later:
        assert later is not None
