"""The command line in this process, and a server that it signs in to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from rollbook.accounts import users
from rollbook.model import Role, Scope
from tests.command_line import CommandLine, Done, rollbook
from tests.conftest import PASSWORD
from tests.listening import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings
    from rollbook.service.system import System

__all__ = ["rollbook"]

EMAIL = "terminal@example.org"


@dataclass
class Terminal:
    """A user at a terminal, and the address of a server."""

    line: CommandLine
    server: str

    async def __call__(self, *arguments: str, typed: str = "") -> Done:
        """Run a command beside the server, which is in the same process."""
        return await asyncio.to_thread(self.line, *arguments, typed=typed)

    async def sign_in(self) -> None:
        """Sign in with the right password."""
        done = await self("login", "--server", self.server, typed=f"{EMAIL}\n{PASSWORD}\n")
        assert done.code == 0, done.stderr


@pytest.fixture
async def site(settings: Settings, system: System) -> AsyncIterator[Site]:
    """A server with one account, an operator's."""
    await users.add(
        system.pool, email=EMAIL, password=PASSWORD, role=Role.SUPER_ADMIN, scope=Scope()
    )
    served = settings.model_copy(
        update={"port": 0, "admin_password": SecretStr(PASSWORD), "shutdown_grace_s": 0}
    )
    async with Site(served) as running:
        yield running


@pytest.fixture
def terminal(rollbook: CommandLine, site: Site) -> Terminal:
    """A terminal in an empty folder, whose user has never signed in."""
    return Terminal(rollbook, f"http://{site.host}")
