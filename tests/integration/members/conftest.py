"""An installation whose members are indexed on demand, and clients of its offices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rollbook.model import Role, User
from tests.pipeline_run import Site, open_site

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import httpx

    from rollbook.config import Settings

    MakeUser = Callable[..., Awaitable[User]]


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
async def client(as_user: Callable[[User], httpx.AsyncClient], operator: User) -> httpx.AsyncClient:
    """The national office's."""
    return as_user(operator)
