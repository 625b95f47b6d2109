"""Works on the due rows of a table, a few at a time, until the process stops.

The table is the queue (docs/decisions/0034): a row has the time at which it is due, and a claim
moves that time to the end of a lease. A row whose worker died is due again when its lease ends.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar

from rollbook.backends.database import fetch_one
from rollbook.service.rounds import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from rollbook.backends.database import Pool, Row

T = TypeVar("T")

#: Longest pause between two looks for due rows that another process may add, in seconds.
POLL_S: Final = 1.0
#: Shortest pause after a look that found nothing.
SHORTEST_POLL_S: Final = 0.02
#: Pause after a claim that failed, as when PostgreSQL is away.
FAILED_CLAIM_S: Final = 2.0
#: Time that cancelled work gets to end.
CANCEL_S: Final = 5.0


async def work_on_due(
    stop: asyncio.Event,
    claim: Callable[[], Awaitable[T | float]],
    work: Callable[[T], Awaitable[None]],
    *,
    concurrency: int,
    grace_s: float,
    service: str,
    turn: asyncio.Semaphore | None = None,
) -> None:
    """Claim due rows and work on them, some at a time, until ``stop`` is set.

    ``claim`` returns the next due row, for as long as its lease lasts, or the seconds until the
    next look. What ``work`` raises is logged, and the row is due again at the end of its lease. At
    the end, rows under way get ``grace_s`` seconds before they are cancelled.

    ``turn`` is held from before a claim to the end of its work: a row that waited here for other
    work of this process would be claimed, while another process is idle.
    """
    stopping = asyncio.create_task(stop.wait())
    running: set[asyncio.Task[None]] = set()
    try:
        while not stop.is_set():
            if len(running) >= concurrency:
                await asyncio.wait({stopping, *running}, return_when=asyncio.FIRST_COMPLETED)
                running = {task for task in running if not task.done()}
                continue
            if turn is not None and not await _has_turn(turn, stopping):
                continue
            found: T | float = FAILED_CLAIM_S
            with guarded(service):
                found = await claim()
            if isinstance(found, float):
                if turn is not None:
                    turn.release()
                await asyncio.wait({stopping}, timeout=found)
            else:
                task = asyncio.create_task(_worked_on(found, work, service))
                if turn is not None:
                    task.add_done_callback(partial(_end_turn, turn))
                running.add(task)
    finally:
        stopping.cancel()
        await _end(running, grace_s)


async def _has_turn(turn: asyncio.Semaphore, stopping: asyncio.Task[Any]) -> bool:
    """Wait for a turn; False when the process stops first."""
    waiting = asyncio.create_task(turn.acquire())
    try:
        await asyncio.wait({stopping, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()  # nothing to one that is done
    if waiting.done() and stopping.done():
        turn.release()
    return waiting.done() and not stopping.done()


def _end_turn(turn: asyncio.Semaphore, _: object) -> None:
    turn.release()


async def _worked_on(row: T, work: Callable[[T], Awaitable[None]], service: str) -> None:
    with guarded(service):
        await work(row)


async def _end(running: set[asyncio.Task[None]], grace_s: float) -> None:
    if not running:
        return
    _, late = await asyncio.wait(running, timeout=grace_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=CANCEL_S)


async def claim_row(pool: Pool, sql: Mapping[str, LiteralString], lease_s: float) -> Row | float:
    """The next due row of a table for ``lease_s`` seconds, or the pause until the next look.

    ``sql`` has the queries ``claim`` and ``next_due``.
    """
    row = await fetch_one(pool, sql["claim"], {"lease_s": lease_s})
    if row is not None:
        return row
    due = await fetch_one(pool, sql["next_due"])
    return pause_s(due["due_in_s"] if due else None)


def pause_s(due_in_s: float | None) -> float:
    """The pause until the next look, by the seconds until the next known row is due."""
    return POLL_S if due_in_s is None else max(min(due_in_s, POLL_S), SHORTEST_POLL_S)
