"""The API and the pipeline in the tests' own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.model import Role, User
from tests.pipeline_run import Site, open_site
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from rollbook.config import Settings

    MakeUser = Callable[..., Awaitable[User]]


@pytest.fixture(autouse=True)
def patient_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is slow on a busy machine isn't away."""
    monkeypatch.setattr("rollbook.service.health.PART_S", PATIENCE_S)


@pytest.fixture
def site(database_url: str, settings: Settings) -> Iterator[Site]:
    """With the store of the system, which proves whose it is."""
    settings.data_dir.mkdir(exist_ok=True)
    with open_site(database_url, settings.data_dir, settings) as opened:
        yield opened


@pytest.fixture
async def operator(make_user: MakeUser) -> User:
    return await make_user(Role.NATIONAL_ADMIN)


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
