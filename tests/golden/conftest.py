"""A site on an empty database, and a desk that needs none, at a fixed moment."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from rollbook import clock
from rollbook.pipeline import run
from tests.desk import Desk
from tests.pipeline_run import Site, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def moment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The moment is the ``NOW`` of the module, if it has one."""
    now = getattr(request.module, "NOW", NOW)
    monkeypatch.setattr(clock, "now", lambda: now)
    monkeypatch.setattr(run, "today", lambda _: now.date())


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """The whole pipeline."""
    with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """The stages before the database."""
    return Desk(tmp_path)
