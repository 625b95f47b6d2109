"""A client of an application with other settings than the test's, and files made for clients."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect
from rollbook.members import export_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings
    from rollbook.model import Progress, User
    from rollbook.service.system import System


@asynccontextmanager
async def client_with(
    settings: Settings, user: User, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A user's client of an application whose settings differ in these."""
    app = create_app(settings.model_copy(update=changes))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://test",
            headers={"Authorization": f"Bearer {issue_token(settings, user)}"},
        ) as client,
    ):
        yield client


async def made(
    system: System, settings: Settings, file_id: str, attempt: int = 0
) -> list[Progress]:
    """Make a file as a worker's child does; returns how far it said that it was."""
    said: list[Progress] = []
    with connect(settings.database_address) as connection:
        export_file.process(
            connection,
            system.store,
            file_id=UUID(file_id),
            attempt=attempt,
            hours=settings.export_hours,
            report_progress=said.append,
        )
    return said
