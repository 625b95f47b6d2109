"""A kept connection has nothing of the one before, and one that has ended isn't used again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from rollbook.backends.database import connect, execute, fetch_all, fetch_row, make_pool
from tests import kept_connections
from tests.files import csv_file, members
from tests.integration.voter_roll.rolls import until
from tests.integration.worker.test_worker import ended, merges_held, sent, working
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

PROCESS = "SELECT pg_backend_pid() AS pid"
LEFT = """
SELECT current_setting('statement_timeout') AS setting, to_regclass('pg_temp.left_over') AS made,
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
    (SELECT count(*) FROM pg_prepared_statements WHERE name = 'left_over') AS prepared,
    (SELECT count(*) FROM pg_listening_channels()) AS channels
"""
NOTHING = {"setting": "0", "made": None, "locks": 0, "prepared": 0, "channels": 0}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL has the time of a busy machine: what takes longer is not kept."""
    monkeypatch.setattr(kept_connections, "ANSWER_S", PATIENCE_S)


def process(connection: psycopg.Connection[Row]) -> int:
    row = connection.execute(PROCESS).fetchone()
    assert row is not None
    pid: int = row["pid"]
    return pid


def test_the_next_connection_has_nothing_of_the_one_before(database_url: str) -> None:
    with connect(database_url) as first:
        pid = process(first)
        for statement in (
            "SET statement_timeout = '1s'",
            "CREATE TEMPORARY TABLE left_over (n int)",
            "SELECT pg_advisory_lock(5)",
            "PREPARE left_over AS SELECT 1",
            "LISTEN left_over",
        ):
            first.execute(statement.encode())
        first.commit()
        cursor = first.execute(b"UPDATE queue_state SET is_paused = true")
        first.close()  # its transaction is open
    assert first.closed
    with pytest.raises(psycopg.OperationalError, match="closed"):
        cursor.execute(b"SELECT 1")
    with connect(database_url) as second:
        assert process(second) == pid
        assert second.execute(LEFT.encode()).fetchone() == NOTHING
        state = second.execute(b"SELECT is_paused FROM queue_state").fetchone()
        assert state == {"is_paused": False}


async def test_a_pool_gets_what_another_pool_has_closed(database_url: str) -> None:
    pids = []
    for _ in range(2):
        pool = make_pool(database_url, max_size=1)
        async with pool:
            pids.append((await fetch_row(pool, PROCESS))["pid"])
            assert (await fetch_row(pool, "SHOW statement_timeout"))["statement_timeout"] == "0"
            async with pool.connection() as connection:
                await connection.execute(b"SET statement_timeout = '1s'")
    assert pids[0] == pids[1]


@pytest.mark.parametrize("way", ["ended", "in use"])
def test_a_connection_that_is_ended_or_in_use_is_not_given_out(database_url: str, way: str) -> None:
    with connect(database_url) as first:
        pid = process(first)
        if way == "in use":
            with connect(database_url) as second:
                assert process(second) != pid
            return
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with connect(database_url) as second:
        assert process(second) != pid


def test_a_connection_has_the_settings_that_the_database_has_since(database_url: str) -> None:
    shown = "SELECT current_setting('search_path') AS path"
    with connect(database_url) as first:
        row = first.execute("SELECT current_database() AS name").fetchone()
        assert row is not None
        first.execute(f"ALTER DATABASE {row['name']} SET search_path = earlier, public".encode())
    with connect(database_url) as second:
        assert second.execute(shown).fetchone() == {"path": "earlier, public"}


async def test_a_statement_that_runs_ends_with_its_connection(database_url: str) -> None:
    pool = make_pool(database_url, max_size=1)
    async with pool, pool.connection() as connection:
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        pid = connection.pgconn.backend_pid
        await connection.close()
    pool = make_pool(database_url, max_size=1)
    async with pool:
        assert (await fetch_row(pool, PROCESS))["pid"] != pid
        await execute(pool, "SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})


async def test_a_kept_child_goes_on_with_its_connection_under_another_name(
    system: System, settings: Settings, make_user: Callable[..., Awaitable[User]]
) -> None:
    user = await make_user()
    kept = "SELECT pid FROM pg_stat_activity WHERE application_name = %(name)s"
    found = []
    async with working(system):
        for n in range(2):
            upload_id = await sent(system, user, csv_file(members(2, start=10 * n)))
            await ended(system, user, upload_id)
            found.append(await fetch_all(system.pool, kept, {"name": kept_connections.IN_CHILD}))
        with merges_held(settings):
            upload_id = await sent(system, user, csv_file(members(2, start=30)))
            named = await until(
                settings, kept.replace("%(name)s", "%s"), bool, f"rollbook-child {upload_id} 1"
            )
        await ended(system, user, upload_id)
    assert found == [named, named]
