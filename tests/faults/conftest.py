"""Measured times until normal again, for the table in docs/explanation/guarantees.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: One JSON object a line: the test, what was measured, and the seconds.
MEASURED = Path(__file__).parents[2] / "build" / "until-normal.jsonl"


@pytest.fixture
def normal_after(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record how many seconds after a fault the system was normal again."""

    def record(seconds: float, what: str = "normal again") -> None:
        MEASURED.parent.mkdir(exist_ok=True)
        line = {"test": request.node.nodeid, "what": what, "seconds": round(seconds, 2)}
        # One write of a short line: tests of several processes may add theirs at the same time.
        with MEASURED.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + os.linesep)

    return record
