"""The tables and the picture of docs/explanation/scaling.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pipeline.chart import OURS, Bar, picture

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOLDER = Path(__file__).parents[2] / "docs" / "explanation"
PAGE = _FOLDER / "scaling.md"
PICTURE = _FOLDER / "scaling.svg"
_FIGURES = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)

Found = dict[str, Any]


def write(found: Found) -> None:
    """Put the figures into the page, whose words stay, and draw the picture."""
    page = PAGE.read_text(encoding="utf-8")
    figures = table(found)
    PAGE.write_text(_FIGURES.sub(lambda hit: hit[1] + figures + hit[2], page), encoding="utf-8")
    PICTURE.write_text(picture("How Rollbook grows", _panels(found)), encoding="utf-8")


def table(found: Found) -> str:
    """All figures."""
    on = found["machine"]
    return (
        f"Measured on {found['date']}: {on['processor']}, {on['cores']} cores, {on['memory']}, "
        f"{on['system']}, PostgreSQL {on['postgres']}, {on['valkey']}, Python {on['python']}; "
        "PostgreSQL and Valkey on the same cores.\n"
        + "".join(part(found) for part in (_workers, _rows, _members))
    )


def _workers(found: Found) -> str:
    entries = found["workers"]
    one = entries[0]["rows_per_s"]
    head = (
        f"\n**Worker processes** (one slot each) on a queue of {entries[0]['files']} workbooks of "
        f"{entries[0]['rows']:,} rows:\n\n"
    )
    return head + _lines(
        ("workers", "seconds", "rows/s", "times one", "processor seconds", "cores used by others"),
        (
            (
                e["workers"], f"{e['seconds']:.2f}", f"{e['rows_per_s']:,}",
                f"{e['rows_per_s'] / one:.2f}", f"{e['cpu_s']:.1f}", f"{e['others_cores']:.2f}",
            )
            for e in entries
        ),
    )  # fmt: skip


def _rows(found: Found) -> str:
    return "\n**Rows in a workbook**, into an empty table:\n\n" + _lines(
        ("rows", "file, MB", "seconds", "rows/s", "peak MB of the child", "cores used by others"),
        (
            (
                f"{e['rows']:,}", f"{e['bytes'] / 2**20:.1f}", f"{e['seconds']:.2f}",
                f"{e['rows'] / e['seconds']:,.0f}", f"{e['peak_mb']:,}", f"{e['others']:.2f}",
            )
            for e in found["rows"]
        ),
    )  # fmt: skip


def _members(found: Found) -> str:
    entries = found["members"]
    head = f"\n**Members in the table**, and a workbook of {entries[0]['rows']:,} new ones:\n\n"
    return head + _lines(
        ("members", "table and indexes, MB", "seconds", "of it match and merge",
         "peak MB of the child", "cores used by others"),
        (
            (
                f"{e['members']:,}", f"{e['table_bytes'] / 2**20:,.0f}", f"{e['seconds']:.2f}",
                f"{e['stages']['match'] + e['stages']['merge']:.2f}", f"{e['peak_mb']:,}",
                f"{e['others']:.2f}",
            )
            for e in entries
        ),
    )  # fmt: skip


def _lines(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, ("---:",) * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def _panels(found: Found) -> list[tuple[str, list[Bar]]]:
    def bars(kind: str, name: str, value: str, unit: str, word: str) -> list[Bar]:
        return [
            Bar(f"{e[name]:,} {word}", e[value], f"{e[value]:,.3g} {unit}"
                if value == "seconds" else f"{e[value]:,} {unit}", OURS)
            for e in found[kind]
        ]  # fmt: skip

    return [
        ("Rows a second by worker processes: longer is better",
         bars("workers", "workers", "rows_per_s", "rows/s", "workers")),
        ("Seconds by rows in the workbook: shorter is better",
         bars("rows", "rows", "seconds", "s", "rows")),
        ("Memory of the child by rows in the workbook",
         bars("rows", "rows", "peak_mb", "MB", "rows")),
        ("Seconds by members in the table", bars("members", "members", "seconds", "s", "members")),
    ]  # fmt: skip
