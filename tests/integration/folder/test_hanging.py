"""A share that hangs: a call to it comes to no end, and no error says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from rollbook import clock
from rollbook.accounts.users import issue_token
from rollbook.backends.calls import Calls
from rollbook.errors import ServiceUnavailableError
from rollbook.folder import intake
from rollbook.folder import retention as folder_retention
from rollbook.folder.claims import CALLS, Folder
from rollbook.folder.watcher import state
from rollbook.service.system import open_system
from rollbook.uploads import retention
from tests.files import csv_file
from tests.integration.folder.watching import recorded, until, watching
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    import httpx

    from rollbook.config import Settings
    from rollbook.folder.claims import Claim
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

SAID = "The watched folder doesn't answer"


class Share:
    """A folder's methods, each of which waits until the share answers again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        self.begun = 0
        for name in ("look", "purge", "count_finished"):
            self._let_wait(monkeypatch, name, getattr(Folder, name))

    def _let_wait(self, monkeypatch: pytest.MonkeyPatch, name: str, method: Any) -> None:
        def waits(*args: Any, **named: Any) -> Any:
            self.begun += 1
            self.answers.wait(4 * PATIENCE_S)
            return method(*args, **named)

        monkeypatch.setattr(Folder, name, waits)


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """With little time for a share that hangs; one that doesn't may be slow on a busy machine."""
    hangs = "share" in request.fixturenames
    return settings.model_copy(update={"watch_answer_s": 0.3} if hangs else {})


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> Iterator[Share]:
    hanging = Share(monkeypatch)
    yield hanging
    hanging.answers.set()


def threads() -> int:
    return sum(thread.name == "rollbook-folder" for thread in threading.enumerate())


async def test_a_share_that_hangs_is_a_problem_and_takes_no_thread_of_others(
    system: System, settings: Settings, folder: Path, share: Share
) -> None:
    (folder / "members.csv").write_bytes(csv_file(3))

    async def is_said() -> bool:
        _, living = await state(system)
        return [SAID in (row["problem"] or "") for row in living] == [True]

    async with watching(system) as watcher:
        await until(is_said)
        # Each round tries again, until all threads wait; then none is begun.
        await until(lambda: share.begun == CALLS.threads)
        for _ in range(3):
            with pytest.raises(ServiceUnavailableError, match=SAID):
                await watcher.run_once()
        assert (share.begun, threads()) == (CALLS.threads, CALLS.threads)
        async with asyncio.timeout(PATIENCE_S):
            assert await asyncio.to_thread(lambda: "free") == "free"
        share.answers.set()
        await until(lambda: len(recorded(settings)) == 1)

        async def is_over() -> bool:
            _, living = await state(system)
            return living[0]["problem"] is None

        await until(is_over)


async def test_retention_goes_on_without_a_folder_that_hangs(system: System, share: Share) -> None:
    async with asyncio.timeout(PATIENCE_S):
        assert await retention.run_when_due(system) is not None
        for begun, is_dry in ((1, False), (2, True)):
            # On a busy machine the time may be over before a thread has begun the step.
            while share.begun < begun:
                with pytest.raises(ServiceUnavailableError, match=SAID):
                    await folder_retention.purge(system, dry_run=is_dry)
        assert await retention.run_when_due(system) is None  # it is noted
    assert share.begun == 2


async def test_a_file_is_not_asked_for_by_hand_where_the_share_hangs(
    settings: Settings, api: httpx.AsyncClient, make_user: MakeUser, share: Share
) -> None:
    headers = {"Authorization": f"Bearer {issue_token(settings, await make_user())}"}
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(CALLS.threads + 2):
            answer = await api.post(
                "/api/v1/bulk-upload/monitor/process",
                json={"file_name": "members.csv"},
                headers=headers,
            )
            assert answer.status_code == 503
            assert SAID in answer.text
    assert share.begun == CALLS.threads


async def test_a_share_that_holds_what_closes_a_file_holds_nobody_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "members.csv").write_bytes(csv_file(3))
    answers = threading.Event()
    reading = Folder.reading

    @contextlib.contextmanager
    def closed_late(one: Folder, claim: Claim) -> Iterator[Any]:
        with reading(one, claim) as file:
            yield file
            answers.wait(4 * PATIENCE_S)

    monkeypatch.setattr(Folder, "reading", closed_late)
    one = Folder(folder, answer_s=PATIENCE_S)
    [file] = one.look().files
    claim = one.claim(file, uuid4(), priority=5, at=clock.now())
    assert claim is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            async with intake._reading(one, claim) as opened:
                assert opened is not None
                monkeypatch.setattr(one, "_answer_s", 0.3)
            assert CALLS.late
    finally:
        answers.set()
    await until(lambda: not CALLS.late)


async def test_a_step_that_ends_late_gives_its_thread_back() -> None:
    goes_on = threading.Event()
    try:
        with pytest.raises(ServiceUnavailableError, match=SAID):
            await CALLS.call(0.01, goes_on.wait, PATIENCE_S)
    finally:
        goes_on.set()
    await until(lambda: not CALLS.late)
    assert await CALLS.call(PATIENCE_S, len, "ab") == 2


async def test_a_machine_without_threads_takes_none_from_the_calls_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start
    calls = Calls("rollbook-few", threads=2, no_answer="{}")
    refused: list[threading.Thread] = []
    started: list[threading.Thread] = []

    def start_later(thread: threading.Thread) -> None:
        if thread.name == "rollbook-few":
            if len(refused) < 2 * calls.threads:
                refused.append(thread)
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_later)
    for _ in range(2 * calls.threads):
        with pytest.raises(RuntimeError, match="new thread"):
            await calls.call(PATIENCE_S, len, "ab")
    assert await calls.call(PATIENCE_S, len, "ab") == 2
    refused.clear()  # with one thread that is there
    assert await calls.call(PATIENCE_S, len, "abc") == 3
    assert len(started) == 1


async def test_a_step_of_which_the_server_itself_gives_up_raises_what_it_says() -> None:
    def given_up() -> None:
        raise TimeoutError("Connection timed out")

    with pytest.raises(TimeoutError, match="Connection timed out"):
        await CALLS.call(PATIENCE_S, given_up)


async def test_a_file_that_can_not_be_removed_keeps_no_other_in_the_folder(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_retention, "AT_ONCE", 2)
    done = folder / "processed"
    done.mkdir()
    for number in range(6):
        (done / f"20200101T00000{number}Z-0000000{number}-members.csv").write_bytes(b"x")
    unlink = os.unlink

    def refused(name: str, **named: Any) -> None:
        if str(name).startswith("20200101T000003Z"):
            raise PermissionError(13, "Permission denied")
        unlink(name, **named)

    monkeypatch.setattr("rollbook.folder.claims.os.unlink", refused)
    async with open_system(settings) as opened:
        assert await folder_retention.purge(opened) == 5
    assert [path.name[:16] for path in done.iterdir()] == ["20200101T000003Z"]
