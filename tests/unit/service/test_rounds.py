"""The first rounds of services that share a turn come one after another; none waits for long."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from rollbook.service import rounds
from rollbook.service.rounds import every, services
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    import pytest

NEVER_AGAIN_S = 3600


async def test_first_rounds_come_one_after_another() -> None:
    turn, through = asyncio.Lock(), asyncio.Semaphore(0)
    seen: list[str] = []

    async def round_of(name: str) -> None:
        seen.append(f"{name} begins")
        for _ in range(5):  # the others would begin meanwhile
            await asyncio.sleep(0)
        seen.append(f"{name} ends")
        through.release()

    async with contextlib.AsyncExitStack() as stack:
        for name in ("a", "b", "c"):
            await stack.enter_async_context(
                every(NEVER_AGAIN_S, lambda n=name: round_of(n), service=name, turn=turn)  # type: ignore[misc]
            )
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                await through.acquire()
    assert seen == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_a_first_round_that_takes_long_keeps_no_other_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "TURN_S", 0.01)
    turn, other, released = asyncio.Lock(), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        await released.wait()  # no bound: released below

    async def note() -> None:
        other.set()

    async with (
        every(NEVER_AGAIN_S, wait, service="slow", turn=turn),
        every(NEVER_AGAIN_S, note, service="other", turn=turn),
    ):
        async with asyncio.timeout(PATIENCE_S):
            await other.wait()
        released.set()


async def test_a_service_whose_first_round_fails_gives_its_turn_and_goes_on() -> None:
    turn, other, again = asyncio.Lock(), asyncio.Event(), asyncio.Event()
    failures = 0

    async def fail() -> None:
        nonlocal failures
        failures += 1
        if failures > 1:
            again.set()
        raise RuntimeError

    async def note() -> None:
        other.set()

    async with (
        every(0.01, fail, service="failing", turn=turn),
        every(NEVER_AGAIN_S, note, service="other", turn=turn),
        asyncio.timeout(PATIENCE_S),
    ):
        await other.wait()
        await again.wait()


async def test_nothing_begins_after_the_stop() -> None:
    turn, began = asyncio.Lock(), False

    async def note() -> None:
        nonlocal began
        began = True

    await turn.acquire()  # no bound: it is free
    async with every(NEVER_AGAIN_S, note, service="late", turn=turn):
        await asyncio.sleep(0)  # it waits for its turn
        asyncio.get_running_loop().call_soon(turn.release)
    assert not began


async def test_a_service_that_stops_before_its_first_round_has_none() -> None:
    rounds_of: dict[str, int] = {"later": 0, "soon": 0}
    soon = asyncio.Event()

    async def count(name: str) -> None:
        rounds_of[name] += 1
        soon.set()

    later = ("later", NEVER_AGAIN_S, partial(count, "later"))
    async with (
        services(later, first_after_s=NEVER_AGAIN_S),
        services(("soon", NEVER_AGAIN_S, partial(count, "soon")), first_after_s=0.01),
        asyncio.timeout(PATIENCE_S),
    ):
        await soon.wait()
    assert rounds_of == {"later": 0, "soon": 1}
