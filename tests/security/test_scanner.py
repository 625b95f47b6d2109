"""Files before a virus scanner: a real clamd with one signature, that of the EICAR test file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends import clamd
from rollbook.config import Settings
from rollbook.errors import (
    FileNotScannedError,
    InfectedFileError,
    RollbookError,
    ServiceUnavailableError,
)
from rollbook.service.system import open_system
from tests.closing import closing, served
from tests.files import csv_file, workbook
from tests.integration.folder.watching import names, recorded, until, watching
from tests.ports import free_port
from tests.security.files import repacked
from tests.waiting import kill
from tests.waiting import until as until_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from rollbook.model import User

PROCESS = "/api/v1/bulk-upload/process"
#: In pieces, so that no scanner finds it in this file.
EICAR = b"".join(
    (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$", b"EICAR-STANDARD-", b"ANTIVIRUS-TEST-FILE!$H+H*")
)
SIGNATURE = "Test.EICAR.UNOFFICIAL"
CLEAN = csv_file(3)


@dataclass(frozen=True)
class Scanner:
    unix: str
    tcp: str


@pytest.fixture(scope="module")
def program() -> str:
    """The path of clamd: SCANNER_CLAMD, or one that is installed."""
    if named := os.environ.get("SCANNER_CLAMD"):
        assert shutil.which(named), f"SCANNER_CLAMD names {named}, and there is no such program."
        return named
    found = shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(
            "The tests of the virus scanner need clamd, and there is none. On Debian: "
            "apt-get install clamav-daemon."
        )
    return found


@pytest.fixture(scope="module")
def scanner(program: str) -> Iterator[Scanner]:
    """The scanner, in a folder of its own: a socket's path may be no longer than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="clamd-") as name:
        folder, port = Path(name), free_port()
        database = folder / "database"
        database.mkdir()
        (database / "test.ndb").write_text(f"Test.EICAR:0:*:{EICAR.hex()}\n")
        (folder / "clamd.conf").write_text(
            f"DatabaseDirectory {database}\nLocalSocket {folder}/socket\n"
            f"TCPAddr 127.0.0.1\nTCPSocket {port}\nTemporaryDirectory {folder}\n"
            "Foreground yes\nMaxThreads 2\nStreamMaxLength 2M\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, f"--config-file={folder}/clamd.conf"], stdout=log, stderr=log
            )
        try:
            started = Scanner(f"unix://{folder}/socket", f"tcp://127.0.0.1:{port}")
            until_now(
                lambda: process.poll() is not None or _answers(started),
                f"clamd answers; it said: {(folder / 'log').read_text()}",
            )
            assert process.poll() is None, (folder / "log").read_text()
            yield started
        finally:
            kill(process)


def _answers(scanner: Scanner) -> bool:
    with contextlib.suppress(ServiceUnavailableError):
        for url in (scanner.unix, scanner.tcp):
            asyncio.run(clamd.ping(with_scanner(Settings(_env_file=None), url)))
        return True
    return False


def with_scanner(settings: Settings, url: str, **more: Any) -> Settings:
    return settings.model_copy(update={"clamd_url": url, **more})


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content[:40]
    yield b""
    yield content[40:]


@contextlib.asynccontextmanager
async def client_of(settings: Settings, user: User) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://test",
            headers={"Authorization": f"Bearer {issue_token(settings, user)}"},
        ) as client,
    ):
        yield client


def stored(settings: Settings) -> list[Path]:
    return [path for path in settings.data_dir.rglob("source*") if path.is_file()]


@pytest.mark.parametrize("by", ["unix", "tcp"])
async def test_a_virus_is_found_in_a_text_and_inside_a_workbook(scanner: Scanner, by: str) -> None:
    settings = with_scanner(Settings(_env_file=None), getattr(scanner, by))
    await clamd.scan(settings, in_pieces(CLEAN))
    await clamd.scan(settings, in_pieces(workbook(3)))
    for content in (EICAR, CLEAN + EICAR, repacked(add={"xl/media/image1.png": EICAR})):
        with pytest.raises(InfectedFileError, match=SIGNATURE):
            await clamd.scan(settings, in_pieces(content))


async def test_an_infected_file_is_refused_removed_and_audited(
    settings: Settings, scanner: Scanner, make_user: Callable[..., Awaitable[User]]
) -> None:
    settings = with_scanner(settings, scanner.unix)
    async with client_of(settings, await make_user()) as client:
        clean = await client.post(PROCESS, files={"file": ("clean.csv", CLEAN)})
        assert clean.status_code == 202
        assert len(stored(settings)) == 1
        answer = await client.post(PROCESS, files={"file": ("bad.csv", CLEAN + EICAR)})
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:rollbook:problem:infected_file"
        assert f"found {SIGNATURE} in the file, so nothing was kept" in answer.json()["message"]
        assert len(stored(settings)) == 1
        assert len(recorded(settings)) == 1
        entries = (await client.get("/api/v1/bulk-upload/audit")).json()["data"]["items"]
        assert (entries[0]["act"], entries[0]["code"]) == ("upload", "infected_file")
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["scanner"] == "ok"


