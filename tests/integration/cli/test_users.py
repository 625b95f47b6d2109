"""Passwords need not be on a command line, where every local user can read them."""

from __future__ import annotations

import asyncio
import csv
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from rollbook.accounts import links as accounts_links
from rollbook.accounts import users
from rollbook.cli import users as cli_users
from rollbook.cli.target import Target
from rollbook.config import environment_for
from rollbook.model import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System
    from tests.command_line import CommandLine

PASSWORD = "seven quiet pelicans"


@dataclass
class UsersCommand:
    """`rollbook users` on the installation's machine, in this process."""

    line: CommandLine

    async def __call__(self, *arguments: str, typed: str = "", code: int = 0) -> str:
        """What the command prints, on both of its outputs; it ends with this exit code."""
        done = await asyncio.to_thread(self.line, "users", *arguments, typed=typed)
        assert done.code == code, (done.stdout, done.stderr)
        return f"{done.stderr}\n{done.stdout}"


@pytest.fixture
def users_command(rollbook: CommandLine, settings: Settings) -> UsersCommand:
    """The command for the installation of these settings."""
    rollbook.set(**environment_for(settings))
    return UsersCommand(rollbook)


async def test_a_password_is_read_from_standard_input(
    system: System, settings: Settings, users_command: UsersCommand
) -> None:
    new = ("add", "one@example.org", "--role", "super_admin")
    printed = await users_command(*new, "--ask-password", typed=f"{PASSWORD}\n")
    assert "command line" not in printed
    assert PASSWORD not in printed
    _, user = await users.sign_in(system.pool, settings, "one@example.org", PASSWORD)
    assert user.email == "one@example.org"


async def test_a_password_on_the_command_line_is_warned_about(users_command: UsersCommand) -> None:
    printed = await users_command(
        "add", "two@example.org", "--role", "super_admin", "--password", PASSWORD
    )
    assert "--ask-password" in " ".join(printed.split())


async def test_a_place_that_there_is_not_is_refused_with_the_nearest_names(
    system: System, settings: Settings, users_command: UsersCommand
) -> None:
    """Its rows would become members of a province that there is not."""
    for arguments, nearest in (
        (("province_admin", "--province", "Guateng"), "Gauteng"),
        (("municipality_admin", "--province", "GP", "--municipality", "Emfulini"), "Emfuleni"),
    ):
        printed = await users_command(
            "add", "three@example.org", "--ask-password", "--role", *arguments,
            typed=f"{PASSWORD}\n", code=2,
        )  # fmt: skip
        assert f"The nearest are {nearest}" in " ".join(printed.split())
    await users_command(
        "add", "three@example.org", "--ask-password", "--role", "province_admin",
        "--province", "gauteng", typed=f"{PASSWORD}\n",
    )  # fmt: skip
    _, user = await users.sign_in(system.pool, settings, "three@example.org", PASSWORD)
    assert user.scope == Scope("GP")


async def test_a_password_that_is_made_up_is_printed_as_json_too(
    system: System, settings: Settings, users_command: UsersCommand
) -> None:
    add = ("add", "three@example.org", "--role", "super_admin", "--json")
    made = json.loads((await users_command(*add)).splitlines()[-1])
    _, user = await users.sign_in(system.pool, settings, "three@example.org", made["password"])
    assert user.email == made["email"]


