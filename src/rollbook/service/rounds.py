"""The loop that every maintenance service runs in: one round, a pause, until the process stops."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import psycopg
import structlog

from rollbook.backends.database import UNAVAILABLE
from rollbook.telemetry import logs, metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

#: Seconds that a running round has to finish when the process stops.
STOP_S = 10
#: Seconds that a service waits until the first rounds of others have ended.
TURN_S = 1

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def every(
    interval_s: float,
    run_once: Callable[[], Awaitable[object]],
    *,
    service: str,
    first_after_s: float = 0,
    turn: asyncio.Lock | None = None,
) -> AsyncIterator[None]:
    """Run a service's rounds in the background for as long as the context lasts.

    The first begins after ``first_after_s`` seconds, the next ``interval_s`` seconds after the end
    of the last. A round that finds PostgreSQL or Redis away ends with a log line, and the next one
    is tried.

    Services that share a ``turn`` have their first rounds one after another, with one connection to
    PostgreSQL instead of one each. None waits longer than TURN_S for the others.
    """
    stop = asyncio.Event()
    rounds = _rounds(stop, interval_s, run_once, service, first_after_s, turn)
    task = asyncio.create_task(rounds)
    try:
        yield
    finally:
        # A running round is finished: the client of Redis may swallow a cancellation.
        stop.set()
        _, late = await asyncio.wait({task}, timeout=STOP_S)
        for task in late:
            task.cancel()


@contextlib.asynccontextmanager
async def services(
    *wanted: tuple[str, float, Callable[[], Awaitable[object]]], first_after_s: float = 0
) -> AsyncIterator[None]:
    """Run several services (name, interval in seconds, round) as ``every`` does, with one turn."""
    turn = asyncio.Lock()
    async with contextlib.AsyncExitStack() as stack:
        for service, interval_s, run_once in wanted:
            running = every(
                interval_s, run_once, service=service, first_after_s=first_after_s, turn=turn
            )
            await stack.enter_async_context(running)
        yield


async def _rounds(
    stop: asyncio.Event,
    interval_s: float,
    run_once: Callable[[], Awaitable[object]],
    service: str,
    first_after_s: float,
    turn: asyncio.Lock | None,
) -> None:
    if first_after_s and await _stops_within(stop, first_after_s):
        return
    async with _taken(turn):
        if not stop.is_set():
            with guarded(service):
                await run_once()
    while not await _stops_within(stop, interval_s):
        with guarded(service):
            await run_once()


async def _stops_within(stop: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


@contextlib.asynccontextmanager
async def _taken(turn: asyncio.Lock | None) -> AsyncIterator[None]:
    """Hold the turn, or go on without it after TURN_S."""
    if turn is None:
        yield
        return
    try:
        async with asyncio.timeout(TURN_S):
            await turn.acquire()
    except TimeoutError:
        yield
        return
    try:
        yield
    finally:
        turn.release()


@contextlib.contextmanager
def guarded(service: str) -> Iterator[None]:
    """Count one round of a service, and log its failure instead of raising it.

    A fault in one round must not end the service. Its name is that in
    ``rollbook_maintenance_rounds_total``.
    """
    result = "failed"
    try:
        yield
        result = "done"
    except psycopg.errors.UndefinedTable:
        result = "waited"
        log.warning("waiting for the schema (rollbook migrate)", service=service)
    except UNAVAILABLE as error:
        result = "waited"
        log.warning("waiting for a part", service=service, error=type(error).__name__)
    except (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - its text may quote a cell or an address
        # A library in Rust that panics raises no Exception, and would end the service unheard.
        where = logs.places(error)
        log.error("round failed", service=service, error=type(error).__name__, where=where)
    metrics.ROUNDS.labels(service=service, result=result).inc()
