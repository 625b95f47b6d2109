"""The figures, and the page in docs/explanation that shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.corpus.judge import Verdict

RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "silently-wrong.md"
_FIGURES: Final = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)


def entry(name: str, found: Verdict, versions: str) -> dict[str, Any]:
    """A tool's figures."""
    return {
        "name": name,
        "versions": versions,
        "counts": dict(found.counts),
        "untold": len(found.untold),
    }


def write(results: dict[str, Any]) -> None:
    """Save the figures, and put them into the page, whose words stay."""
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    page = PAGE.read_text("utf-8")
    figures = table(results)
    PAGE.write_text(_FIGURES.sub(lambda found: found[1] + figures + found[2], page), "utf-8")


def table(results: dict[str, Any]) -> str:
    """All figures."""
    on, tools = results["machine"], results["tools"]
    counts = tools[0]["counts"]
    lines = [
        f"Measured on {results['date']}: {on['system']}, Python {on['python']}. "
        f"{counts['files']:,} files from number {results['first']} on, with {counts['rows']:,} "
        "rows.\n",
        "|  | files not read | right rows merged without a question | wrong cells without a word |",
        "| --- | ---: | ---: | ---: |",
    ]
    for tool in tools:
        counts = tool["counts"]
        right, merged = counts["right rows"], counts.get("right rows merged", 0)
        lines.append(
            f"| {tool['name']} | {counts.get('files refused', 0):,} | {merged:,} of {right:,} "
            f"({100 * merged / right:.1f} %) | {tool['untold']:,} |"
        )
    lines += ["", *[f"{tool['name']}: {tool['versions']}.\n" for tool in tools[1:]]]
    return "\n".join(lines)
