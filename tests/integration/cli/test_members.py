"""`rollbook members`: what an office knows of its members, at a terminal."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rollbook.backends.database import connect
from rollbook.backends.files import FileStore
from rollbook.cli.failures import ExitCode
from rollbook.members import export, index
from tests.files import csv_file, id_number, member
from tests.integration.members.clients import made
from tests.pipeline_run import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import Progress
    from rollbook.service.system import System
    from tests.integration.cli.conftest import Terminal

PEOPLE = [
    member(1, Firstname="Zoe", Surname="Muller"),
    member(2, Firstname="Sipho", Surname="[bold]Nkosi"),
    member(3, Firstname="Thandi", Surname="Cele", Province="KwaZulu-Natal",
           Municipality="eThekwini", Ward="59500001"),
]  # fmt: skip


@pytest.fixture
async def office(
    terminal: Terminal, system: System, settings: Settings, database_url: str
) -> Terminal:
    """A terminal that is signed in where there are three members."""
    settings.data_dir.mkdir(exist_ok=True)
    with open_site(database_url, settings.data_dir) as opened:
        opened.send(csv_file(PEOPLE), "people.csv")
    await index.run_once(system)
    terminal.sign_in()
    return terminal


async def test_members_are_found_and_shown_with_masked_id_numbers(office: Terminal) -> None:
    done = await office("members", "search")
    assert done.code == 0, done.stderr
    assert "[bold]Nkosi" in done.stdout
    assert "3 members" in done.stderr
    assert not any(id_number(number) in done.stdout for number in (1, 2, 3))
    done = await office("members", "search", "sipho", "--json")
    [one] = json.loads(done.stdout)["items"]
    done = await office("members", "show", one["member_id"])
    assert "[bold]Nkosi" in done.stdout
    assert " SAST" in done.stdout
    assert "UTC" not in done.stdout
    done = await office("members", "search", "--province", "KZN", "--json")
    assert [one["surname"] for one in json.loads(done.stdout)["items"]] == ["Cele"]
    unknown = "00000000-0000-4000-8000-000000000000"
    assert (await office("members", "show", unknown)).code == ExitCode.NOT_FOUND


async def test_an_id_number_is_read_from_standard_input(office: Terminal) -> None:
    search = ("members", "search", "--id-number", "--json")
    done = await office(*search, typed=f"{id_number(1)}\n")
    assert [one["surname"] for one in json.loads(done.stdout)["items"]] == ["Muller"]
    assert id_number(1) not in done.stdout
    assert (await office(*search, typed="12\n")).code == ExitCode.WRONG
    done = await office("members", "search", id_number(1))
    assert done.code == ExitCode.WRONG
    assert id_number(1) not in done.stderr


async def test_a_passport_number_is_read_in_the_same_way(
    office: Terminal, database_url: str, settings: Settings, system: System
) -> None:
    rows = "Passport Number,Passport Country,Firstname,Surname\nFN 123456,Zimbabwe,Tendai,Moyo\n"
    with closing(connect(database_url)) as connection:
        user = connection.execute("SELECT id FROM users WHERE email = 'office@example.org'")
        [owner] = user.fetchall()
        store = FileStore((settings.data_dir / "store").as_uri())
        site = Site(connection, store, settings.data_dir, owner["id"], settings)
        site.send(rows.encode(), "passports.csv", accepts_passports=True)
    await index.run_once(system)
    search = ("members", "search", "--passport", "--json")
    done = await office(*search, typed="fn123456\n")
    assert [one["surname"] for one in json.loads(done.stdout)["items"]] == ["Moyo"]
    assert "FN123456" not in done.stdout
    assert (await office(*search, typed="12\n")).code == ExitCode.WRONG
    both = await office("members", "search", "--passport", "--id-number", typed="x\n")
    assert both.code == ExitCode.WRONG


@asynccontextmanager
async def a_worker(
    system: System, settings: Settings, fault: Exception | None = None
) -> AsyncIterator[None]:
    """A worker that makes files of members, but for its child process."""
    stop = asyncio.Event()

    async def make(file_id: UUID, attempt: int, learn: Callable[[Progress], None]) -> None:
        del learn
        if fault is not None:
            raise fault
        await made(system, settings, str(file_id), attempt)

    making = asyncio.create_task(export.make_due(system, make, stop))
    try:
        yield
    finally:
        stop.set()
        await making


async def test_an_export_is_made_waited_for_and_stored_for_its_user_only(
    office: Terminal, system: System, settings: Settings
) -> None:
    async with a_worker(system, settings):
        done = await office("members", "export", "--province", "KZN", "--format", "csv", "--json")
        assert done.code == 0, done.stderr
        said = json.loads(done.stdout)
        content, mode = _stored(said["file"])
        text = content.decode("utf-8-sig")
        assert [id_number(number) in text for number in (1, 2, 3)] == [False, False, True]
        assert mode == 0o600
        assert (said["rows_done"], said["bytes"]) == (1, len(content))
        # One ID number is asked for as in a search, and what is there is not replaced.
        export_one = ("members", "export", "--id-number", "--format", "csv", "--to", "one.csv")
        done = await office(*export_one, typed=f"{id_number(1)}\n")
        assert (done.code, done.stdout) == (0, "one.csv\n")
        assert "1 member." in done.stderr
        assert id_number(1).encode() in _stored("one.csv")[0]
        requests = await _files(system)
        assert (await office(*export_one, typed=f"{id_number(2)}\n")).code == ExitCode.FAILED
        assert await _files(system) == requests


async def test_a_person_s_file_is_stored(
    office: Terminal, system: System, settings: Settings
) -> None:
    found = await office("members", "search", "sipho", "--json")
    [one] = json.loads(found.stdout)["items"]
    async with a_worker(system, settings):
        to = ("--format", "json", "--to", "person.json")
        done = await office("members", "access", one["member_id"], *to)
    assert done.code == 0, done.stderr
    assert id_number(2).encode() in _stored("person.json")[0]
    unknown = "00000000-0000-4000-8000-000000000000"
    assert (await office("members", "access", unknown)).code == ExitCode.NOT_FOUND


async def test_a_file_that_was_not_waited_for_is_downloaded_later(
    office: Terminal, system: System, settings: Settings
) -> None:
    done = await office("members", "export", "--timeout", "0")
    assert done.code == ExitCode.TIMED_OUT
    again = done.stderr.partition("`rollbook ")[2].partition("`")[0].split()
    assert again[:2] == ["members", "download"]
    async with a_worker(system, settings):
        done = await office(*again, "--to", "later.xlsx")
    assert done.code == 0, done.stderr
    assert _stored("later.xlsx")[0].startswith(b"PK")


async def test_a_file_that_can_t_be_made_ends_the_command_with_the_reason(
    office: Terminal, system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TRIES", 1)
    async with a_worker(system, settings, ValueError("a cell")):
        done = await office("members", "export", "--to", "none.xlsx")
    assert done.code == ExitCode.FAILED
    assert "failed unexpectedly" in done.stderr
    with pytest.raises(FileNotFoundError):
        _stored("none.xlsx")


def _stored(name: str) -> tuple[bytes, int]:
    """The content of a file in the terminal's folder, and who may read it."""
    return Path(name).read_bytes(), Path(name).stat().st_mode & 0o777


async def _files(system: System) -> int:
    async with system.pool.connection() as connection:
        rows = await connection.execute("SELECT id FROM member_files")
        return rows.rowcount
