"""Due rows are claimed when there is a child to work on them."""

from __future__ import annotations

import asyncio

from rollbook.config import Settings
from rollbook.service.due import work_on_due
from rollbook.worker.slots import Slots
from tests.waiting import PATIENCE_S


async def test_work_beside_the_attempts_has_one_child_and_is_claimed_when_that_is_free() -> None:
    """The memory that docs/how-to/deploy.md names is enough, and other hosts take what is due."""
    turn = Slots(Settings(_env_file=None)).beside
    stop = asyncio.Event()
    held = 0
    most: list[int] = []
    done: list[str] = []

    async def working(name: str) -> None:
        nonlocal held
        left = 2

        async def claim() -> str | float:
            nonlocal held, left
            if not left:
                return PATIENCE_S
            left -= 1
            held += 1
            most.append(held)
            return name

        async def work(row: str) -> None:
            nonlocal held
            for _ in range(5):  # the others have time to claim
                await asyncio.sleep(0)
            held -= 1
            done.append(row)
            if len(done) == 6:
                stop.set()

        await work_on_due(stop, claim, work, concurrency=1, grace_s=1, service=name, turn=turn)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(working(name) for name in ("report", "file", "erasure")))
    assert most == [1] * 6
    # None waits until another has nothing more to do.
    assert set(done[:3]) == {"report", "file", "erasure"}


async def test_a_process_that_stops_waits_for_no_turn() -> None:
    turn, stop = asyncio.Semaphore(0), asyncio.Event()

    async def claim() -> float:
        raise AssertionError("it has no turn")

    async def work(_: float) -> None:
        raise AssertionError("nothing is claimed")

    waiting = asyncio.create_task(
        work_on_due(stop, claim, work, concurrency=1, grace_s=0, service="files", turn=turn)
    )
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(waiting, PATIENCE_S)
    turn.release()
    await asyncio.wait_for(turn.acquire(), PATIENCE_S)
