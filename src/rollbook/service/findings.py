"""What ``rollbook doctor`` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    part: str
    check: str
    level: Level
    found: str
    #: What to do; empty where there is nothing to do.
    remedy: str = ""
    #: Whether it makes a promise untrue, so that no process starts with it.
    is_fatal: bool = False


def checked(
    what: tuple[str, str, str],
    *,
    bad: bool,
    remedy: str,
    level: Level = "error",
    is_fatal: bool = False,
) -> Finding:
    """A finding about a part, a check and what it found: ``ok``, or ``level`` where it is bad."""
    part, check, found = what
    if not bad:
        return Finding(part, check, "ok", found)
    return Finding(part, check, level, found, remedy, is_fatal)
