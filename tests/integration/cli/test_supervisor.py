"""A process that ends before it gets the addresses is started again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rollbook.cli import supervisor
from tests.integration.folder.watching import until
from tests.waiting import kill

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
        kill(first)
        keeper = asyncio.create_task(worker.keep_running(settings))

        def is_another() -> bool:
            assert not keeper.done()
            return worker.process not in {None, first}

        await until(is_another)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
