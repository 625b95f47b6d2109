"""The shared ways of running queries: whose transaction they join, pages, and advisory locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rollbook.backends.database import Paging, exclusive, execute, fetch_all, fetch_one, fetch_page

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
