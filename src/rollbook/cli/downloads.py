"""Downloads: a file appears under its name when it is complete, and never over another."""

from __future__ import annotations

import asyncio
import email.message
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollbook.cli.connection import UnreachableError
from rollbook.cli.output import err
from rollbook.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.cli.connection import Connection

#: Tries of a download. A connection that breaks each time won't transfer the file.
TRIES = 3
LONGEST_NAME = 200

ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


async def download(
    connection: Connection, path: str, target: Path | None, *, force: bool = False
) -> Path:
    """Store a file of the server, and return its path.

    ``target`` is the file, or a folder in which it gets the server's name for it; None: this
    folder.

    Raises:
        ConflictError: there is such a file already, or it can't be written.
        UnreachableError: the connection broke each time.
    """
    for left in reversed(range(TRIES)):
        try:
            return await _once(connection, path, target, force=force)
        except UnreachableError as error:
            if not left or not connection.has_answered:
                raise
            err.print(f"[yellow]The download broke off ({error.message}); it begins again.[/]")
    raise AssertionError("the last try returns or raises")


async def _once(connection: Connection, path: str, target: Path | None, *, force: bool) -> Path:
    chosen = _chosen(target, None)
    if chosen is not None and not force:
        refuse_existing(chosen)  # before a big file is on its way
    async with connection.streamed(path) as (offered, chunks):
        chosen = chosen or _chosen(target, offered)
        assert chosen is not None
        if not force:
            refuse_existing(chosen)
        new = chosen.with_name(f".{chosen.name[:100]}.{secrets.token_hex(4)}.part")
        try:
            await _store(chunks, new)
            _put(new, chosen, force=force)
        except OSError as error:
            raise ConflictError(
                f"{chosen} can't be written ({error.strerror}). Nothing was kept there."
            ) from None
        finally:
            new.unlink(missing_ok=True)
    return chosen


async def _store(chunks: AsyncIterator[bytes], new: Path) -> None:
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)


def _chosen(target: Path | None, offered: str | None) -> Path | None:
    """The file to write; None while it depends on the server's name for it."""
    if target is not None and not target.is_dir():
        return target
    if offered is None:
        return None
    return (target or Path()) / plain_name(offered)


def plain_name(disposition: str) -> str:
    """The name in a header ``Content-Disposition``, which leads to no other folder."""
    message = email.message.Message()
    message["Content-Disposition"] = "".join(c if c.isprintable() else " " for c in disposition)
    offered = (message.get_filename() or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in offered if c.isprintable()).lstrip(".")
    return name[-LONGEST_NAME:] or "download"


def refuse_existing(target: Path) -> None:
    """Refuse to replace a file.

    Raises:
        ConflictError: there is one.
    """
    if target.exists() or target.is_symlink():
        raise ConflictError(
            f"There is a file {str(target)!r} already; it was not changed. Give another name, or "
            "--force to replace it."
        )


def _put(new: Path, target: Path, *, force: bool) -> None:
    """Give a complete file its name; without ``force``, never over another file."""
    if not force:
        try:
            target.hardlink_to(new)
        except FileExistsError:
            refuse_existing(target)
            raise
        except OSError:  # a file system without links
            refuse_existing(target)
        else:
            return
    new.replace(target)
