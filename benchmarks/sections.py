"""Sections of the docs that a benchmark writes, between two comments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace(path: Path, begin: str, end: str, section: str) -> None:
    """Put a section in place of the one between two comments, and leave the rest of the page.

    Raises:
        ValueError: the page has no such comments.
    """
    before, is_there, rest = path.read_text(encoding="utf-8").partition(begin)
    _, is_ended, after = rest.partition(end)
    if not (is_there and is_ended):
        raise ValueError(f"{path} has no section between {begin} and {end}.")
    path.write_text(f"{before}{begin}{section}{end}{after}", encoding="utf-8")
