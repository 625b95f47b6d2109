"""Passwords need not be on a command line, where every local user can read them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from rollbook.accounts import users
from rollbook.config import environment_for

if TYPE_CHECKING:
    from rollbook.config import Settings
    from rollbook.service.system import System

PASSWORD = "seven quiet pelicans"


def users_command(settings: Settings, *arguments: str, typed: str = "") -> str:
    """What the command prints, on both of its outputs."""
    done = subprocess.run(
        [sys.executable, "-m", "rollbook", "users", *arguments],
        env=environment_for(settings), input=typed, text=True, timeout=60, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


async def test_a_password_is_read_from_standard_input(system: System, settings: Settings) -> None:
    new = ("add", "one@example.org", "--role", "super_admin")
    printed = users_command(settings, *new, "--ask-password", typed=f"{PASSWORD}\n")
    assert "command line" not in printed
    assert PASSWORD not in printed
    _, user = await users.sign_in(system.pool, settings, "one@example.org", PASSWORD)
    assert user.email == "one@example.org"


async def test_a_password_on_the_command_line_is_warned_about(settings: Settings) -> None:
    printed = users_command(
        settings, "add", "two@example.org", "--role", "super_admin", "--password", PASSWORD
    )
    assert "--ask-password" in " ".join(printed.split())
