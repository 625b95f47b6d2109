"""Several files removed at a time: what went is counted, and what can't be removed is named."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import obstore
import pytest
from obstore.exceptions import GenericError

from rollbook.backends import exhaustion, files
from rollbook.backends.files import FileStore, source_key
from rollbook.errors import NoResourcesError, ServiceUnavailableError
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rollbook.backends.file_errors import Done


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


async def removed(store: FileStore, keys: list[str]) -> list[int | None]:
    """Remove files: the size of each, None for one that can't be removed."""
    found = [done async for done in store.remove_all(keys)]
    assert [done.key for done in found] == keys
    return [None if done.error else done.bytes for done in found]


async def test_each_file_is_removed_and_its_size_is_said(store: FileStore) -> None:
    number = 2 * files.CALLS_AT_A_TIME + 3
    keys = await filled(store, number)
    other = await filled(store, 1)
    gone = source_key(uuid4(), "csv")
    asked = [done async for done in store.sizes([*keys, gone])]
    assert [(done.key, done.bytes) for done in asked] == [
        *((key, size) for size, key in enumerate(keys)), (gone, 0)
    ]  # fmt: skip
    assert await left(store) == {*keys, *other}
    assert await removed(store, [*keys, gone]) == [*range(number), 0]
    assert await left(store) == {*other}


async def test_no_folder_of_a_removed_file_stays(tmp_path: Path) -> None:
    store = FileStore(tmp_path.as_uri())
    keys = await filled(store, 3)
    (tmp_path / keys[0]).with_name("somebody's.txt").touch()
    assert await removed(store, keys) == [0, 1, 2]
    there = await asyncio.to_thread(os.listdir, tmp_path)
    assert there == [keys[0].partition("/")[0]]


async def test_files_that_can_not_be_removed_keep_no_other_from_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILES_AT_A_TIME", 4)
    store = FileStore(tmp_path.as_uri())
    keys = await filled(store, 10)
    for stuck in (5, 9):
        (tmp_path / keys[stuck]).unlink()
        (tmp_path / keys[stuck]).mkdir()
    assert await removed(store, keys) == [0, 1, 2, 3, 4, None, 6, 7, 8, None]
    assert await left(store) == set()


async def test_a_file_of_a_write_that_was_cut_off_is_removed_with_its_folder(
    tmp_path: Path,
) -> None:
    store = FileStore(tmp_path.as_uri())
    [whole] = await filled(store, 1)
    cut_off = f"{source_key(uuid4(), 'csv')}#1"
    (tmp_path / cut_off).parent.mkdir()
    (tmp_path / cut_off).write_bytes(b"xyz")
    assert [done.bytes async for done in store.sizes([cut_off])] == [3]
    assert await removed(store, [cut_off]) == [3]
    assert await asyncio.to_thread(os.listdir, tmp_path) == [whole.partition("/")[0]]


def fail_at(monkeypatch: pytest.MonkeyPatch, key: str) -> list[str]:
    """Let the call fail that removes a file, after those beside it began; which calls began."""
    delete = obstore.delete_async
    begun: list[str] = []
    has_failed = asyncio.Event()

    async def failing(there: Any, wanted: str) -> None:
        begun.append(wanted)
        if wanted == key:
            has_failed.set()
            raise GenericError("away")
        await has_failed.wait()  # no bound: the test has one
        await delete(there, wanted)

    monkeypatch.setattr(obstore, "delete_async", failing)
    return begun


async def test_a_call_that_fails_keeps_no_other_file_of_a_store_that_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FileStore("memory:///")
    keys = await filled(store, 3 * files.CALLS_AT_A_TIME)
    fail_at(monkeypatch, keys[4])
    async with asyncio.timeout(PATIENCE_S):
        ends = await removed(store, keys)
    assert ends == [None if size == 4 else size for size in range(len(keys))]
    assert await left(store) == {keys[4]}


async def test_no_call_is_begun_once_the_store_as_a_whole_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FileStore("memory:///")
    keys = await filled(store, 3 * files.CALLS_AT_A_TIME)
    begun = fail_at(monkeypatch, keys[4])

    async def away(_: FileStore) -> None:
        raise ServiceUnavailableError("away")

    monkeypatch.setattr(FileStore, "check", away)
    ends: list[Done] = []

    async def note() -> None:
        async for done in store.remove_all(keys):
            ends.append(done)  # noqa: PERF401 - a comprehension loses them

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ServiceUnavailableError):
            await note()
    first = keys[: files.CALLS_AT_A_TIME]
    assert [done.key for done in ends] == first
    assert [done.key for done in ends if done.error] == [keys[4]]
    assert {*begun} == {*first}
    assert await left(store) == {keys[4], *keys[files.CALLS_AT_A_TIME :]}


async def test_a_bucket_is_not_asked_again_for_the_sizes_of_a_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FileStore("memory:///")
    keys = await filled(store, 3)
    sizes = {file.key: file.bytes async for file in store.each()}

    async def never(*_: object) -> None:
        pytest.fail("a call too many")

    monkeypatch.setattr(obstore, "head_async", never)
    assert sum([done.bytes async for done in store.remove_all(keys, sizes)]) == 3
    assert await left(store) == set()


async def test_a_store_that_hangs_counts_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker would wait for it with the upload at "processing", and beat no heart."""
    store = FileStore("memory:///", answer_s=0.05)
    [key] = await filled(store, 1)

    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()  # no bound: it is cancelled

    monkeypatch.setattr(obstore, "head_async", hangs)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ServiceUnavailableError):
            await store.has(key)


async def test_no_call_is_begun_without_a_thread_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for one for ever, and with it all later ones."""
    store = FileStore("memory:///")
    [key] = await filled(store, 1)

    def refused() -> None:
        raise NoResourcesError(exhaustion.SENTENCE)

    def begun(*_: object, **__: object) -> None:
        pytest.fail("a call was begun")

    monkeypatch.setattr(exhaustion, "expect_store_threads", refused)
    for name in ("get", "head", "copy", "delete", "put"):
        monkeypatch.setattr(obstore, f"{name}_async", begun)
    monkeypatch.setattr(obstore, "list", begun)
    ends = await asyncio.gather(
        store.open(key), store.has(key), store.copy(key, "copy"), store.remove(key), store.now(),
        store.say_installation(uuid4()), store.installations(), left(store), filled(store, 1),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(end) for end in ends] == [NoResourcesError] * len(ends)


async def test_a_folder_that_may_not_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lost+found, which is root's, and the folder of an upload that root has written."""
    store = FileStore(tmp_path.as_uri())
    keys = await filled(store, 3)
    (tmp_path / "lost+found").mkdir()
    closed = {"lost+found", keys[1].partition("/")[0]}
    scandir = os.scandir

    def refused(path: Path) -> Any:
        if path.name in closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)  # root may read all
    assert await left(store) == {keys[0], keys[2]}
    with pytest.raises(ServiceUnavailableError):
        [file async for file in store.each(UUID(keys[1].partition("/")[0]))]


async def test_links_and_folders_are_no_stored_files(tmp_path: Path) -> None:
    store = FileStore(tmp_path.as_uri())
    [key] = await filled(store, 1)
    within = (tmp_path / key).parent
    (within / "report-1.xlsx").symlink_to(tmp_path / key)
    (within / "report-2.xlsx").mkdir()
    (within / "source.csv#7").touch()
    assert await left(store) == {key, f"{key}#7"}
