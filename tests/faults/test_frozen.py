"""A part is frozen: it takes connections and answers nothing. Every request is answered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from rollbook.accounts.users import issue_token
from rollbook.backends.database import connect, fetch_one
from rollbook.backends.redis import make_client
from rollbook.queue import loop
from rollbook.service.system import open_system
from rollbook.uploads import lookup
from tests.closing import BRIEFLY
from tests.faults.frozen import frozen, postgresql_processes, redis_processes
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, sent, working
from tests.listening import Site, quick
from tests.security.house import BASE
from tests.security.routes import RULES
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

#: Seconds over the bound, for the machine's own work: three of the routes start a process that
#: reads a file.
MARGIN_S = 20.0
#: Requests at a time, of which each waits for the machine's work for the others.
AT_ONCE = 34
#: Seconds that a pool takes to find out that its connections are dead (backends/database.py).
POOL_S = 16.0
PLAIN = [route for route, rule in RULES.items() if not rule.streams]


def ask(
    client: httpx.AsyncClient, route: tuple[str, str], job_id: UUID
) -> Awaitable[httpx.Response]:
    method, address = route
    for name, value in (
        ("{job_id}", str(job_id)), ("{version}", "0"), ("{name:path}", "app.js"),
        ("{name}", "begin.js"), ("{mapping_id}", str(uuid4())),
    ):  # fmt: skip
        address = address.replace(name, value)
    return client.request(method, address, **RULES[route].more)


async def answers(
    site: Site,
    user: User,
    job_id: UUID,
    routes: Sequence[tuple[str, str]] = PLAIN,
    *,
    at_once: int = AT_ONCE,
) -> dict[str, tuple[httpx.Response, float]]:
    """What routes answer to a user, and after how many seconds."""
    limits = httpx.Limits(max_connections=200, keepalive_expiry=BRIEFLY.keepalive_expiry)
    headers = {"Authorization": f"Bearer {issue_token(site.settings, user)}"}
    url = f"http://{site.host}"
    turns = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=120, limits=limits
    ) as client:

        async def one(route: tuple[str, str]) -> tuple[httpx.Response, float]:
            async with turns:
                began = time.monotonic()
                return await ask(client, route, job_id), time.monotonic() - began

        found = await asyncio.gather(*map(one, routes))
    return {" ".join(route): answer for route, answer in zip(routes, found, strict=True)}


def late(found: dict[str, tuple[httpx.Response, float]], bound_s: float) -> dict[str, float]:
    return {route: seconds for route, (_, seconds) in found.items() if seconds > bound_s}


def odd(found: dict[str, tuple[httpx.Response, float]]) -> dict[str, str]:
    """The answers that are a fault of ours instead of a sentence about a part that is away."""
    return {route: answer.text for route, (answer, _) in found.items() if answer.status_code == 500}


async def _is_live(site: Site) -> bool:
    return bool(site.feed.is_live)


async def test_every_route_answers_while_redis_is_frozen(
    system: System, make_user: MakeUser, settings: Settings, normal_after: Callable[..., None]
) -> None:
    user = await make_user()
    job_id = await sent(system, user, csv_file(2))
    bounded = quick(settings, redis_answer_s=1)
    async with Site(bounded) as site, httpx.AsyncClient(timeout=PATIENCE_S) as client:
        await until(lambda: _is_live(site))
        with frozen(await redis_processes(settings)):
            found = await answers(site, user, job_id)
            slowest = max(seconds for _, seconds in found.values())
            normal_after(slowest, "slowest answer while Redis is frozen, with redis_answer_s=1")
            assert late(found, 1 + MARGIN_S) == {}
            assert odd(found) == {}
            assert found["GET /readyz"][0].json()["redis"] == "not reachable"
            # Also those that come when the others have found out, and one that joins.
            again = await answers(site, user, job_id, PLAIN[:: len(PLAIN) // AT_ONCE])
            assert late(again, 1 + MARGIN_S) == {}
            async with asyncio.timeout(1 + MARGIN_S), site.listening(user) as listener:
                assert (await listener.next())["type"] == "snapshot"
        thawed = time.monotonic()

        async def is_ready() -> bool:
            return (await client.get(f"http://{site.host}/readyz")).is_success

        await until(is_ready)
        normal_after(time.monotonic() - thawed, "Redis is thawed")


@pytest.mark.usefixtures("rounds")
async def test_an_upload_is_recorded_while_redis_is_frozen_and_the_answer_says_so(
    make_user: MakeUser, settings: Settings, system: System
) -> None:
    user = await make_user()
    answer_s = 3  # also for a Redis that is thawed, beside busy processes
    bounded = quick(settings, redis_answer_s=answer_s, reconcile_interval_s=1)
    headers = {"Authorization": f"Bearer {issue_token(settings, user)}"}
    async with (
        Site(bounded) as site,
        httpx.AsyncClient(timeout=PATIENCE_S, headers=headers, limits=BRIEFLY) as client,
    ):
        with frozen(await redis_processes(settings)):
            began = time.monotonic()
            answer = await client.post(
                f"http://{site.host}{BASE}/process", files={"file": ("m.csv", csv_file(3))}
            )
            assert time.monotonic() - began < answer_s + MARGIN_S
            assert answer.status_code == 202
            data = answer.json()["data"]
            assert not data["is_queued"]
            assert "recorded" in data["message"]
            assert "will be queued" in data["message"]
            upload = await lookup.get(system, user, UUID(data["job_id"]))
            assert upload["status"] == "pending"
        async with working(system):
            assert (await ended(system, user, upload["id"]))["status"] == "completed"
        again = await client.post(
            f"http://{site.host}{BASE}/process", files={"file": ("n.csv", csv_file(4))}
        )
        assert again.json()["data"]["is_queued"]
        assert "is queued" in again.json()["data"]["message"]


@pytest.mark.timeout(180)
async def test_every_route_answers_while_postgresql_is_frozen(
    system: System, make_user: MakeUser, settings: Settings, normal_after: Callable[..., None]
) -> None:
    user = await make_user()
    job_id = await sent(system, user, csv_file(2))
    async with (
        Site(quick(settings, database_answer_s=2)) as site,
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
    ):
        with frozen(postgresql_processes(settings)):
            # At once: each waits for the pool, however few they are.
            found = await answers(site, user, job_id, at_once=len(PLAIN))
            slowest = max(seconds for _, seconds in found.values())
            normal_after(slowest, "slowest answer while PostgreSQL is frozen")
            assert late(found, POOL_S + MARGIN_S) == {}
            assert odd(found) == {}
            readyz, seconds = found["GET /readyz"]
            assert readyz.json()["postgresql"].startswith("not reachable")
            assert seconds < MARGIN_S
        thawed = time.monotonic()

        async def is_ready() -> bool:
            return (await client.get(f"http://{site.host}/readyz")).is_success

        await until(is_ready)
        normal_after(time.monotonic() - thawed, "PostgreSQL is thawed")


async def test_a_request_under_way_is_answered_when_postgresql_freezes(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    """Its statement gets no answer any more; others get no connection, and are answered by that."""
    user = await make_user()
    job_id = await sent(system, user, csv_file(2))
    waiting = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND starts_with(query, '-- One upload, if it lies')"
    )

    async def waits() -> bool:
        return await fetch_one(system.pool, waiting) is not None

    headers = {"Authorization": f"Bearer {issue_token(settings, user)}"}
    async with (
        Site(quick(settings, database_answer_s=2)) as site,
        httpx.AsyncClient(headers=headers, timeout=POOL_S + MARGIN_S) as client,
    ):
        with connect(settings.database_address) as holding:
            # Not in the loop: what holds a lock may wait for it.
            await asyncio.to_thread(holding.execute, "LOCK TABLE uploads IN ACCESS EXCLUSIVE MODE")
            asked = asyncio.create_task(client.get(f"http://{site.host}{BASE}/status/{job_id}"))
            await until(waits)
            with frozen(postgresql_processes(settings)):
                assert (await asked).status_code == 503
            holding.rollback()


async def test_a_fault_of_the_watch_over_a_worker_does_not_end_the_worker(
    make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the worker, which is not deaf because of it."""
    faults = 0
    clients = 0

    async def broken(*_: Any) -> bool:
        nonlocal faults
        faults += 1
        raise ValueError("a fault")

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal clients
        clients += 1
        return make_client(*given, **more)

    monkeypatch.setattr(loop, "_is_any", broken)
    monkeypatch.setattr(loop, "make_client", counted)
    user = await make_user()

    async def has_failed_often() -> bool:
        return faults >= 3

    watched = settings.model_copy(update={"deaf_after_s": 0.1})
    async with open_system(watched) as system, working(system):
        await until(has_failed_often)
        assert (await ended(system, user, await sent(system, user, csv_file(3))))["error"] is None
        assert clients == 2, "the worker's own and the watch's: no other worker was started"
