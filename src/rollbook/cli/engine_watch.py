"""Keeps the embedded engines of ``rollbook up`` running, as it does with its other processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from rollbook.errors import EngineError

if TYPE_CHECKING:
    from rollbook.engines import Engines

#: Seconds between two looks.
LOOK_S = 0.5
#: Seconds before a second start in a row; it doubles up to the longest.
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
#: Seconds after which an engine that runs counts as well again.
HEALTHY_AFTER_S = 60.0

log = structlog.get_logger(__name__)


async def keep_running(engines: Engines, *, restarts: int) -> None:
    """Start an engine again whenever it has ended, ``restarts`` times in a row, until cancelled.

    Runs in the main thread: the kernel ends an engine with the thread that started it.

    Raises:
        EngineError: one ended more often, or can't be started; what supervises the process acts.
    """
    loop = asyncio.get_running_loop()
    tries: dict[str, int] = {}
    last: dict[str, float] = {}
    while True:  # no bound: for as long as the process lives, which cancels it
        for key in engines.ended():
            if loop.time() - last.get(key, 0) > HEALTHY_AFTER_S:
                tries[key] = 0
            await _start_again(engines, key, tries[key], restarts)
            tries[key] += 1
            last[key] = loop.time()
        await asyncio.sleep(LOOK_S)


async def _start_again(engines: Engines, key: str, tried: int, restarts: int) -> None:
    while tried < restarts:
        if tried:
            await asyncio.sleep(min(PAUSE_S * 2 ** (tried - 1), LONGEST_PAUSE_S))
        log.error("engine ended, starting it again", engine=key, tried_before=tried)
        tried += 1
        try:
            engines.start_again(key)
            await asyncio.to_thread(engines.wait_ready, key)
        except EngineError as error:
            log.error("engine not started", engine=key, reason=error.message)
            if tried == restarts:
                raise
        else:
            return
    raise EngineError(
        f"The embedded {key} ended {restarts} times in a row. Its data was kept. Its log is in the "
        "data folder; start again when the reason is gone."
    )
