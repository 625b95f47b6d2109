"""What a command says while it waits for a job."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from rollbook.cli import following
from rollbook.cli.connection import Answer, Connection

if TYPE_CHECKING:
    import pytest

JOB = "0f5a0c1e-4a51-4e0b-8d0e-2f5b8d0d7a11"


class _Server:
    """A server on which a job waits, and then has ended."""

    def __init__(self) -> None:
        waits = {"status": "pending", "progress": 0, "stage": None, "queue_position": 3}
        self._states = [
            waits | {"estimated_start_at": "2026-11-24T22:30:00+00:00"},
            {"status": "completed", "progress": 100, "stage": None},
        ]

    async def get(self, path: str, **_: Any) -> Answer:
        if path.endswith("/queue/stats"):
            return Answer("", {"is_paused": False, "workers": 1})
        return Answer("", self._states.pop(0))

    async def zone(self) -> str:
        return "Africa/Johannesburg"


async def test_the_time_of_a_start_is_in_the_installations_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not in that of the machine on which the command runs; here it is the next day, too."""
    monkeypatch.setenv("TZ", "America/New_York")
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    monkeypatch.setattr(following, "err", screen)
    server = cast("Connection", _Server())
    done = await following.follow(server, JOB, quiet=False, timeout_s=30, again="rollbook status")
    assert done["status"] == "completed"
    written = cast("io.StringIO", screen.file).getvalue()
    assert "number 3, starts about 2026-11-25 00:30 SAST" in written
