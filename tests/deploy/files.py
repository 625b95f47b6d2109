"""The files under deploy/, and what they say of our settings."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from rollbook.config import Settings
from rollbook.queue.loop import CLOSE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
#: Seconds beyond the grace period until a process has really gone.
MARGIN_S = 5
#: The settings from which the memory of a process follows.
SIZES = frozenset(
    {
        "ROLLBOOK_CONCURRENCY",
        "ROLLBOOK_CHILD_MEMORY_MB",
        "ROLLBOOK_CHECKS_AT_A_TIME",
        "ROLLBOOK_CHECK_MEMORY_MB",
    }
)
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


def tool(name: str) -> str:
    """The path of a program of the environment; skips the test where there is none."""
    found = Path(sys.executable).with_name(name)
    if not found.exists():
        pytest.skip(f"{name} isn't to be had for this machine")
    return str(found)


def known_names() -> set[str]:
    """The names that a process of ours reads from its environment."""
    names = {
        str(field.validation_alias or f"ROLLBOOK_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    return names | OTHERS


def needed_mb(process: str, given: Mapping[str, str] | None = None) -> int:
    """The memory that a process and its children may take under these settings, in MB.

    Below that the kernel kills the process for what one file did.
    """
    sizes: dict[str, Any] = {
        name.removeprefix("ROLLBOOK_").lower(): int(text)
        for name, text in (given or {}).items()
        if name in SIZES
    }
    settings = Settings(_env_file=None, **sizes)
    own = 250
    if process == "api":
        # Whole files, and edited rows.
        return own + 2 * settings.checks_at_a_time * settings.check_memory_mb
    # Attempts, and one child for the work beside them.
    return own + (settings.concurrency + 1) * settings.child_memory_mb


def needed_files() -> int:
    """The open files of an API: strangers, clients at two addresses, and some of its own."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    return int(defaults["strangers"] + 2 * defaults["connections_per_address"] + 200)


def megabytes(size: str) -> int:
    """A size such as ``2g``, ``512MB``, ``6656Mi`` or ``13G``, in MB."""
    found = re.fullmatch(r"(\d+)([mg])[ib]?", size.lower())
    assert found, size
    return int(found[1]) * (1024 if found[2] == "g" else 1)


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
