"""The API in the tests' own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from rollbook.api.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings


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