async def test_without_a_scanner_that_answers_nothing_is_taken_in(
    settings: Settings, tmp_path: Path, make_user: Callable[..., Awaitable[User]]
) -> None:
    settings = with_scanner(settings, f"unix://{tmp_path}/nothing-listens-here")
    async with client_of(settings, await make_user()) as client:
        answer = await client.post(PROCESS, files={"file": ("clean.csv", CLEAN)})
        assert answer.status_code == 503
        assert "virus scanner doesn't answer" in answer.json()["message"]
        assert "Nothing was kept" in answer.json()["message"]
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["scanner"] == "not reachable"
    assert stored(settings) == []
    assert recorded(settings) == []


@pytest.mark.parametrize(
    "reply",
    [b"", b"stream: Can't allocate memory ERROR\0", b"stream: OK", b"UNKNOWN COMMAND\0", None],
    ids=["closes", "error", "torn", "other program", "hangs"],
)
async def test_a_scanner_that_says_neither_yes_nor_no_says_no(
    tmp_path: Path, reply: bytes | None
) -> None:
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\0\0\0\0")
            if reply is None:
                await is_over.wait()  # no bound: until the test ends
            writer.write(reply or b"")

    # Another process stands in for a failing scanner, because a real one doesn't fail on request.
    path = tmp_path / "socket"
    url = f"unix://{path}"
    settings = with_scanner(Settings(_env_file=None), url, clamd_timeout_s=0.2)
    async with served(serve, path=path):
        with pytest.raises(FileNotScannedError, match="nothing was kept"):
            await clamd.scan(settings, in_pieces(CLEAN))
        is_over.set()


async def test_a_file_that_the_scanner_finds_too_long_is_refused(scanner: Scanner) -> None:
    settings = with_scanner(Settings(_env_file=None), scanner.unix)
    with pytest.raises(RollbookError) as raised:
        await clamd.scan(settings, in_pieces(bytes(3 << 20)))
    assert raised.value.status == 503


async def test_files_of_the_watched_folder_wait_for_the_scanner_and_the_infected_is_put_aside(
    settings: Settings, scanner: Scanner, tmp_path: Path
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "clean.csv").write_bytes(CLEAN)
    (folder / "bad.csv").write_bytes(CLEAN + EICAR)
    changes = {
        "watch_dir": folder, "watch_still_s": 0.05, "watch_sweep_s": 0.1, "watch_events": False,
    }  # fmt: skip
    place = tmp_path / "socket"
    settings = with_scanner(settings.model_copy(update=changes), f"unix://{place}")
    async with open_system(settings) as system, watching(system) as watcher:
        await until(lambda: "virus scanner" in (watcher._problem or ""))
        assert recorded(settings) == []
        assert names(folder, "failed") == []
        # The scanner comes.
        place.symlink_to(scanner.unix.removeprefix("unix://"))
        await until(lambda: (watcher.taken, watcher.refused) == (1, 1))
    assert names(folder, "processed") == ["clean.csv"]
    assert names(folder, "failed") == ["bad.csv", "bad.csv.error.txt"]
    reason = next((folder / "failed").glob("*.error.txt")).read_text()
    assert SIGNATURE in reason
    assert [upload["file_name"] for upload in recorded(settings)] == ["clean.csv"]
    # The one that was taken may be in the store still; nothing of the other is.
    assert all(EICAR not in path.read_bytes() for path in stored(settings))


async def test_a_file_that_cant_be_looked_at_holds_up_no_other_in_the_folder(
    settings: Settings, scanner: Scanner, tmp_path: Path
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "a long one.csv").write_bytes(CLEAN + b"\n" + b" " * (3 << 20))
    (folder / "clean.csv").write_bytes(CLEAN)
    os.utime(folder / "a long one.csv", (0, 0))
    changes = {
        "watch_dir": folder, "watch_still_s": 0.05, "watch_sweep_s": 0.1, "watch_events": False,
    }  # fmt: skip
    settings = with_scanner(settings.model_copy(update=changes), scanner.unix)
    async with open_system(settings) as system, watching(system) as watcher:
        await until(lambda: watcher.taken == 1)
        assert "couldn't look at it" in (watcher._problem or "")
    assert names(folder, "processed") == ["clean.csv"]
    assert names(folder, "failed") == []


@pytest.mark.parametrize(
    "url", ["unix:relative", "unix://host/path", "tcp://", "tcp://h:x", "http://h", "/run/clamd"]
)
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="clamd_url"):
        Settings(_env_file=None, clamd_url=url)
    assert Settings(_env_file=None, clamd_url="tcp://[::1]").clamd_url == "tcp://[::1]"
