"""What the file store is opened with, and what child processes do with it, by calls that block.

``files`` has the rest, for the event loop.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from rollbook.backends import exhaustion
from rollbook.backends.file_errors import mapped
from rollbook.backends.stored import Disk
from rollbook.errors import (
    ConfigurationError,
    ServiceUnavailableError,
    SourceGoneError,
    WrongStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

    from rollbook.config import Settings

os.environ.setdefault(*exhaustion.STORE_THREADS)  # read with the first call of obstore

#: Bytes per part of an upload to the store; two parts are sent at a time.
PART_BYTES = 5 * 1024 * 1024

#: Timeouts of a request to an object store; one request may transfer a whole file.
_TIMES: ClientConfig = {
    "connect_timeout": dt.timedelta(seconds=5),
    "read_timeout": dt.timedelta(seconds=30),
    "timeout": dt.timedelta(minutes=5),
}

#: The folder with one file per installation that uses the store, named by its id.
INSTALLATIONS = "installations"

SOURCE_GONE = (
    "The file is no longer in the store, so it can't be processed. Please send it as a new upload."
)


def folder_of(url: str) -> Path | None:
    """The folder of a store on a disk or a share; None is an object store.

    Raises:
        ValueError: it is the address of no folder of this machine.
    """
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    is_here = parts.netloc in {"", "localhost"} and parts.path.startswith("/")
    if not is_here or parts.query or parts.fragment:
        raise ValueError(f"{url} names no folder of this machine")
    return Path(unquote(parts.path))


class BlockingStore:
    """The files of all uploads.

    Raises:
        ServiceUnavailableError: from every method, when the store doesn't answer.
    """

    def __init__(
        self,
        url: str,
        *,
        retry_s: float = 10,
        answer_s: float = 60,
        allow_http: bool = False,
        make: bool = True,
    ) -> None:
        """Open the store.

        A call to an object store is tried again for ``retry_s`` seconds. A step of a method for the
        event loop gets ``answer_s`` seconds: a share may hang. ``make`` makes the folder of a local
        store: where a mount is expected, a folder that is made would hide that it is missing, and
        the first step that needs it looks for it, in its time.

        Raises:
            ConfigurationError: the URL is not that of a known kind of store.
        """
        self.url = url
        self._answer_s = answer_s
        self._disk: Disk | None = None
        #: The installation whose store it was shown to be.
        self._installation: UUID | None = None
        self._opened: ObjectStore | None = None
        try:
            folder = folder_of(url)
            if folder is not None:
                self._disk = Disk(folder)
                if make:
                    folder.mkdir(parents=True, exist_ok=True)
                    self._opened = from_url(url)
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
    def of(cls, settings: Settings) -> Self:
        """The store that the settings name; the default one, in the data folder, is made."""
        return cls(
            settings.store_address,
            retry_s=settings.store_retry_s,
            answer_s=settings.store_answer_s,
            allow_http=settings.store_allow_http,
            make=settings.is_default_store,
        )

    def _open(self) -> ObjectStore:
        """The store, opened (blocking, where its folder isn't known to be there).

        Raises:
            WrongStoreError: its folder isn't there.
        """
        if self._opened is not None:
            return self._opened
        with mapped():
            is_there = self._disk is not None and self._disk.is_there()
            store = from_url(self.url) if is_there else None
        if store is None:
            raise self._not_there()
        self._opened = store
        return store

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
            if self._disk is not None:
                raise  # what was to be written isn't there
            raise self._not_there() from error

    def _check_mount(self) -> None:
        """Is the folder still the one that was shown to be ours? A mount may have gone.

        Raises:
            WrongStoreError: it isn't; a write would go to the folder below the mount.
        """
        if self._disk is None or self._installation is None:
            return
        with mapped():
            if self._disk.has(mark_key(self._installation)):
                return
        raise self._not_there()

    # --- of the child process

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
                for chunk in obstore.get(self._open(), key).stream(min_chunk_size=PART_BYTES):
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
            put = obstore.put(self._open(), key, source)
            if self._disk is not None:
                self._disk.sync(key)
        return put["version"] not in {None, "null"}  # the latter where versioning is suspended

    def keys(self, folder: UUID) -> list[str]:
        """The keys of a folder's files (blocking, for the child process).

        Raises:
            WrongStoreError: the store's folder has gone, with its mount.
        """
        self._check_mount()
        try:
            with mapped():
                listed = obstore.list(self._open(), f"{folder}/")
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
            obstore.delete(self._open(), key)

    def discard(self, key: str) -> None:
        """Try to remove a file (blocking, for the child process).

        If that fails, it is removed later with the upload's folder.
        """
        with contextlib.suppress(ServiceUnavailableError):
            self.delete(key)


def mark_key(installation: UUID) -> str:
    """The key of the file that says that an installation uses the store."""
    return f"{INSTALLATIONS}/{installation}"


def _retries(retry_s: float) -> RetryConfig:
    """Short retries: with obstore's defaults a request would wait up to three minutes."""
    return {
        "max_retries": 10,
        "backoff": {"max_backoff": dt.timedelta(seconds=2)},
        "retry_timeout": dt.timedelta(seconds=retry_s),
    }
