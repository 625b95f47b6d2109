"""A watched folder of each test's own, and settings with which everything is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.config import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "watched"
    path.mkdir()
    return path


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(
        update={
            "watch_dir": folder,
            "watch_still_s": 0.05,
            "watch_sweep_s": 0.1,
            "watch_events": False,
            "watch_min_bytes": 10,
        }
    )
