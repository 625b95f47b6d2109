"""A worker's children: how many there are, and the sentences of a file that was too large."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from rollbook.config import Settings
from rollbook.errors import OutOfMemoryError, TimedOutError
from rollbook.model import Progress
from rollbook.worker.slots import Slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class _Child:
    """A child that counts its rows, if at all, and never comes to an end."""

    is_usable = True
    memory_mb = 0.0

    def __init__(self, rows: int | None, *, is_large: bool) -> None:
        self._rows = rows
        self._is_large = is_large

    async def run(
        self, _: Any, __: int, on_progress: Callable[[Progress], None], *___: Any, **____: Any
    ) -> dict[str, Any]:
        on_progress(Progress(stage="read", rows_total=self._rows))
        await asyncio.Event().wait()  # no bound: it is cancelled
        raise AssertionError

    async def watch_memory(self, _: int) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not self._is_large:
            await asyncio.Event().wait()  # no bound: it is cancelled

    async def has_folder(self) -> bool:
        return True

    async def kill(self) -> None:
        pass


async def said(folder: Path, rows: int | None, *, is_large: bool) -> str:
    settings = Settings(_env_file=None, data_dir=folder, job_timeout_s=60 if is_large else 1)
    slots = Slots(settings)

    @contextlib.asynccontextmanager
    async def child() -> AsyncIterator[_Child]:
        yield _Child(rows, is_large=is_large)

    cast("Any", slots)._child = child
    with pytest.raises((OutOfMemoryError, TimedOutError)) as caught:
        await slots.run(uuid4(), 1, lambda _: None)
    assert isinstance(caught.value, OutOfMemoryError if is_large else TimedOutError)
    return str(caught.value)


@pytest.mark.parametrize("is_large", [True, False])
async def test_a_file_of_one_row_is_not_to_be_split(tmp_path: Path, is_large: bool) -> None:
    one = await said(tmp_path, 1, is_large=is_large)
    assert "It has one row, so it can't be split: look for cells" in one
    assert "Split it into smaller files, or ask" in await said(tmp_path, 9, is_large=is_large)
    unknown = await said(tmp_path, None, is_large=is_large)
    assert "If it has many rows, split it" in unknown
    assert "if it has few, look for cells" in unknown


def test_a_worker_keeps_its_folder_when_old_files_are_removed_from_it(tmp_path: Path) -> None:
    """Its children go on: another folder is made only where this one is gone."""
    slots = Slots(Settings(_env_file=None, data_dir=tmp_path))
    slots.restore_folder()
    (slots.folder / "child-0").mkdir()
    before = slots.folder
    for file in before.rglob("*"):
        if file.is_file():
            file.unlink()
    slots.restore_folder()
    assert slots.folder == before
    assert (before / "child-0").is_dir()
    shutil.rmtree(before)
    slots.restore_folder()
    assert slots.folder != before
    assert slots.folder.is_dir()


async def test_no_more_children_are_kept_than_there_are_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take hundreds of megabytes for as long as the process lives."""
    ended: list[Any] = []

    class Small(_Child):
        async def kill(self) -> None:
            ended.append(self)

    async def start(_: Slots) -> Small:
        return Small(0, is_large=False)

    monkeypatch.setattr(Slots, "_start", start)
    slots = Slots(Settings(_env_file=None, data_dir=tmp_path, concurrency=2))
    async with contextlib.AsyncExitStack() as busy:
        for _ in range(4):
            await busy.enter_async_context(slots._child())
    assert (len(slots._idle), len(ended)) == (2, 2)
