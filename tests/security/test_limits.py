"""Limits per user and per office: who exceeds one is refused, and all others are served."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from rollbook.accounts.users import add as add_user
from rollbook.accounts.users import issue_token
from rollbook.api import limits
from rollbook.api.app import create_app
from rollbook.backends.redis import make_client
from rollbook.errors import TooManyRequestsError
from rollbook.model import Role, Scope, User
from rollbook.service.system import open_system
from tests.conftest import PASSWORD
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.listening import PATH, Site, quick
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.config import Settings

    MakeUser = Callable[..., Awaitable[User]]

ME = "/api/v1/auth/me"
PROCESS = "/api/v1/bulk-upload/process"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "requests_per_minute": 5,
            "office_requests_per_minute": 8,
            "waiting_uploads_per_user": 2,
            "waiting_uploads_per_office": 3,
        }
    )


@pytest.fixture(autouse=True)
def _long_minute(long_minute: None) -> None:
    """Nothing comes back while a test counts."""


def token(settings: Settings, user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(settings, user)}"}


def is_refused(answer: httpx.Response, whose: str, code: str = "too_many_requests") -> bool:
    if answer.status_code != 429:
        return False
    assert answer.headers["content-type"] == "application/problem+json"
    assert 1 <= int(answer.headers["retry-after"]) <= limits.MINUTE_MS / 1000
    body = answer.json()
    assert body["type"] == f"urn:rollbook:problem:{code}"
    assert body["message"].startswith(whose), body["message"]
    return True


async def test_nobody_is_refused_for_long_because_redis_clock_was_set_back(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    async with make_client(settings.redis_address) as redis:
        requests = limits.RequestLimits(settings, redis)
        await requests.count(user)
        for key in await redis.keys("*:limits:*"):
            ahead = float(await redis.get(key) or 0) + 2 * limits.MINUTE_MS
            await redis.set(key, ahead)
        await requests.count(user)


async def test_a_flood_from_one_office_leaves_the_others_served(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    one = await make_user(Role.PROVINCE_ADMIN, "GP")
    colleague = await make_user(Role.PROVINCE_ADMIN, "GP")
    neighbour = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    operator = await make_user()
    headers = token(settings, one)
    answers = await asyncio.gather(*(api.get(ME, headers=headers) for _ in range(9)))
    assert sum(answer.status_code == 200 for answer in answers) == 5
    assert sum(is_refused(answer, "You have made") for answer in answers) == 4
    # What was refused counts against nobody: three of the office's eight are left.
    headers = token(settings, colleague)
    answers = [await api.get(ME, headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
    assert is_refused(answers[3], "Your office has made")
    for user in (neighbour, operator):
        assert (await api.get(ME, headers=token(settings, user))).status_code == 200


async def test_with_no_good_token_nobody_is_counted_for_anybody(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    wrong = {"Authorization": f"{token(settings, user)['Authorization']}x"}
    answers = [await api.get(ME, headers=wrong) for _ in range(9)]
    assert {answer.status_code for answer in answers} == {401}
    assert (await api.get(ME, headers=token(settings, user))).status_code == 200


async def test_listening_counts_too_and_who_is_over_is_told_to_come_back(
    settings: Settings, make_user: MakeUser
) -> None:
    user, neighbour = await make_user(Role.PROVINCE_ADMIN, "GP"), await make_user()
    async with Site(quick(settings)) as site:
        for _ in range(5):
            async with site.listening(user) as heard:
                await heard.next()
        async with site.listening(user) as heard:
            assert await heard.ended() == (1013, "too_many_requests")
        async with httpx.AsyncClient(base_url=f"http://{site.host}", timeout=PATIENCE_S) as client:
            events = await client.get(f"{PATH}/events", headers=token(settings, user))
        assert is_refused(events, "You have made")
        async with site.listening(neighbour) as heard:
            assert (await heard.next())["type"] == "snapshot"


async def test_only_so_many_lines_of_a_user_are_open_and_one_that_closes_makes_room(
    settings: Settings, make_user: MakeUser
) -> None:
    more = {"requests_per_minute": 100, "office_requests_per_minute": 100}
    settings = quick(settings.model_copy(update={**more, "live_lines_per_user": 2}))
    user, neighbour = await make_user(Role.PROVINCE_ADMIN, "GP"), await make_user()
    async with Site(settings) as site, site.listening(user) as first:
        await first.next()
        async with site.listening(user) as second:
            await second.next()
            async with site.listening(user) as third:
                assert await third.ended() == (1013, "too_many_lines")
            async with site.listening(neighbour) as heard:
                assert (await heard.next())["type"] == "snapshot"
        await until(lambda: len(site.feed.clients._of_user[user.id]) <= 1)
        async with site.listening(user) as third:
            assert (await third.next())["type"] == "snapshot"


async def test_bringing_newer_tokens_over_an_open_line_counts_too(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    async with Site(quick(settings)) as site, site.listening(user) as heard:
        await heard.next()
        text = json.dumps({"type": "authenticate", "token": issue_token(settings, user)})
        with suppress(ConnectionClosed):
            for _ in range(9):
                await heard.line.send(text)
        assert await heard.ended() == (1013, "too_many_requests")


async def test_a_request_may_be_made_again_after_its_share_of_a_minute(
    settings: Settings, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MINUTE_MS", 60_000)
    user = await make_user()
    more = {"requests_per_minute": 120, "office_requests_per_minute": 120}  # one in 500 ms
    redis = make_client(settings.redis_address)
    requests = limits.RequestLimits(settings.model_copy(update=more), redis)

    async def is_let_through() -> bool:
        try:
            await requests.count(user)
        except TooManyRequestsError:
            return False
        else:
            return True

    async with asyncio.timeout(PATIENCE_S):
        while await is_let_through():
            pass
        # By and by, without anybody who resets anything.
        while not await is_let_through():
            pass
    await redis.aclose()


async def test_while_redis_is_away_each_process_counts_for_itself(
    settings: Settings, make_user: MakeUser
) -> None:
    user, other = await make_user(), await make_user(Role.PROVINCE_ADMIN, "GP")
    requests = limits.RequestLimits(settings, make_client("redis://127.0.0.1:1/0"))
    for _ in range(5):
        await requests.count(user)
    with pytest.raises(TooManyRequestsError, match="You have made too many requests"):
        await requests.count(user)
    await requests.count(other)


async def test_a_redis_that_is_emptied_forgets_and_nobody_is_locked_out(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    headers = token(settings, await make_user())
    for _ in range(5):
        await api.get(ME, headers=headers)
    assert is_refused(await api.get(ME, headers=headers), "You have made")
    async with make_client(settings.redis_address) as redis:
        await redis.flushall()
    assert (await api.get(ME, headers=headers)).status_code == 200


async def test_only_so_many_uploads_of_a_user_and_of_an_office_wait(
    settings: Settings, redis_url: str
) -> None:
    generous = settings.model_copy(
        update={"requests_per_minute": 1000, "office_requests_per_minute": 1000}
    )
    assert redis_url
    app = create_app(generous)
    async with (
        open_system(generous) as system,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as api,
    ):

        async def user(name: str, province: str) -> dict[str, str]:
            added = await add_user(
                system.pool, email=f"{name}@example.org", password=PASSWORD,
                role=Role.PROVINCE_ADMIN, scope=Scope(province),
            )  # fmt: skip
            return token(generous, added)

        async def send(
            headers: dict[str, str], rows: int, key: str | None = None
        ) -> httpx.Response:
            more = {"Idempotency-Key": key} if key else {}
            file = {"file": (f"{rows}.csv", csv_file(rows=rows))}
            return await api.post(PROCESS, headers={**headers, **more}, files=file)

        async def may_send(headers: dict[str, str]) -> tuple[bool, str]:
            said = (await api.get("/api/v1/bulk-upload/can-upload", headers=headers)).json()
            return said["data"]["can_upload"], said["message"]

        one, colleague = await user("one", "GP"), await user("colleague", "GP")
        other = await user("other", "LP")
        # At once: a limit that is looked at before the file is recorded would let all of them in.
        answers = await asyncio.gather(*(send(one, rows, f"key {rows}") for rows in range(1, 6)))
        assert sum(answer.status_code == 202 for answer in answers) == 2
        assert sum(is_refused(a, "2 of your uploads", "too_many_uploads") for a in answers) == 3
        whose = "2 of your uploads are still waiting."
        assert await may_send(one) == (False, f"{whose} Send a file when some of them are through.")
        assert (await may_send(colleague))[0] is True
        assert (await send(colleague, 6)).status_code == 202
        refused = await send(colleague, 7)
        assert is_refused(refused, "3 of your office's", "too_many_uploads")
        assert (await may_send(colleague))[0] is False
        assert (await send(other, 8)).status_code == 202
        # Sending the same again under its key is no further upload.
        taken = next(n for n, answer in enumerate(answers, 1) if answer.status_code == 202)
        again = await send(one, taken, f"key {taken}")
        assert again.json()["data"]["job_id"] == answers[taken - 1].json()["data"]["job_id"]
        # Refused requests left nothing in the record.
        history = (await api.get("/api/v1/bulk-upload/history", headers=one)).json()["data"]
        assert history["total"] == 3
        stored = [file async for file in system.store.each()]
        assert len(stored) == 4
        # One that is through makes room.
        job = again.json()["data"]["job_id"]
        cancelled = await api.post(f"/api/v1/bulk-upload/cancel/{job}", headers=one)
        assert cancelled.status_code == 200
        assert (await may_send(one))[0] is True
        assert (await send(one, 9)).status_code == 202
