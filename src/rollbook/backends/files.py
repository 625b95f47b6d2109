"""The file store: one folder per upload, on a disk or in an object store, by URL.

A file appears under its key complete or not at all: an object store makes it visible at the end,
and the local store writes a temporary file and renames it.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Concatenate
from uuid import UUID, uuid4

import obstore
from obstore.exceptions import BaseError

from rollbook.backends import exhaustion
from rollbook.backends.calls import Calls
from rollbook.backends.file_errors import Done, done_of, mapped, unavailable
from rollbook.backends.store import INSTALLATIONS, PART_BYTES, SOURCE_GONE, BlockingStore, mark_key
from rollbook.backends.stored import KEY, Disk, Stored
from rollbook.errors import (
    NoResourcesError,
    ServiceUnavailableError,
    SourceGoneError,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
        Mapping,
    )

    from obstore import ObjectMeta
    from obstore.store import ObjectStore

    from rollbook.backends.calls import Arguments, Result

#: Files of which several are removed at a time: by calls to an object store beside one another, and
#: in a folder by parts, each in a thread: one after another, a busy disk takes twice as long.
CALLS_AT_A_TIME = 10
FILES_AT_A_TIME = 100
PART = 25
#: Files of a listing that are taken at a time.
LISTED_AT_A_TIME = 1000

#: What a store on a disk or a share does on threads.
DISK_CALLS = Calls(
    "rollbook-store",
    threads=8,
    no_answer="The file store doesn't answer within {} seconds (ROLLBOOK_STORE_ANSWER_S). Nothing "
    "was changed; please try again in a few minutes. Where it is on a share that hangs, mount it "
    "again.",
)

#: A file that is written to learn the time of the store's clock.
_CLOCK = f"{INSTALLATIONS}/clock"


def source_key(upload_id: UUID, kind: str) -> str:
    """The key of the file that was sent."""
    return f"{upload_id}/source.{kind}"


def part_key(upload_id: UUID, offset: int) -> str:
    """A new key for a part of the file that is coming in; two requests never share one."""
    return f"{upload_id}/part-{offset}-{uuid4().hex}.bin"


def report_key(upload_id: UUID, attempt: int) -> str:
    """The key of an attempt's report: a fenced attempt overwrites no other's."""
    return f"{upload_id}/report-{attempt}.xlsx"


def verified_report_key(upload_id: UUID, attempt: int) -> str:
    """The key of the report that was written again with the voter roll's answers."""
    return f"{upload_id}/report-{attempt}-verified.xlsx"


def report_tables_key(upload_id: UUID, attempt: int) -> str:
    """The key of the tables from which an attempt's report was written."""
    return f"{upload_id}/report-{attempt}.parquet"


def refused_key(upload_id: UUID, attempt: int) -> str:
    """The key of the workbook of refused rows."""
    return f"{upload_id}/refused-{attempt}.xlsx"


def members_key(file_id: UUID, kind: str, attempt: int) -> str:
    """The key of an attempt's file of members: one that lost its claim overwrites no other's.

    Its folder is no upload's, so retention would remove it after a day.
    """
    return f"{file_id}/members-file-{attempt}.{kind}"


def first_members_key(file_id: UUID, kind: str) -> str:
    """The same as earlier versions of Rollbook name it, which may work beside this one."""
    return f"{file_id}/members-file.{kind}"


def reports_lock(upload_id: UUID) -> str:
    """The name of the advisory lock that is held while an upload's reports are written again."""
    return f"reports of {upload_id}"


