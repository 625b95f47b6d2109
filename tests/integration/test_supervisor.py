"""A process that ends before it is told the addresses is started again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rollbook import supervisor

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.config import Settings


async def test_a_process_that_ended_before_it_was_told_is_started_again(
    settings: Settings, tmp_path: Path
) -> None:
    processes = supervisor.Processes(settings.model_copy(update={"port": 0, "data_dir": tmp_path}))
    with processes.waiting():
        worker = processes._commands[1]
        first = worker.process
        assert first is not None
        first.kill()
        first.wait()
        keeper = asyncio.create_task(worker.keep_running(settings))
        async with asyncio.timeout(20):
            while worker.process in {None, first}:
                assert not keeper.done()
                await asyncio.sleep(0.05)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
