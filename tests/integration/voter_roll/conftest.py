"""Workers that look for due rows often: a test waits for most of them, and for some twice."""

from __future__ import annotations

import pytest

from tests.integration.voter_roll.rolls import look_often


@pytest.fixture(autouse=True)
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pause between two looks for the tests of the voter roll."""
    look_often(monkeypatch)
