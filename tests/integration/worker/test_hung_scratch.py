"""A scratch folder on a share that hangs: what needs it is refused in time, all else goes on."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from rollbook.config import Settings
from rollbook.errors import ServiceUnavailableError
from rollbook.worker import scratch, slots
from tests.hung_share import hung
from tests.integration.folder.watching import until
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

#: A child that has done each task at once.
READY = """
import sys
print('{"type": "ready"}', flush=True)
for line in sys.stdin:
    print('{"type": "result"}', flush=True)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(slots, "PROGRAM", (sys.executable, "-c", READY))
    monkeypatch.setattr(scratch, "DISK_S", 0.3)
    return Settings(_env_file=None, data_dir=tmp_path, concurrency=1)


async def run(opened: slots.Slots) -> None:
    await opened.run(uuid4(), 0, lambda _: None)


async def answers() -> None:
    """The share is there again, and no step waits for it any more."""
    await until(lambda: not scratch.CALLS.late)


async def test_work_is_refused_while_the_scratch_folder_hangs_and_goes_on_afterwards(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(PATIENCE_S), slots.Slots(settings) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(scratch, "DISK_S", PATIENCE_S)
            await run(opened)
        with hung(settings.data_dir / "scratch"):
            for _ in range(2):
                with pytest.raises(ServiceUnavailableError, match="gives no answer"):
                    await run(opened)
        await answers()
        with monkeypatch.context() as patch:
            patch.setattr(scratch, "DISK_S", PATIENCE_S)
            await run(opened)


async def test_a_worker_starts_and_ends_while_its_scratch_folder_hangs(settings: Settings) -> None:
    async with asyncio.timeout(PATIENCE_S):
        with hung(settings.data_dir / "scratch"):
            async with slots.Slots(settings) as opened:
                with pytest.raises(ServiceUnavailableError, match="gives no answer"):
                    await run(opened)
        await answers()


async def test_a_worker_ends_whose_scratch_folder_hangs_since(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        opened = slots.Slots(settings)
        with monkeypatch.context() as patch:
            patch.setattr(scratch, "DISK_S", PATIENCE_S)
            await opened.__aenter__()
            await run(opened)
        with hung(settings.data_dir / "scratch"):
            await opened.__aexit__()
        await answers()
