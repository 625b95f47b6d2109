"""When waiting uploads are expected to start, beside what then happens."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.estimates.trial import compared, follow

from rollbook import clock
from rollbook.accounts.users import disable, issue_token
from rollbook.errors import ServiceUnavailableError
from rollbook.model import Role, User
from rollbook.queue.uploads import UploadQueue
from rollbook.uploads import control, forecast, lookup
from rollbook.uploads.forecast import Forecaster
from tests.files import csv_file, members
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, merges_held, sent, working
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"


async def worker_of(system: System, name: str, slots: int, *problems: str) -> None:
    """A living worker in the record, which takes no job."""
    async with system.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO workers (name, host, pid, slots, jobs, problems, heartbeat_at) "
            "VALUES (%s, 'here', 1, %s, '{}', %s, now())",
            (name, slots, list(problems)),
        )


async def completed_in(system: System, user: User, seconds: float) -> None:
    """An upload that took so long."""
    upload_id = await sent(system, user, csv_file(members(2, start=900)))
    await system.queue.remove(upload_id)
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE uploads SET status = 'completed', rows_total = 2, inserted = 2, "
            "started_at = now() - make_interval(secs => %s), finished_at = now() WHERE id = %s",
            (seconds, upload_id),
        )


async def estimated(system: System, user: User, *ids: UUID) -> list[forecast.Estimate]:
    uploads = [await lookup.get(system, user, upload_id) for upload_id in ids]
    return await Forecaster(system).estimates(uploads)


def are_waits(found: list[forecast.Estimate], seconds: list[float], *, took_s: float) -> bool:
    """Whether the estimates are these waits, of which so many seconds passed meanwhile at most."""
    return all(
        one.wait_s is not None and max(full - took_s, 0) - 2 <= one.wait_s <= full + 2
        for one, full in zip(found, seconds, strict=True)
    )


async def test_the_wait_is_what_is_before_it_over_all_slots(
    system: System, make_user: MakeUser
) -> None:
    low = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "City of Johannesburg")
    high = await make_user()
    await completed_in(system, high, 30)
    await worker_of(system, "one", 1)
    await worker_of(system, "two", 1)
    await worker_of(system, "unfit", 8, "The disk is full.")
    ids = [await sent(system, low, csv_file(rows)) for rows in (1, 2, 3)]
    ids.append(await sent(system, high, csv_file(4)))
    before = clock.now()
    found = await estimated(system, high, *ids)
    took_s = (clock.now() - before).total_seconds()
    # The last one goes first; of the others, one starts with it.
    assert are_waits(found, [0, 30, 30, 0], took_s=took_s)
    assert found[1].start_at is not None
    assert 28 <= (found[1].start_at - before).total_seconds() <= took_s + 32


@pytest.mark.parametrize(
    ("case", "reason"),
    [("nothing", "no_worker"), ("unfit", "no_worker"), ("paused", "paused"),
     ("no durations", "no_durations"), ("closed", "account_closed"), ("far back", "far_back")],
)  # fmt: skip
async def test_what_can_not_be_known_is_null_with_the_reason(
    system: System,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    reason: str,
) -> None:
    user, other = await make_user(), await make_user()
    before = await sent(system, other, csv_file(1))
    waiting = await sent(system, user, csv_file(2))
    await worker_of(system, "one", 1, *(["No room."] if case == "unfit" else []))
    if case == "nothing":
        async with system.pool.connection() as connection:
            await connection.execute("UPDATE workers SET heartbeat_at = now() - interval '1 h'")
    elif case == "paused":
        await control.pause(system, by=None)
    elif case == "closed":
        await disable(system.pool, email=user.email)
    elif case == "far back":
        monkeypatch.setattr(forecast, "LIMIT", 1)
        await completed_in(system, other, 1)
    [first, second] = await estimated(system, other, before, waiting)
    assert (second.start_at, second.wait_s, second.unknown) == (None, None, reason)
    # What can start at once needs no durations.
    if case in {"no durations", "closed", "far back"}:
        assert (first.wait_s, first.unknown) == (0, None)


async def test_an_upload_that_ended_or_runs_has_no_estimate_and_no_reason(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    done = await sent(system, user, csv_file(1))
    await control.cancel(system, user, done)
    waiting = await sent(system, user, csv_file(2))
    [ended_one, waiting_one] = await estimated(system, user, done, waiting)
    assert ended_one == forecast.Estimate()
    assert waiting_one.unknown == "no_worker"


async def test_a_retried_upload_has_its_estimate_at_once(
    system: System, api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    await completed_in(system, user, 30)
    await worker_of(system, "one", 1)
    failed = await sent(system, user, csv_file(1))
    await system.queue.remove(failed)
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE uploads SET status = 'failed', error = 'It broke.', finished_at = now() "
            "WHERE id = %s", (failed,),
        )  # fmt: skip
    first = await sent(system, user, csv_file(2))
    # This process has a forecast now, in which the failed upload isn't.
    status = (await api.get(f"{BASE}/status/{first}")).json()["data"]
    assert status["estimated_wait_seconds"] == pytest.approx(0, abs=2)
    answer = await api.post(f"{BASE}/queue/retry/{failed}")
    retried = answer.json()["data"]
    assert retried["status"] == "pending", answer.text
    assert retried["queue_position"] in {1, 2}
    assert retried["estimated_wait_seconds"] == pytest.approx(30, abs=31)
    assert retried["estimated_start_at"] is not None


async def test_a_queue_that_is_away_leaves_the_records_order(
    system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    await completed_in(system, user, 10)
    await worker_of(system, "one", 1)
    ids = [await sent(system, user, csv_file(rows)) for rows in (1, 2)]

    async def away(*_: Any) -> Any:
        raise ServiceUnavailableError("away")

    monkeypatch.setattr(UploadQueue, "order", away)
    before = clock.now()
    found = await estimated(system, user, *ids)
    assert are_waits(found, [0, 10], took_s=(clock.now() - before).total_seconds())


async def test_a_list_costs_one_forecast(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = await make_user()
    for rows in range(1, 6):
        await sent(system, user, csv_file(rows))
    # Of requests only: live messages forecast as they begin, which may be before or after this.
    own = Forecaster(system)
    read, forecasts = own._read, []

    async def counted() -> Any:
        forecasts.append(own)
        return await read()

    monkeypatch.setattr(own, "_read", counted)
    transport: Any = api._transport
    monkeypatch.setattr(transport.app.state, "forecaster", own)
    monkeypatch.setattr(forecast, "KEPT_S", math.inf)
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    for path in ("history", "queue/jobs", "history"):
        found = (await api.get(f"{BASE}/{path}")).json()["data"]["items"]
        assert {one["estimate_unknown"] for one in found} == {"no_worker"}
    assert len(forecasts) == 1


async def _are_estimated(api: httpx.AsyncClient, jobs: list[str]) -> bool:
    """Whether a start is expected of all of these jobs but the one that runs."""
    found = (await api.get(f"{BASE}/history", params={"page_size": 500})).json()["data"]["items"]
    said = {one["job_id"] for one in found if one["estimated_start_at"] is not None}
    return len(said.intersection(jobs)) == len(jobs) - 1


async def test_uploads_start_in_the_order_and_about_when_they_were_expected_to(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    """The benchmark of expected starts, small: `make bench-estimates` states its figures."""
    user = await make_user()
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    await sent(system, user, csv_file(members(40, start=500)))
    async with working(system):
        for number in range(3):
            one = await sent(system, user, csv_file(members(40, start=100 + 50 * number)))
            await ended(system, user, one)
        await control.pause(system, by=None)
        jobs = [
            str(await sent(system, user if number == 4 else office, csv_file(30 + number)))
            for number in range(5)
        ]
        with merges_held(settings):  # until all are said to wait
            await control.resume(system, by=None)
            following = asyncio.create_task(follow(api, jobs, every_s=0.01, timeout_s=PATIENCE_S))
            await until(lambda: _are_estimated(api, jobs))
        samples, starts = await following
    said = {one.job_id: one.said_s for one in reversed(samples)}  # the first of each
    expected = sorted(said, key=lambda job_id: said[job_id])
    happened = sorted(said, key=lambda job_id: starts[job_id])
    assert expected == happened
    assert len(said) >= 4
    errors = compared(samples, starts)
    assert errors.uploads == 5
    assert 0 <= errors.median_s <= errors.p90_s < PATIENCE_S
