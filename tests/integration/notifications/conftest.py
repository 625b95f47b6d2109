"""Workers that look for due rows often: almost every test waits for a look."""

from __future__ import annotations

import pytest

from rollbook.service import due
from tests.integration.voter_roll.rolls import look_often


@pytest.fixture(autouse=True)
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pause between two looks for the tests of notifications."""
    look_often(monkeypatch)
    monkeypatch.setattr(due, "POLL_S", 0.1)
