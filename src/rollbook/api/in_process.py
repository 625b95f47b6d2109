"""The API inside the process of a command, for commands on the machine of an installation.

A command has one implementation, which makes requests. On the installation's machine they go to the
routes in its own process, with an account for which shell access is enough authority.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr

from rollbook.accounts import audit, users
from rollbook.api.app import create_app, equip
from rollbook.service.system import open_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from rollbook.config import Settings

#: Timeout for PostgreSQL, in seconds.
DATABASE_S = 10.0


@asynccontextmanager
async def client_of(settings: Settings, *, email: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API in this process, signed in as an account; None: the first super_admin.

    None of the services that an API process runs is started.

    Raises:
        NotFoundError: there is no such account, or it is closed.
        PoolTimeout: PostgreSQL doesn't answer.
    """
    # The token never leaves this process. A key of its own needs no file in the data folder.
    own = settings.model_copy(update={"secret_key": SecretStr(secrets.token_urlsafe(48))})
    app = create_app(own)
    origin = audit.Origin.of_command_line()

    async def local(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": None}, receive, send)  # no address: this machine

    async with open_system(own) as system:
        await system.pool.wait(timeout=DATABASE_S)
        equip(app, system)
        user = await users.acting(system.pool, email)
        token = users.issue_token(own, user, via="command")
        headers = {
            "Authorization": f"Bearer {token}",
            "User-Agent": origin.agent or "",
        }
        async with (
            app.state.checker,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(local, raise_app_exceptions=False),
                base_url="http://localhost",
                headers=headers,
                # A long undoing has its own bounds, and no line can break.
                timeout=None,  # noqa: S113
            ) as client,
        ):
            yield client
