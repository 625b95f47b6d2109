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
    turn: asyncio.Lock | None = None,
) -> AsyncIterator[None]:
    """Run a service's rounds in the background for as long as the context lasts.

    The first begins at once, the next ``interval_s`` seconds after the end of the last. A round
    that finds PostgreSQL or Redis away ends with a log line, and the next one is tried.

    Services that share a ``turn`` have their first rounds one after another, with one connection to
    PostgreSQL instead of one each. None waits longer than TURN_S for the others.
    """
    stop = asyncio.Event()
    task = asyncio.create_task(_rounds(stop, interval_s, run_once, service, turn))
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
    *wanted: tuple[str, float, Callable[[], Awaitable[object]]],
) -> AsyncIterator[None]:
    """Run several services (name, interval in seconds, round) as ``every`` does, with one turn."""
    turn = asyncio.Lock()
    async with contextlib.AsyncExitStack() as stack:
        for service, interval_s, run_once in wanted:
            await stack.enter_async_context(every(interval_s, run_once, service=service, turn=turn))
        yield


async def _rounds(
    stop: asyncio.Event,
    interval_s: float,
    run_once: Callable[[], Awaitable[object]],
    service: str,
    turn: asyncio.Lock | None,
) -> None:
    async with _taken(turn):
        if not stop.is_set():
            with guarded(service):
                await run_once()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await stop.wait()
                return
        with guarded(service):
            await run_once()


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
