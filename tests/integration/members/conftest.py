"""An installation whose members are indexed on demand, and clients of its offices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from rollbook.model import User


@pytest.fixture
async def client(as_user: Callable[[User], httpx.AsyncClient], operator: User) -> httpx.AsyncClient:
    """The national office's."""
    return as_user(operator)
