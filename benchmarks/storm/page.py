"""The figures of a long run as a section of docs/explanation/guarantees.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks import sections

PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "guarantees.md"
COUNTS: Final = ("uploads", "rows", "undone", "held", "attempts_again", "sent_again")
BEGIN, END = "<!-- faults-long: figures -->", "<!-- end of figures -->"


def write(figures: dict[str, Any], *, is_in_time: bool) -> None:
    """Put the figures of a run, in which every promise held, in place of the last run's."""
    sections.replace(PAGE, BEGIN, END, section(figures, is_in_time=is_in_time))


def section(figures: dict[str, Any], *, is_in_time: bool) -> str:
    """The section; ``figures`` are those of ``benchmarks/storm/results.json``."""
    of = {name: f"{figures[name]:,}" for name in COUNTS}
    rows = "".join(
        f"| {kind} | {found['times']} | {found['median']:g} s | {found['longest']:g} s |\n"
        for kind, found in figures["until_normal_s"].items()
    )
    return f"""
{figures["date"]}, {figures["minutes"]:g} minutes, seed {figures["seed"]}, {figures["machine"]}:
every promise held, {"in time" if is_in_time else "some waits were late on the loaded machine"}.
{of["uploads"]} uploads with {of["rows"]} rows all completed, {of["undone"]} were undone, and all
{of["held"]} members whom a list still held were there. {of["attempts_again"]} attempts were made
again, and {of["sent_again"]} times a file was sent again. How long a new file of five rows took,
after each kind of fault:

| fault | times | median | longest |
|---|---|---|---|
{rows}"""
