"""The API in the tests' own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rollbook.config import Settings
    from rollbook.model import User


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over this test's settings; a fault of ours is answered, not raised."""
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
        ) as client,
    ):
        yield client


@pytest.fixture
def as_user(api: httpx.AsyncClient, settings: Settings) -> Callable[[User], httpx.AsyncClient]:
    """Signs the client of the API in as a user."""

    def sign_in(user: User) -> httpx.AsyncClient:
        api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
        return api

    return sign_in
