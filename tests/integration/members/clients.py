"""A client of an application with other settings than the test's."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings
    from rollbook.model import User


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
