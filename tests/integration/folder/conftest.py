"""Settings with which everything about a watched folder is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.folder.watching import QUICK

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.config import Settings


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={**QUICK, "watch_dir": folder})
