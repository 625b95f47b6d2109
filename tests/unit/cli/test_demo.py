"""What `rollbook demo` prints for a program; tests/acceptance runs it for a person."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rollbook.cli import demo, supervisor

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from rollbook.config import Settings
    from tests.command_line import CommandLine

RESULT = {
    "rows": 10,
    "outcomes": {"inserted": 9, "invalid": 1},
    "seconds": {"read": 0.1, "total": 0.3},
    "report": "report.xlsx",
}


async def done(
    settings: Settings, _: object, kept: Path, sample: Path, *, quiet: bool
) -> dict[str, Any]:
    """In place of sending the sample through a system."""
    assert quiet
    assert sample == kept / "members.xlsx"
    assert settings.database_url is None
    return RESULT


def test_with_json_it_prints_one_object_and_nothing_else(
    rollbook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_demo", done)
    monkeypatch.setattr(demo, "engines", lambda settings, **_: nullcontext(settings))
    started = SimpleNamespace(waiting=nullcontext)
    monkeypatch.setattr(supervisor, "Processes", lambda _: started)
    folder = tmp_path / "out"
    said = rollbook("demo", "--rows", "10", "--json", "--folder", str(folder))
    assert (said.code, said.stderr) == (0, "")
    assert json.loads(said.stdout) == RESULT
    assert (folder / "members.xlsx").is_file()
