"""Several files removed at a time: what went is counted, also where one can't be removed."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import obstore
import pytest
from obstore.exceptions import GenericError

from rollbook.backends import files
from rollbook.backends.files import FileStore, source_key
from rollbook.errors import ServiceUnavailableError
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """A folder, and a store that is reached by calls as a bucket is."""
    return FileStore("memory:///" if request.param == "memory" else tmp_path.as_uri())


async def filled(store: FileStore, number: int) -> list[str]:
    """The keys of so many files, of 0, 1, 2 ... bytes."""

    async def content(size: int) -> AsyncIterator[bytes]:
        yield bytes(size)

    keys = [source_key(uuid4(), "csv") for _ in range(number)]
    for size, key in enumerate(keys):
        await store.receive(key, content(size))
    return keys


async def left(store: FileStore) -> set[str]:
    return {file.key async for file in store.each()}


async def remove(store: FileStore, keys: list[str], sizes: list[int]) -> None:
    """Remove files, and note the sizes of those that went before an error."""
    async for size in store.remove_all(keys):
        sizes.append(size)  # noqa: PERF401 - a comprehension loses them


async def test_each_file_is_removed_and_its_size_is_said(store: FileStore) -> None:
    number = 2 * files.CALLS_AT_A_TIME + 3
    keys = await filled(store, number)
    other = await filled(store, 1)
    gone = source_key(uuid4(), "csv")
    assert [size async for size in store.sizes([*keys, gone])] == [*range(number), 0]
    assert await left(store) == {*keys, *other}
    assert [size async for size in store.remove_all([*keys, gone])] == [*range(number), 0]
    assert await left(store) == {*other}


async def test_no_folder_of_a_removed_file_stays(tmp_path: Path) -> None:
    store = FileStore(tmp_path.as_uri())
    keys = await filled(store, 3)
    (tmp_path / keys[0]).with_name("somebody's.txt").touch()
    assert sum([size async for size in store.remove_all(keys)]) == 3
    there = await asyncio.to_thread(os.listdir, tmp_path)
    assert there == [keys[0].partition("/")[0]]


async def test_a_file_of_a_folder_that_can_not_be_removed_leaves_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILES_AT_A_TIME", 4)
    store = FileStore(tmp_path.as_uri())
    keys = await filled(store, 10)
    (tmp_path / keys[5]).unlink()
    (tmp_path / keys[5]).mkdir()
    sizes: list[int] = []
    with pytest.raises(ServiceUnavailableError):
        await remove(store, keys, sizes)
    assert sizes == [0, 1, 2, 3, 4, 6, 7]
    assert await left(store) == {*keys[8:]}


async def test_calls_that_run_when_one_fails_are_counted_and_none_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FileStore("memory:///")
    keys = await filled(store, 3 * files.CALLS_AT_A_TIME)
    delete = obstore.delete_async
    begun: list[str] = []
    has_failed = asyncio.Event()

    async def away_for_the_fifth(there: Any, key: str) -> None:
        begun.append(key)
        if key == keys[4]:
            has_failed.set()
            raise GenericError("away")
        await has_failed.wait()  # no bound: the test has one
        await delete(there, key)

    monkeypatch.setattr(obstore, "delete_async", away_for_the_fifth)
    sizes: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ServiceUnavailableError):
            await remove(store, keys, sizes)
    first = range(files.CALLS_AT_A_TIME)
    assert sizes == [size for size in first if size != 4]
    assert {*begun} == {keys[place] for place in first}
    assert await left(store) == {keys[4], *keys[files.CALLS_AT_A_TIME :]}
