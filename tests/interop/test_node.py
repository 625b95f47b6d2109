"""BullMQ for Node on the same queue: another program may add, read, steer and work."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.uploads import lookup, receive
from rollbook.uploads.options import Options
from tests.files import csv_file
from tests.integration.worker.test_worker import working
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


@pytest.fixture
def program(programs: Path) -> Path:
    """The Node program that works on the queue."""
    return programs / "queue.mjs"


class Node:
    """The running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, command: str, **options: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **options}).encode() + b"\n")
        await self._process.stdin.drain()
        answer = json.loads(await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_S))
        assert "error" not in answer, answer
        return answer["answer"]


@asynccontextmanager
async def node(program: Path, settings: Settings) -> AsyncIterator[Node]:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(program),
        settings.redis_address,
        settings.queue_name,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Node(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def recorded(system: System, user: User) -> UUID:
    """An upload that is recorded and not queued, as after a crash in between."""

    async def chunks() -> AsyncIterator[bytes]:
        yield csv_file(5)

    stored = await receive.store_file(system, "members.csv", chunks())
    upload_id: UUID = (await receive.record(system, user, stored, Options()))["id"]
    await system.queue.remove(upload_id)
    return upload_id


async def test_a_job_that_node_adds_is_done_here_and_read_there(
    program: Path, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    upload_id = await recorded(system, user)
    async with node(program, settings) as other:
        assert await other.ask("add", uploadId=str(upload_id), priority=3) == str(upload_id)
        assert (await other.ask("counts"))["prioritized"] == 1
        async with working(system):
            returned = await other.ask("finished", jobId=str(upload_id))
        assert returned["rows_total"] == returned["outcomes"]["inserted"] == 5
        job = await other.ask("job", jobId=str(upload_id))
        assert (job["state"], job["data"]) == ("completed", {"upload_id": str(upload_id)})
        assert job["progress"]["attempt"] == 1
        assert (await other.ask("counts"))["completed"] == 1
    assert (await lookup.get(system, user, upload_id))["status"] == "completed"


async def test_node_reads_what_is_queued_here_and_pauses_it(
    program: Path, system: System, settings: Settings, make_user: MakeUser
) -> None:
    upload_id = await recorded(system, await make_user())
    await system.queue.add(upload_id, priority=7)
    async with node(program, settings) as other:
        job = await other.ask("job", jobId=str(upload_id))
        assert (job["state"], job["priority"], job["attempts"]) == ("prioritized", 7, 0)
        await other.ask("pause")
        assert (await system.queue.stats())["is_paused"]
        await other.ask("resume")
        assert not (await system.queue.stats())["is_paused"]


async def test_a_worker_in_node_can_take_a_job_that_is_queued_here(
    program: Path, system: System, settings: Settings, make_user: MakeUser
) -> None:
    upload_id = await recorded(system, await make_user())
    await system.queue.add(upload_id, priority=7)
    async with node(program, settings) as other:
        assert await other.ask("work") == str(upload_id)
    assert await system.queue.state(upload_id) == "completed"
