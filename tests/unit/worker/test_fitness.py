"""What keeps a worker from taking jobs, where no error says so."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from rollbook.config import Settings
from rollbook.worker import scratch
from rollbook.worker.fitness import Fitness
from tests.integration.folder.watching import until
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_a_disk_that_hangs_is_a_problem_and_keeps_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the look comes to no end, and the worker goes on with what it last knew."""
    answers = threading.Event()
    asked: list[None] = []

    def restore_folder() -> None:
        asked.append(None)
        assert answers.wait(PATIENCE_S)

    settings = Settings(_env_file=None, data_dir=tmp_path, scratch_free_mb=0)
    slots = cast("Any", SimpleNamespace(folder=tmp_path, restore_folder=restore_folder))
    one = Fitness(cast("Any", SimpleNamespace(settings=settings)))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(scratch, "DISK_S", 0.05)
            for _ in range(3):
                assert "no answer" in (await one._scratch(slots) or "")
        await until(lambda: bool(asked))  # the thread may begin after all three looks
        assert len(asked) == 1
    finally:
        answers.set()
    await until(lambda: not one._looks.late)
    assert await one._scratch(slots) is None
    assert len(asked) == 2


def test_a_disk_that_hangs_does_not_keep_a_worker_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop waits at its end for the threads that it has itself."""
    answers, is_through = threading.Event(), threading.Event()

    def restore_folder() -> None:
        answers.wait(PATIENCE_S)
        is_through.set()

    monkeypatch.setattr(scratch, "DISK_S", 0.05)
    slots = cast("Any", SimpleNamespace(folder=tmp_path, restore_folder=restore_folder))

    async def one_look() -> str | None:
        settings = Settings(_env_file=None, data_dir=tmp_path)
        return await Fitness(cast("Any", SimpleNamespace(settings=settings)))._scratch(slots)

    try:
        assert "no answer" in (asyncio.run(one_look()) or "")
        assert not is_through.is_set()
    finally:
        answers.set()
