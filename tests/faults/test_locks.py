"""Locks of merges: a frozen worker's are freed, and waiting for another's is said."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from psycopg.errors import IdleInTransactionSessionTimeout

from rollbook.backends.database import (
    IDLE_SHARE,
    connect,
    exclusive,
    fetch_one,
    lock,
    make_pool,
)
from rollbook.backends.database_errors import explained
from rollbook.errors import ServiceUnavailableError
from rollbook.service.system import open_system
from rollbook.uploads import lookup
from tests.faults.site import Site, until
from tests.files import csv_file, id_number, member
from tests.integration.folder.watching import until as until_so
from tests.integration.worker.test_worker import ended, sent, working
from tests.waiting import PATIENCE_S, to_each

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

WAITING = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%members%%'"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    built = Site(tmp_path, 1)
    built.start()
    yield built
    built.close()


def test_a_frozen_workers_merge_gives_its_locks_back_to_the_next_attempt(
    site: Site,
    normal_after: Callable[..., None],
) -> None:
    frozen = site.run("worker")
    site.ended(site.send(1, 20))
    with connect(site.settings.database_address) as own:
        # What the next file is about is held by somebody else, so that the freeze hits its merge.
        site._rows = 0
        own.execute("SELECT FROM members WHERE id_number = %s FOR UPDATE", (id_number(19),))
        uploads = site.send(1, 21)
        until(lambda: site.query(WAITING), "the merge waits")
        children = site.children(frozen)
        frozen.send_signal(signal.SIGSTOP)
        to_each(children, psutil.Process.suspend)
        began = time.monotonic()
        own.rollback()
    # The merge itself continues, and its transaction stays open: no process is left to end it.
    until(
        lambda: site.query(
            "SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' "
            "AND application_name LIKE 'rollbook-child%%'"
        ),
        "the merge's transaction is left open",
    )
    site.run("worker")
    site.ended(uploads)
    [upload] = site.query("SELECT * FROM uploads WHERE id = %s", uploads[0])
    assert (upload["status"], upload["unchanged"]) == ("completed", 20)
    assert upload["attempt"] > 1
    normal_after(time.monotonic() - began, "frozen in a merge, with lock_duration_ms=1500")


async def test_a_merge_that_waits_for_anothers_locks_is_handed_back_and_says_for_what(
    system: System,
    make_user: MakeUser,
    settings: Settings,
    normal_after: Callable[..., None],
) -> None:
    user = await make_user()
    quick = settings.model_copy(update={"lock_wait_s": 0.3, "job_timeout_s": 30})
    async with open_system(quick) as opened, working(opened):
        await ended(system, user, await sent(system, user, csv_file(3)))
        holding = psycopg.connect(settings.database_address, application_name="a long report")
        with holding:
            holding.execute("UPDATE members SET race = race WHERE id_number = %s", (id_number(1),))
            content = csv_file([member(n, Surname="Other") for n in range(3)])
            upload_id = await sent(system, user, content)
            found: dict[str, Any] = {}

            async def is_handed_back() -> bool:
                nonlocal found
                found = await lookup.get(system, user, upload_id)
                return bool(found["hand_backs"] >= 2 and found["status"] == "pending")

            await until_so(is_handed_back)
            assert found["error_code"] == "busy"
            assert "a long report" in found["error"]
            assert "plit" not in found["error"]
            assert found["attempt"] == found["attempts_before"]
            holding.rollback()
        began = time.monotonic()
        assert (await ended(system, user, upload_id))["status"] == "completed"
        normal_after(time.monotonic() - began, "the members are free again")


async def test_a_process_that_is_frozen_in_a_transaction_gives_its_locks_back(
    settings: Settings, normal_after: Callable[..., None]
) -> None:
    """Its connection lives on, so that no keepalive ends it; a proxy keeps it up too."""
    address = settings.database_address
    async with make_pool(address, answer_s=1) as frozen, make_pool(address) as others:

        async def freeze() -> None:
            async with frozen.connection() as held:
                await lock(held, "an office")
                began = time.monotonic()
                async with asyncio.timeout(PATIENCE_S), others.connection() as waiting:
                    await lock(waiting, "an office")
                normal_after(time.monotonic() - began, "frozen in a transaction, with answer_s=1")

        with pytest.raises(IdleInTransactionSessionTimeout):
            await freeze()
        assert await fetch_one(frozen, "SELECT 1 AS one") == {"one": 1}


async def test_what_holds_a_lock_over_other_work_keeps_it_for_that(settings: Settings) -> None:
    async with make_pool(settings.database_address, answer_s=2) as pool:
        async with exclusive(pool, "work") as held:
            assert held is not None
            await asyncio.sleep(2 * IDLE_SHARE + 0.3)  # longer than a transaction may be idle
            assert await fetch_one(held, "SELECT 1 AS one") == {"one": 1}

        async def hold_for_too_long() -> None:
            async with exclusive(pool, "work", idle_s=0.1):
                await asyncio.sleep(0.5)

        with pytest.raises(IdleInTransactionSessionTimeout):
            await hold_for_too_long()


async def test_the_sentence_for_a_process_that_was_frozen_is_to_try_again() -> None:
    found = explained(IdleInTransactionSessionTimeout())
    assert isinstance(found, ServiceUnavailableError)
    assert "try again" in found.message
