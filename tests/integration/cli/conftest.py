"""The command line in this process, and a server that it signs in to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from rollbook.accounts import users
from rollbook.cli import credentials
from rollbook.cli.credentials import SignIn
from rollbook.model import Role, Scope
from tests.command_line import CommandLine, Done, rollbook
from tests.conftest import PASSWORD
from tests.listening import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

__all__ = ["rollbook"]

EMAIL = "terminal@example.org"


@dataclass
class Terminal:
    """A user at a terminal, and the address of a server."""

    line: CommandLine
    server: str
    #: A session that has begun at the server, as `rollbook login` stores it.
    session: SignIn

    async def __call__(self, *arguments: str, typed: str = "") -> Done:
        """Run a command beside the server, which is in the same process."""
        return await asyncio.to_thread(self.line, *arguments, typed=typed)

    def sign_in(self, session: SignIn | None = None) -> None:
        """Be signed in, by default as the operator."""
        credentials.store(self.server, session or self.session)


@pytest.fixture
async def operator(system: System) -> User:
    """The one account, an operator's."""
    return await users.add(
        system.pool, email=EMAIL, password=PASSWORD, role=Role.SUPER_ADMIN, scope=Scope()
    )


@pytest.fixture
async def site(settings: Settings, operator: User) -> AsyncIterator[Site]:
    """A server with one account."""
    del operator
    served = settings.model_copy(
        update={"port": 0, "admin_password": SecretStr(PASSWORD), "shutdown_grace_s": 0}
    )
    async with Site(served) as running:
        yield running


@pytest.fixture
def terminal(rollbook: CommandLine, site: Site, operator: User, settings: Settings) -> Terminal:
    """A terminal in an empty folder, whose user has never signed in."""
    token = users.issue_token(settings, operator)
    lasts_s = 60 * settings.token_lifetime_min
    session = SignIn.of_session(token, EMAIL, expires_in=lasts_s)
    return Terminal(rollbook, f"http://{site.host}", session)
