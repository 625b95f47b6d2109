"""`rollbook members`: what an office knows of its members, at a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rollbook.cli.failures import ExitCode
from rollbook.members import index
from tests.files import csv_file, id_number, member
from tests.pipeline_run import open_site

if TYPE_CHECKING:
    from rollbook.config import Settings
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
    await terminal.sign_in()
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