class FileStore(BlockingStore):
    """The files of all uploads.

    Raises:
        ServiceUnavailableError: from every method, when the store doesn't answer.
    """

    async def _store(self) -> ObjectStore:
        """The store, opened; raises what ``_open`` does."""
        if self._opened is None:
            return await self._on_thread(self._open)
        return self._opened

    async def _on_thread(
        self, step: Callable[Arguments, Result], *args: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """Do what blocks while a share hangs; raises what it does, or that there is no answer."""
        with mapped():
            return await DISK_CALLS.call(self._answer_s, step, *args, **named)

    async def _in_time(
        self,
        call: Callable[Concatenate[ObjectStore, Arguments], Awaitable[Result]],
        *args: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """The store's answer to a call, or an error where there is none in time."""
        store = await self._store()
        with mapped():
            async with asyncio.timeout(self._answer_s):
                return await call(store, *args, **named)

    async def _expect_mount(self) -> None:
        """What ``_check_mount`` does, for the event loop, which no share may hold."""
        if self._disk is not None and self._installation is not None:
            await self._on_thread(self._check_mount)

    async def receive(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store the chunks; when they raise, nothing is stored and the error propagates.

        Raises:
            ServiceUnavailableError: the store doesn't accept it, or there is no thread for it.
        """
        await self._expect_mount()
        store = await self._store()
        exhaustion.expect_store_threads()
        try:
            if self._disk is None:  # its client has timeouts of its own
                await _put(store, key, chunks)
            else:
                async with asyncio.timeout(self._answer_s) as bound:
                    await _put(store, key, _timed(chunks, bound, self._answer_s))
                # A 202 is a promise: it must hold after a power cut too.
                await self._on_thread(self._disk.sync, key)
        except (BaseError, OSError) as error:
            # What hangs would let its tidying hang too: retention removes what is left.
            if not isinstance(error, TimeoutError):
                await self._tidy(key)
            raise unavailable(
                error,
                "The file store doesn't take files right now, so nothing was kept. Please send the "
                "file again in a few minutes.",
            ) from error
        except BaseException as error:
            await asyncio.shield(self._tidy(key))
            if exhaustion.is_one(error):
                raise NoResourcesError(exhaustion.SENTENCE) from error
            raise

    async def _tidy(self, key: str) -> None:
        """Remove what a write that failed has left; where that fails too, retention does."""
        if self._disk is not None:
            with contextlib.suppress(ServiceUnavailableError):
                await self._on_thread(self._disk.tidy, key)

    async def open(self, key: str) -> tuple[int, AsyncIterator[bytes]]:
        """The size in bytes and the content, chunk by chunk.

        Raises:
            FileNotFoundError: there is no file of this key.
            WrongStoreError: the store's folder has gone, with its mount.
            BaseError, TimeoutError: while the content is read, of which a part has been sent.
        """
        try:
            found = await self._in_time(obstore.get_async, key)
        except FileNotFoundError:
            await self._expect_mount()
            raise
        parts = self._each(found.stream(min_chunk_size=256 * 1024))
        return found.meta["size"], (bytes(part) async for part in parts)

    async def _each(self, answers: AsyncIterable[Result]) -> AsyncIterator[Result]:
        """Each answer of several; a TimeoutError where one doesn't come in time."""
        waiting = aiter(answers)
        while True:
            try:
                async with asyncio.timeout(self._answer_s):
                    answer = await anext(waiting)
            except StopAsyncIteration:
                return
            yield answer

    async def has(self, key: str) -> bool:
        """Is there a file of this key?

        Raises:
            ServiceUnavailableError: there is no answer in time: a share hangs.
        """
        return await self._head(key) is not None

    async def _head(self, key: str) -> ObjectMeta | None:
        try:
            return await self._in_time(obstore.head_async, key)
        except FileNotFoundError:
            return None

    async def copy(self, key: str, target: str) -> None:
        """Copy a file.

        Raises:
            SourceGoneError: there is no file of this key.
        """
        await self._expect_mount()
        try:
            if self._disk is None:  # a large one takes time, and the client has timeouts of its own
                with mapped():
                    await obstore.copy_async(await self._store(), key, target)
            else:
                await self._in_time(obstore.copy_async, key, target)
                await self._on_thread(self._disk.renew, target)
        except FileNotFoundError:
            raise SourceGoneError(SOURCE_GONE) from None

    async def remove(self, key: str) -> None:
        """Remove a file, and its folder when it is the last; one that is gone already is fine.

        Raises:
            WrongStoreError: the store's folder has gone, with its mount.
        """
        await self._expect_mount()
        try:
            if self._disk is None:
                await self._in_time(obstore.delete_async, key)
            else:
                await self._on_thread(self._disk.unlink, key)
        except FileNotFoundError:
            await self._expect_mount()

    def remove_all(
        self, keys: Iterable[str], sizes: Mapping[str, int] | None = None
    ) -> AsyncIterator[Done]:
        """Remove files as ``remove`` does, several at a time.

        One that can't be removed doesn't keep the others from being removed. ``sizes`` are in bytes
        and from a listing: a bucket isn't asked for them again.

        Raises:
            ServiceUnavailableError: the store as a whole doesn't answer; no more are begun.
            WrongStoreError: the store's folder has gone, with its mount.
        """
        return self._several(keys, Disk.unlink, partial(self._delete, sizes or {}))

    def sizes(self, keys: Iterable[str]) -> AsyncIterator[Done]:
        """The size of each file; raises what ``remove_all`` does."""
        return self._several(keys, Disk.size, self._ask_size)

    async def _several(
        self,
        keys: Iterable[str],
        on_disk: Callable[[Disk, str], int],
        by_call: Callable[[str], Awaitable[int]],
    ) -> AsyncIterator[Done]:
        """Do something to each file, several at a time, and yield what came of it.

        After a failure, the store is asked whether it is there at all.
        """
        left = iter(keys)

        def in_turn(disk: Disk, some: list[str]) -> list[int | BaseException]:
            return [_end_of(on_disk, disk, key) for key in some]

        disk = self._disk
        while some := list(islice(left, CALLS_AT_A_TIME if disk is None else FILES_AT_A_TIME)):
            await self._expect_mount()
            if disk is None:
                ends = await asyncio.gather(*map(by_call, some), return_exceptions=True)
            else:
                parts = [some[first : first + PART] for first in range(0, len(some), PART)]
                threads = (self._on_thread(in_turn, disk, part) for part in parts)
                ends = [end for part in await asyncio.gather(*threads) for end in part]
            has_failed = False
            for key, end in zip(some, ends, strict=True):
                if isinstance(end, FileNotFoundError):
                    await self._expect_mount()
                yield (done := done_of(key, end))
                has_failed |= done.error is not None
            if has_failed:
                await self.check()

    async def _ask_size(self, key: str) -> int:
        found = await self._head(key)
        return 0 if found is None else found["size"]

    async def _delete(self, sizes: Mapping[str, int], key: str) -> int:
        size = sizes[key] if key in sizes else await self._ask_size(key)
        exhaustion.expect_store_threads()
        await obstore.delete_async(await self._store(), key)
        return size

    async def remove_empty(self, before: dt.datetime) -> int:
        """Remove the folders of uploads that have been empty since before a moment.

        Returns:
            How many there were.
        """
        if self._disk is None:
            return 0
        folders = self._in_parts(self._disk.remove_empty(before))
        return sum([removed async for removed in folders])

    async def _in_parts(self, steps: Iterator[Result]) -> AsyncIterator[Result]:
        """What an iterator over files of the disk yields."""
        while some := await self._on_thread(lambda: [*islice(steps, LISTED_AT_A_TIME)]):
            for step in some:
                yield step

    async def each(self, folder: UUID | None = None) -> AsyncIterator[Stored]:
        """List the files of all uploads, or of one.

        Files that aren't ours, such as another program's in the same bucket, are left out.
        """
        try:
            if self._disk is not None:
                async for file in self._in_parts(self._disk.files(folder)):
                    yield file
                return
            prefix = None if folder is None else f"{folder}/"
            store = await self._store()
            with mapped():
                listed = obstore.list(store, prefix, chunk_size=LISTED_AT_A_TIME)
                async for batch in self._each(listed):
                    for meta in batch:
                        if key := KEY.fullmatch(meta["path"]):
                            yield Stored(
                                meta["path"], UUID(key[1]), meta["size"], meta["last_modified"]
                            )
        except FileNotFoundError:
            return  # a folder of nothing

    async def installations(self) -> dict[UUID, dt.datetime]:
        """The installations that have registered with this store, and when they did."""
        said = {}
        try:
            store = await self._store()
            with mapped():
                listed = obstore.list(store, f"{INSTALLATIONS}/")
                async for batch in self._each(listed):
                    for meta in batch:
                        with contextlib.suppress(ValueError):  # somebody else's
                            name = UUID(meta["path"].rpartition("/")[2])
                            said[name] = meta["last_modified"]
        except FileNotFoundError:
            pass  # a folder of nothing
        return said

    async def say_installation(self, installation: UUID) -> None:
        """Register an installation as a user of this store."""
        with self._there():
            await self._in_time(obstore.put_async, mark_key(installation), b"Rollbook\n")

    async def now(self) -> dt.datetime:
        """The moment at which the store says that a file written now was modified."""
        with self._there():
            await self._in_time(obstore.put_async, _CLOCK, b"Rollbook\n")
            written = await self._in_time(obstore.head_async, _CLOCK)
        moment: dt.datetime = written["last_modified"]
        return moment

    async def is_of(self, installation: UUID) -> bool:
        """Has this installation said that it uses this store? See ``service.store_proof``."""
        return await self.has(mark_key(installation))

    async def check(self) -> None:
        """Return when the store answers and, once that was shown, is still the installation's.

        Raises:
            WrongStoreError: it isn't.
        """
        if self._installation is None:
            await self.has("probe")
        elif not await self.is_of(self._installation):
            raise self._not_there()

    @property
    def is_proven(self) -> bool:
        """Was it shown, some time ago, to be the installation's?"""
        return self._installation is not None

    def expect(self, installation: UUID) -> None:
        """From now on, refuse to write where this installation's mark isn't there."""
        self._installation = installation


def _end_of(work: Callable[[Disk, str], int], disk: Disk, key: str) -> int | BaseException:
    """What came of the work on a file."""
    try:
        return work(disk, key)
    except OSError as error:
        return error


async def _put(store: ObjectStore, key: str, chunks: AsyncIterator[bytes]) -> None:
    await obstore.put_async(store, key, chunks, chunk_size=PART_BYTES, max_concurrency=2)


async def _timed(
    chunks: AsyncIterator[bytes], bound: asyncio.Timeout, answer_s: float
) -> AsyncIterator[bytes]:
    """The chunks, with a bound for the store and none for who sends them."""

    def allow(seconds: float | None) -> None:
        if not bound.expired():
            now = asyncio.get_running_loop().time()
            bound.reschedule(None if seconds is None else now + seconds)

    allow(None)
    async for chunk in chunks:
        allow(answer_s)
        yield chunk
        allow(None)
    allow(answer_s)
