"""The file store: one folder per upload, on a disk or in an object store, by URL.

A file appears under its key complete or not at all: an object store makes it visible at the end,
and the local store writes a temporary file and renames it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import re
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from rollbook.backends import exhaustion, stored
from rollbook.backends.file_errors import Done, done_of, mapped, unavailable
from rollbook.backends.stored import ID, KEY, Stored
from rollbook.errors import (
    ConfigurationError,
    NoResourcesError,
    ServiceUnavailableError,
    SourceGoneError,
    WrongStoreError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

    from rollbook.config import Settings

os.environ.setdefault(*exhaustion.STORE_THREADS)  # read with the first call of obstore

#: Bytes per part of an upload to the store; two parts are sent at a time.
PART_BYTES = 5 * 1024 * 1024

#: Files of which several are removed at a time: by calls to an object store beside one another, and
#: in a folder by parts, each in a thread: one after another, a busy disk takes twice as long.
CALLS_AT_A_TIME = 10
FILES_AT_A_TIME = 100
PART = 25

#: Seconds that the store gets to say whether it has a file.
ANSWER_S = 60.0
#: Timeouts of a request to an object store; one request may transfer a whole file.
_TIMES: ClientConfig = {
    "connect_timeout": dt.timedelta(seconds=5),
    "read_timeout": dt.timedelta(seconds=30),
    "timeout": dt.timedelta(minutes=5),
}

#: The folder with one file per installation that uses the store, named by its id.
_INSTALLATIONS = "installations"
#: A file that is written to learn the time of the store's clock.
_CLOCK = f"{_INSTALLATIONS}/clock"

SOURCE_GONE = (
    "The file is no longer in the store, so it can't be processed. Please send it as a new upload."
)


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


class FileStore:
    """The files of all uploads.

    Raises:
        ServiceUnavailableError: from every method, when the store doesn't answer.
    """

    def __init__(
        self, url: str, *, retry_s: float = 10, allow_http: bool = False, make: bool = True
    ) -> None:
        """Open the store.

        A call to an object store is tried again for ``retry_s`` seconds. ``make`` makes the folder
        of a local store: where a mount is expected, a folder that is made would hide that it is
        missing.

        Raises:
            ConfigurationError: the URL is not that of a known kind of store.
        """
        self.url = url
        self._root = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None
        #: The installation whose store it was shown to be.
        self._installation: UUID | None = None
        try:
            if self._root is not None:
                if make:
                    self._root.mkdir(parents=True, exist_ok=True)
                # obstore makes no folder of a store that isn't there, and opens none.
                self._opened = from_url(url) if self._root.is_dir() else None
            else:
                self._opened = from_url(
                    url,
                    client_options={**_TIMES, "allow_http": allow_http},
                    retry_config=_retries(retry_s),
                )
        except (BaseError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"ROLLBOOK_STORE_URL is not the address of a file store: {error}. Write it as "
                "file:///srv/rollbook/store or s3://bucket/folder."
            ) from error

    @classmethod
    def of(cls, settings: Settings) -> FileStore:
        """The store that the settings name; the default one, in the data folder, is made."""
        return cls(
            settings.store_address,
            retry_s=settings.store_retry_s,
            allow_http=settings.store_allow_http,
            make=settings.is_default_store,
        )

    @property
    def _store(self) -> ObjectStore:
        """The store, opened.

        Raises:
            WrongStoreError: its folder isn't there.
        """
        if self._opened is None:
            with mapped():
                if self._root is None or not self._root.is_dir():
                    raise self._not_there()
                self._opened = from_url(self.url)
        return self._opened

    def _not_there(self) -> WrongStoreError:
        return WrongStoreError(
            f"The file store ({self.url}) is not there, or is not this installation's. Is it "
            "mounted? Nothing was changed; work resumes automatically when it is there. The folder "
            "of a new store is made by hand, once."
        )

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        """Turn a write that finds nothing to write to into our error: there is no such bucket."""
        try:
            yield
        except FileNotFoundError as error:
            if self._root is not None:
                raise  # what was to be written isn't there
            raise self._not_there() from error

    def _check_mount(self) -> None:
        """Is the folder still the one that was shown to be ours? A mount may have gone.

        Raises:
            WrongStoreError: it isn't; a write would go to the folder below the mount.
        """
        if self._root is None or self._installation is None:
            return
        if not (self._root / _INSTALLATIONS / str(self._installation)).exists():
            raise self._not_there()

    async def receive(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store the chunks; when they raise, nothing is stored and the error propagates.

        Raises:
            ServiceUnavailableError: the store doesn't accept it, or there is no thread for it.
        """
        self._check_mount()
        exhaustion.expect_store_threads()
        try:
            await obstore.put_async(
                self._store, key, chunks, chunk_size=PART_BYTES, max_concurrency=2
            )
            if self._root is not None:
                # A 202 is a promise: it must hold after a power cut too.
                await asyncio.to_thread(_sync_to_disk, self._root / key)
        except (BaseError, OSError) as error:
            await asyncio.to_thread(self._tidy, key)
            raise unavailable(
                error,
                "The file store doesn't take files right now, so nothing was kept. Please send the "
                "file again in a few minutes.",
            ) from error
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(self._tidy, key))
            if exhaustion.is_one(error):
                raise NoResourcesError(exhaustion.SENTENCE) from error
            raise

    async def open(self, key: str) -> tuple[int, AsyncIterator[bytes]]:
        """The size in bytes and the content, chunk by chunk.

        Raises:
            FileNotFoundError: there is no file of this key.
            WrongStoreError: the store's folder has gone, with its mount.
        """
        try:
            with mapped():
                found = await obstore.get_async(self._store, key)
        except FileNotFoundError:
            self._check_mount()
            raise
        return found.meta["size"], _chunks(found)

    async def has(self, key: str) -> bool:
        """Is there a file of this key?

        Raises:
            ServiceUnavailableError: there is no answer within ``ANSWER_S`` seconds: a share hangs.
        """
        return await self._head(key) is not None

    async def _head(self, key: str) -> ObjectMeta | None:
        try:
            with mapped():
                async with asyncio.timeout(ANSWER_S):
                    return await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None

    async def copy(self, key: str, target: str) -> None:
        """Copy a file.

        Raises:
            SourceGoneError: there is no file of this key.
        """
        self._check_mount()
        try:
            with mapped():
                await obstore.copy_async(self._store, key, target)
                if self._root is not None:
                    # Its copy is a second name of the same file, and as old: young files are safe
                    # from retention until their record is written.
                    await asyncio.to_thread(os.utime, self._root / target)
                    await asyncio.to_thread(_sync_to_disk, self._root / target)
        except FileNotFoundError:
            raise SourceGoneError(SOURCE_GONE) from None

    async def remove(self, key: str) -> None:
        """Remove a file, and its folder when it is the last; one that is gone already is fine.

        Raises:
            WrongStoreError: the store's folder has gone, with its mount.
        """
        self._check_mount()
        try:
            with mapped():
                if self._root is None:
                    await obstore.delete_async(self._store, key)
                else:
                    await asyncio.to_thread(self._unlink, key)
        except FileNotFoundError:
            self._check_mount()

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
        return self._several(keys, self._unlink, partial(self._delete, sizes or {}))

    def sizes(self, keys: Iterable[str]) -> AsyncIterator[Done]:
        """The size of each file; raises what ``remove_all`` does."""
        return self._several(keys, self._size, self._ask_size)

    async def _several(
        self,
        keys: Iterable[str],
        on_disk: Callable[[str], int],
        by_call: Callable[[str], Awaitable[int]],
    ) -> AsyncIterator[Done]:
        """Do something to each file, several at a time, and yield what came of it.

        After a failure, the store is asked whether it is there at all.
        """
        left = iter(keys)

        def in_turn(some: list[str]) -> list[int | BaseException]:
            return [_end_of(on_disk, key) for key in some]

        while some := list(
            islice(left, CALLS_AT_A_TIME if self._root is None else FILES_AT_A_TIME)
        ):
            self._check_mount()
            if self._root is None:
                ends = await asyncio.gather(*map(by_call, some), return_exceptions=True)
            else:
                parts = [some[first : first + PART] for first in range(0, len(some), PART)]
                threads = (asyncio.to_thread(in_turn, part) for part in parts)
                ends = [end for part in await asyncio.gather(*threads) for end in part]
            has_failed = False
            for key, end in zip(some, ends, strict=True):
                if isinstance(end, FileNotFoundError):
                    self._check_mount()
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
        await obstore.delete_async(self._store, key)
        return size

    async def remove_empty(self, before: dt.datetime) -> int:
        """Remove the folders of uploads that have been empty since before a moment.

        Returns:
            How many there were.
        """
        if self._root is None:
            return 0
        with mapped():
            return await asyncio.to_thread(stored.remove_empty, self._root, before)

    async def each(self, folder: UUID | None = None) -> AsyncIterator[Stored]:
        """List the files of all uploads, or of one.

        Files that aren't ours, such as another program's in the same bucket, are left out.
        """
        try:
            with mapped():
                if self._root is not None:
                    found = stored.files_of(self._root, folder)
                    while some := await asyncio.to_thread(lambda: [*islice(found, 1000)]):
                        for file in some:
                            yield file
                    return
                prefix = None if folder is None else f"{folder}/"
                async for batch in obstore.list(self._store, prefix, chunk_size=1000):
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
            with mapped():
                async for batch in obstore.list(self._store, f"{_INSTALLATIONS}/"):
                    for meta in batch:
                        with contextlib.suppress(ValueError):  # somebody else's
                            name = UUID(meta["path"].rpartition("/")[2])
                            said[name] = meta["last_modified"]
        except FileNotFoundError:
            pass  # a folder of nothing
        return said

    async def say_installation(self, installation: UUID) -> None:
        """Register an installation as a user of this store."""
        with self._there(), mapped():
            await obstore.put_async(self._store, _mark(installation), b"Rollbook\n")

    async def now(self) -> dt.datetime:
        """The moment at which the store says that a file written now was modified."""
        with self._there(), mapped():
            await obstore.put_async(self._store, _CLOCK, b"Rollbook\n")
            moment: dt.datetime = (await obstore.head_async(self._store, _CLOCK))["last_modified"]
        return moment

    async def is_of(self, installation: UUID) -> bool:
        """Has this installation said that it uses this store? See ``service.store_proof``."""
        return await self.has(_mark(installation))

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

    def fetch(self, key: str, target: Path) -> str:
        """Download a file to a local path (blocking, for the child process).

        Returns:
            The SHA-256 of what was written, in hexadecimal.

        Raises:
            SourceGoneError: there is no file of this key.
            WrongStoreError: the store's folder has gone, with its mount.
            OSError: the target can't be written.
        """
        digest = hashlib.sha256()
        # A target that can't be written says nothing about the store.
        with target.open("wb") as out:
            for chunk in self._content(key):
                digest.update(chunk)
                out.write(chunk)
        return digest.hexdigest()

    def _content(self, key: str) -> Iterator[bytes]:
        """The chunks of a file; raises what ``fetch`` does of the store."""
        try:
            with mapped():
                for chunk in obstore.get(self._store, key).stream(min_chunk_size=PART_BYTES):
                    yield bytes(chunk)
        except FileNotFoundError:
            self._check_mount()
            raise SourceGoneError(SOURCE_GONE) from None

    def put(self, key: str, source: Path) -> bool:
        """Store a local file (blocking: for the child process).

        It is on the disk before this returns: the record that names it is committed afterwards, and
        what it was made from is removed then.

        Returns:
            Whether the store gave it a version, so that it stays there when it is removed.

        Raises:
            WrongStoreError: the bucket isn't there.
        """
        self._check_mount()
        with self._there(), mapped():
            put = obstore.put(self._store, key, source)
            if self._root is not None:
                _sync_to_disk(self._root / key)
        return put["version"] not in {None, "null"}  # the latter where versioning is suspended

    def keys(self, folder: UUID) -> list[str]:
        """The keys of a folder's files (blocking, for the child process).

        Raises:
            WrongStoreError: the store's folder has gone, with its mount.
        """
        self._check_mount()
        try:
            with mapped():
                listed = obstore.list(self._store, f"{folder}/")
                return [meta["path"] for batch in listed for meta in batch]
        except FileNotFoundError:
            return []

    def delete(self, key: str) -> None:
        """Remove a file (blocking, for the child process); one that is gone already is fine.

        Raises:
            WrongStoreError: the store's folder has gone, with its mount.
        """
        self._check_mount()
        with contextlib.suppress(FileNotFoundError), mapped():
            obstore.delete(self._store, key)

    def discard(self, key: str) -> None:
        """Try to remove a file (blocking, for the child process).

        If that fails, it is removed later with the upload's folder.
        """
        with contextlib.suppress(ServiceUnavailableError):
            self.delete(key)

    # --- a local store's folders, which hold more than it lists ----------------------------------

    def _tidy(self, key: str) -> None:
        """Remove what a write that failed has left."""
        if self._root is None:
            return
        path = self._root / key
        with contextlib.suppress(OSError):
            for left in path.parent.glob(f"{path.name}*"):
                left.unlink(missing_ok=True)
        self._remove_if_empty(path.parent.name)

    def _size(self, key: str) -> int:
        assert self._root is not None
        return (self._root / key).stat().st_size

    def _unlink(self, key: str) -> int:
        """Remove a file, and its folder when it is the last; returns its size in bytes."""
        assert self._root is not None
        try:
            size = self._size(key)
            (self._root / key).unlink()
        finally:
            self._remove_if_empty(key.partition("/")[0])
        return size

    def _remove_if_empty(self, folder: str) -> None:
        if self._root is not None and re.fullmatch(ID, folder):
            with contextlib.suppress(OSError):  # it holds something, or is gone
                (self._root / folder).rmdir()


def _end_of(work: Callable[[str], int], key: str) -> int | BaseException:
    """What came of the work on a file."""
    try:
        return work(key)
    except OSError as error:
        return error


def _mark(installation: UUID) -> str:
    return f"{_INSTALLATIONS}/{installation}"


def _retries(retry_s: float) -> RetryConfig:
    """Short retries: with obstore's defaults a request would wait up to three minutes."""
    return {
        "max_retries": 10,
        "backoff": {"max_backoff": dt.timedelta(seconds=2)},
        "retry_timeout": dt.timedelta(seconds=retry_s),
    }


async def _chunks(found: obstore.GetResult) -> AsyncIterator[bytes]:
    async for chunk in found.stream(min_chunk_size=256 * 1024):
        yield bytes(chunk)


def _sync_to_disk(path: Path) -> None:
    # The file, its name, and the name of the upload's folder.
    for place in (path, path.parent, path.parent.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
