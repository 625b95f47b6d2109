"""socket.io-client of npm as the first system's page uses it: both transports, two processes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.accounts import users
from rollbook.accounts.users import issue_token
from tests.files import csv_file, members
from tests.integration.live.test_live import short_token
from tests.integration.worker.test_worker import sent, working
from tests.listening import Site, quick
from tests.ports import free_port
from tests.socket_io import FIELDS, STAGES
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"first_system_clients": True})


class Page:
    """The running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: list[tuple[str, Any]] = []

    async def until(self, wanted: str, job_id: object = None) -> Any:
        """What comes next of this name, of this job or any."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = await self._process.stdout.readline()
                assert line, f"it ended before {wanted}: {self.heard}"
                name, data = json.loads(line)
                self.heard.append((name, data))
                assert name not in FIELDS or set(data) == FIELDS[name]
                if name == wanted and (job_id is None or data["job_id"] == str(job_id)):
                    return data

    async def is_let_in(self) -> bool:
        """Whether it was connected or refused, of which one comes first."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_S)
        self.heard.append(tuple(json.loads(line)))
        name, _ = self.heard[-1]
        assert name in {"connect", "connect_error"}, name
        return name == "connect"

    async def sign_in(self, token: str) -> None:
        """Let another client take this one's place."""
        self.emit("sign in", {"token": token})
        await self.until("new client")

    def emit(self, name: str, data: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, data]).encode() + b"\n")


@asynccontextmanager
async def page(
    programs: Path, site: Site, token: str, transports: list[str]
) -> AsyncIterator[Page]:
    process = await asyncio.create_subprocess_exec(
        "node", str(programs / "socket_io.mjs"), f"http://{site.host}", token, *transports,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Page(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def test_pages_hear_an_upload_from_position_to_end_by_each_transport(
    programs: Path, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    token = issue_token(settings, user)
    async with (
        Site(quick(settings)) as site,
        Site(quick(settings)) as second,
        page(programs, site, token, ["polling"]) as polling,
        page(programs, second, token, ["websocket"]) as direct,
        page(programs, second, token, ["polling", "websocket"]) as both,
    ):
        assert (await polling.until("connect"))["transport"] == "polling"
        assert (await direct.until("connect"))["transport"] == "websocket"
        # It may have changed to the WebSocket before it is connected.
        await both.until("connect")
        pages = (polling, direct, both)
        job_id = await sent(system, user, csv_file(members(300)))
        for one in pages:
            assert (await one.until("queue_position_update", job_id))["position"] == 1
        async with working(system):
            done = [await one.until("bulk_upload_complete", job_id) for one in pages]
        assert done[0]["database_stats"]["inserts"] == 300
        assert done == [done[0]] * len(pages)
        for one in pages:
            stages = [STAGES.index(d["stage"]) for n, d in one.heard if n == "bulk_upload_progress"]
            assert stages == sorted(stages)
        # Another job of the scope, to which they subscribe.
        theirs = await sent(system, await make_user(), csv_file(members(3, start=400)))
        for one in pages:
            one.emit("subscribe_bulk_upload_job", {"job_id": str(theirs)})
            await one.until("queue_position_update", theirs)
        async with working(system):
            for one in pages:
                await one.until("bulk_upload_complete", theirs)


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_a_page_is_refused_let_go_and_comes_back(
    programs: Path,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    transports: list[str],
) -> None:
    monkeypatch.setattr("rollbook.live.feed.ACCOUNTS_S", 0.05)
    user = await make_user()
    port = free_port()  # one that the system gives would be anybody's while nobody listens
    async with Site(quick(settings, port=port)) as site:
        token = issue_token(settings, user)
        async with page(programs, site, "nonsense", transports) as client:
            assert "sign in" in (await client.until("connect_error"))["message"].lower()
            # Signed out: it is informed, and doesn't reconnect automatically.
            await client.sign_in(token)
            await client.until("connect")
            await users.sign_out(
                system.pool, settings, await users.session(system.pool, settings, token)
            )
            assert (await client.until("disconnect"))["reason"] == "io server disconnect"
            await client.sign_in(token)
            await client.until("connect_error")
            for seconds in (2, 8, 30):  # a busy machine may need longer for the sign-in
                await client.sign_in(short_token(settings, user, seconds=seconds))
                if await client.is_let_in():
                    reason = (await client.until("disconnect"))["reason"]
                    assert reason == "io server disconnect"
                    break
            # The process stops: to the page it is a lost line, and it connects to the next one.
            await client.sign_in(issue_token(settings, user))
            await client.until("connect")
            await site.stop()
            assert (await client.until("disconnect"))["reason"] != "io server disconnect"
            async with Site(quick(settings, port=port)):
                await client.until("reconnect")
