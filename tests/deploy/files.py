"""The files under deploy/, and what they say of our settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rollbook.config import Settings
from rollbook.queue.loop import CLOSE_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
#: Seconds beyond the grace period until a process has really gone.
MARGIN_S = 5
#: What the object store's own client and the web server read.
OTHERS = frozenset(
    {
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "FORWARDED_ALLOW_IPS",
    }
)


def known_names() -> set[str]:
    """The names that a process of ours reads from its environment."""
    names = {
        str(field.validation_alias or f"ROLLBOOK_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    return names | OTHERS


def documents(path: Path) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def variables(path: Path) -> dict[str, str]:
    """The variables of an environment file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def time_to_stop_s(grace_s: int | None = None) -> int:
    """How long a worker may take to end after SIGTERM."""
    grace = Settings.model_fields["shutdown_grace_s"].default if grace_s is None else grace_s
    return int(grace + CLOSE_S + MARGIN_S)