async def test_the_people_of_a_list_are_invited_and_the_links_stored_for_their_owner_only(
    system: System, settings: Settings, users_command: UsersCommand,
    make_user: Callable[..., Awaitable[User]], tmp_path: Path,
) -> None:  # fmt: skip
    await make_user()
    people, links = tmp_path / "people.csv", tmp_path / "links.csv"
    people.write_text(
        "E-mail,Name,Role,Province,Municipality\n"
        "one@example.org,=1+1,municipality_admin,GP,Emfuleni\n"
        "two@example.org,,municipality_admin,GP,Emfulini\n"
    )
    printed = await users_command("invite", "--file", str(people), code=2)
    assert "The nearest are Emfuleni" in " ".join(printed.split())
    # The process that has read the file has ended, and left nothing.
    assert await asyncio.to_thread(_names, settings.data_dir / "scratch") == []
    assert [row["email"] for row in await users.listed(system.pool)].count("one@example.org") == 0
    right = ("invite", "--file", str(people), "--only-right", "--to", str(links))
    printed = await users_command(*right)
    assert "#/link/" not in printed
    assert links.stat().st_mode & 0o777 == 0o600
    with links.open(newline="") as file:
        invited, refused = csv.DictReader(file)
    assert (invited["name"], invited["state"], refused["state"]) == ("'=1+1", "invited", "at_fault")
    token = invited["link"].rpartition("/")[2]
    await accounts_links.use(system.pool, settings, token, PASSWORD)
    _, user = await users.sign_in(system.pool, settings, "one@example.org", PASSWORD)
    assert user.scope == Scope("GP", "Emfuleni")
    # A file that is there isn't replaced, and nobody is invited.
    printed = await users_command(*right, code=1)
    assert "nobody was invited" in " ".join(printed.split())


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


PERSON = "E-mail,Role,Province,Municipality\none@example.org,municipality_admin,GP,Emfuleni\n"


@pytest.mark.parametrize("place", ["missing/links.csv", "plain/links.csv", "."])
async def test_nobody_is_invited_where_the_links_could_not_be_stored(
    system: System, users_command: UsersCommand, make_user: Callable[..., Awaitable[User]],
    tmp_path: Path, place: str,
) -> None:  # fmt: skip
    await make_user()
    people = tmp_path / "people.csv"
    people.write_text(PERSON)
    (tmp_path / "plain").write_text("no folder")
    arguments = ("invite", "--file", str(people), "--to", str(tmp_path / place))
    printed = " ".join((await users_command(*arguments, code=1)).split())
    assert "Traceback" not in printed
    assert "obody was invited" in printed
    assert [row["email"] for row in await users.listed(system.pool)].count("one@example.org") == 0


async def test_a_refused_request_leaves_no_file_for_links(
    users_command: UsersCommand, make_user: Callable[..., Awaitable[User]], tmp_path: Path
) -> None:
    await make_user()
    people, links = tmp_path / "people.csv", tmp_path / "links.csv"
    people.write_text("Name\nThandi\n")
    await users_command("invite", "--file", str(people), "--to", str(links), code=2)
    assert not links.exists()


@pytest.mark.parametrize("output", [(), ("--json",)])
def test_where_the_disk_is_full_the_links_are_printed(
    rollbook: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: tuple[str, ...]
) -> None:
    people, links = tmp_path / "people.csv", tmp_path / "links.csv"
    people.write_text(PERSON)
    row = {
        "row_number": 2, "email": "one@example.org", "name": "Zoë", "role": "municipality_admin",
        "province": "GP", "municipality": "Emfuleni", "state": "invited", "faults": [],
        "invitation": {
            "address": "/#/link/once", "expires_at": "2026-12-01T00:00:00Z", "is_mailed": False,
            "mail_error": None,
        },
    }  # fmt: skip
    data = {
        "rows": [row], "at_fault": 0, "invited": 1, "columns_not_read": [], "sheets_not_read": [],
    }  # fmt: skip

    def full(path: str, flags: int) -> int:
        """A file that is made, and a device that takes nothing of what is written."""
        os.close(os.open(path, flags, 0o600))
        return os.open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(cli_users, "_for_owner", full)
    monkeypatch.setattr(Target, "run", lambda *_, **__: (data, "1 invited."))
    done = rollbook("users", "invite", "--file", str(people), "--to", str(links), *output)
    assert done.code == 1
    assert "/#/link/once" in done.stdout
    assert "can't be written (No space left on device)" in done.stderr
    assert not links.exists()
