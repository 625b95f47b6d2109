"""The file store: one folder per upload, on a disk or in an object store, by URL.

A file appears under its key complete or not at all: an object store makes it visible at the end,
and the local store writes a temporary file and renames it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from rollbook.errors import ConfigurationError, ServiceUnavailableError, SourceGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

    from rollbook.config import Settings

#: Bytes per part of an upload to the store; two parts are sent at a time.
PART_BYTES = 5 * 1024 * 1024

#: Timeouts of a request to an object store; one request may transfer a whole file.
_TIMES: ClientConfig = {
    "connect_timeout": dt.timedelta(seconds=5),
    "read_timeout": dt.timedelta(seconds=30),
    "timeout": dt.timedelta(minutes=5),
}

_KEY = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?:source\.\w+|(?:report|refused)-[\w-]+\.\w+)"
)

#: The folder with one file per installation that uses the store, named by its id.
_INSTALLATIONS = "installations"

SOURCE_GONE = (
    "The file is no longer in the store, so it can't be processed. Please send it as a new upload."
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the store's listing."""

    key: str
    upload_id: UUID
    bytes: int
    modified_at: dt.datetime


def source_key(upload_id: UUID, kind: str) -> str:
    """The key of the file that was sent."""
    return f"{upload_id}/source.{kind}"


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


class FileStore:
    """The files of all uploads.

    Raises:
        ServiceUnavailableError: from every method, when the store doesn't answer.
    """

    def __init__(self, url: str, *, retry_s: float = 10, allow_http: bool = False) -> None:
        """Open the store.

        Args:
            url: its address.
            retry_s: seconds for which a call to an object store is retried.
            allow_http: also allow an object store without TLS.

        Raises:
            ConfigurationError: the URL is not that of a known kind of store.
        """
        self.url = url
        try:
            self._store: ObjectStore = (
                from_url(url, mkdir=True)
                if url.startswith("file:")
                else from_url(
                    url,
                    client_options={**_TIMES, "allow_http": allow_http},
                    retry_config=_retries(retry_s),
                )
            )
        except (BaseError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"ROLLBOOK_STORE_URL is not the address of a file store: {error}"
            ) from error

    @classmethod
    def of(cls, settings: Settings) -> FileStore:
        """The store of the settings."""
        return cls(
            settings.store_address,
            retry_s=settings.store_retry_s,
            allow_http=settings.store_allow_http,
        )

    async def receive(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store the chunks; when they raise, nothing is stored and the error propagates.

        Raises:
            ServiceUnavailableError: the store doesn't accept it.
        """
        try:
            await obstore.put_async(
                self._store, key, chunks, chunk_size=PART_BYTES, max_concurrency=2
            )
            if isinstance(self._store, LocalStore):
                # A 202 is a promise that must survive a power cut.
                await asyncio.to_thread(_sync_to_disk, self._path(key))
        except (BaseError, OSError) as error:
            raise ServiceUnavailableError(
                "The file store accepts no files right now, so nothing was kept. Please send the "
                "file again in a few minutes."
            ) from error

    async def open(self, key: str) -> tuple[int, AsyncIterator[bytes]]:
        """The size in bytes and the content, chunk by chunk.

        Raises:
            FileNotFoundError: there is no file of this key.
        """
        with _mapped():
            found = await obstore.get_async(self._store, key)
        return found.meta["size"], _chunks(found)

    async def has(self, key: str) -> bool:
        """Is there a file of this key?"""
        try:
            with _mapped():
                await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return False
        return True

    async def copy(self, key: str, target: str) -> None:
        """Copy a file.

        Raises:
            SourceGoneError: there is no file of this key.
        """
        try:
            with _mapped():
                await obstore.copy_async(self._store, key, target)
                if isinstance(self._store, LocalStore):
                    # A hard link, with the old time. Only young files are safe from retention until
                    # their record is written.
                    await asyncio.to_thread(os.utime, self._path(target))
                    await asyncio.to_thread(_sync_to_disk, self._path(target))
        except FileNotFoundError:
            raise SourceGoneError(SOURCE_GONE) from None

    async def remove(self, key: str) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError), _mapped():
            await obstore.delete_async(self._store, key)

    async def each(self, folder: UUID | None = None) -> AsyncIterator[Stored]:
        """List the files of all uploads, or of one.

        Files that aren't ours, such as another program's in the same bucket, are left out.
        """
        prefix = None if folder is None else f"{folder}/"
        try:
            with _mapped():
                async for batch in obstore.list(self._store, prefix, chunk_size=1000):
                    for meta in batch:
                        if found := _KEY.fullmatch(meta["path"]):
                            yield Stored(
                                meta["path"], UUID(found[1]), meta["size"], meta["last_modified"]
                            )
        except FileNotFoundError:
            return  # a folder of nothing

    async def installations(self) -> dict[UUID, dt.datetime]:
        """The installations that have registered with this store, and when they did."""
        said = {}
        try:
            with _mapped():
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
        with _mapped():
            await obstore.put_async(self._store, f"{_INSTALLATIONS}/{installation}", b"Rollbook\n")

    def fetch(self, key: str, target: Path) -> None:
        """Download a file to a local path (blocking, for the child process).

        Raises:
            SourceGoneError: nothing lies under the key.
        """
        try:
            with _mapped():
                found = obstore.get(self._store, key)
                with target.open("wb") as out:
                    for chunk in found.stream(min_chunk_size=PART_BYTES):
                        out.write(chunk)
        except FileNotFoundError:
            raise SourceGoneError(SOURCE_GONE) from None

    def put(self, key: str, source: Path) -> None:
        """Store a local file (blocking, for the child process)."""
        with _mapped():
            obstore.put(self._store, key, source)

    def discard(self, key: str) -> None:
        """Try to remove a file (blocking, for the child process).

        If that fails, it is removed later with the upload's folder.
        """
        with contextlib.suppress(FileNotFoundError, ServiceUnavailableError), _mapped():
            obstore.delete(self._store, key)

    def _path(self, key: str) -> Path:
        return Path(unquote(urlsplit(self.url).path)) / key


def _retries(retry_s: float) -> RetryConfig:
    """Short retries: with obstore's defaults a request would wait up to three minutes."""
    return {
        "max_retries": 10,
        "backoff": {"max_backoff": dt.timedelta(seconds=2)},
        "retry_timeout": dt.timedelta(seconds=retry_s),
    }


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Map the store's failures to our error; a missing file stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise ServiceUnavailableError(
            "The file store doesn't answer right now. Nothing was changed; please try again in a "
            "few minutes."
        ) from error


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
