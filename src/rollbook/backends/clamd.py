"""Asking a virus scanner about a file: ``clamd`` of ClamAV, by its command INSTREAM (clamd(8)).

A file that could not be looked at is refused: a failing check is never a pass.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

from rollbook.errors import FileNotScannedError, InfectedFileError, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings

#: Where clamd listens when its address has no port.
PORT: Final = 3310
#: Seconds that it gets to say that it is there.
PING_S: Final = 3
_MOST_REPLY_BYTES: Final = 4096
_LENGTH: Final = struct.Struct("!I")
_FOUND: Final = " FOUND"

DOWN: Final = (
    "The virus scanner doesn't answer right now, and no file is taken in without it. Nothing was "
    "kept. Please send the file again in a few minutes."
)
NOT_SCANNED: Final = (
    "The virus scanner couldn't look at the file, so nothing was kept. Please send it again in a "
    "few minutes. If that doesn't help, ask the operator: the log says why."
)

log = structlog.get_logger(__name__)


async def scan(settings: Settings, chunks: AsyncIterator[bytes]) -> None:
    """Scan a file's content with the scanner of ROLLBOOK_CLAMD_URL.

    Raises:
        InfectedFileError: the scanner found something.
        FileNotScannedError: the scanner couldn't scan this file.
        ServiceUnavailableError: the scanner isn't reachable.
    """
    reader, writer = await _connected(settings)
    try:
        async with asyncio.timeout(settings.clamd_timeout_s):
            reply = await _ask(reader, writer, chunks)
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:  # TimeoutError is an OSError
        # It also closes the connection when the file exceeds its StreamMaxLength.
        log.error("virus scan aborted", error=type(error).__name__)
        raise FileNotScannedError(NOT_SCANNED) from error
    finally:
        writer.close()
    if reply == "stream: OK":
        return
    if reply.endswith(_FOUND):
        name = reply.removeprefix("stream: ").removesuffix(_FOUND)
        log.warning("virus found", signature=name)
        raise InfectedFileError(
            f"The virus scanner found {name} in the file, so nothing was kept. Don't send it to "
            "anybody else; ask the person who looks after your computer."
        )
    log.error("virus scan failed", reply=reply)
    raise FileNotScannedError(NOT_SCANNED)


async def ping(settings: Settings) -> None:
    """Check that the scanner answers.

    Raises:
        ServiceUnavailableError: it doesn't.
    """
    reader, writer = await _connected(settings)
    try:
        async with asyncio.timeout(PING_S):
            writer.write(b"zPING\0")
            if await reader.readuntil(b"\0") != b"PONG\0":
                raise ServiceUnavailableError(DOWN)
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:
        raise ServiceUnavailableError(DOWN) from error
    finally:
        writer.close()


async def _connected(settings: Settings) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert settings.clamd_url is not None
    address = urlsplit(settings.clamd_url)
    try:
        async with asyncio.timeout(PING_S):
            if address.scheme == "unix":
                return await asyncio.open_unix_connection(address.path, limit=_MOST_REPLY_BYTES)
            return await asyncio.open_connection(
                address.hostname, address.port or PORT, limit=_MOST_REPLY_BYTES
            )
    except OSError as error:
        log.error("virus scanner not reachable", error=type(error).__name__)
        raise ServiceUnavailableError(DOWN) from error


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunks: AsyncIterator[bytes]
) -> str:
    writer.write(b"zINSTREAM\0")
    async for chunk in chunks:
        if chunk:  # an empty one would be the end
            writer.writelines((_LENGTH.pack(len(chunk)), chunk))
            await writer.drain()
    writer.write(_LENGTH.pack(0))
    return (await reader.readuntil(b"\0")).rstrip(b"\0").decode(errors="replace")
