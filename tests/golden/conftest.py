"""A site on an empty database, at a fixed moment."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from rollbook import clock
from rollbook.pipeline import run
from tests.pipeline_run import Site, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)


@pytest.fixture
def site(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Site]:
    """The moment is the ``NOW`` of the module, if it has one."""
    now = getattr(request.module, "NOW", NOW)
    monkeypatch.setattr(clock, "now", lambda: now)
    monkeypatch.setattr(run, "today", lambda _: now.date())
    with open_site(database_url, tmp_path) as opened:
        yield opened
