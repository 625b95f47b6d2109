"""The tables, and the page and picture in docs/explanation that show them."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.pipeline import chart, environments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.pipeline.results import Results

_FOLDER = environments.ROOT / "docs" / "explanation"
PAGE = _FOLDER / "performance.md"
PICTURE = _FOLDER / "pipeline-seconds.svg"
_FIGURES = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)


def write(results: Results) -> None:
    """Put the figures into the page, whose words stay, and draw the picture."""
    page = PAGE.read_text(encoding="utf-8")
    figures = table(results)
    PAGE.write_text(_FIGURES.sub(lambda found: found[1] + figures + found[2], page), "utf-8")
    PICTURE.write_text(chart.draw(results), encoding="utf-8")


def table(results: Results) -> str:
    """All figures."""
    parts = [_conditions(results)]
    parts += [_contest(results["rows"], here) for here in results["tables"]]
    parts.append(_stages(results["tables"]))
    if "usual" in results or "million" in results:
        parts.append(_alone(results))
    if "report" in results:
        parts.append(_writers(results["report"]))
    parts.append(_methods(results["tables"][0]["contestants"]))
    return "\n".join(parts)


def before_report(entry: dict[str, Any]) -> float:
    """Seconds of all stages of Rollbook before the report."""
    seconds: float = sum(s for stage, s in entry["stages"].items() if stage != "report")
    return seconds


def _conditions(results: Results) -> str:
    on = results["machine"]
    return (
        f"Measured on {results['date']}: {on['processor']}, {on['cores']} cores, {on['memory']}, "
        f"{on['system']}, PostgreSQL {on['postgres']}, {on['valkey']}, Python {on['python']}, Node "
        f"{on['node']}.\n"
    )


def _contest(rows: int, here: dict[str, Any]) -> str:
    ours = here["contestants"][0]
    lines = [
        (
            entry["name"],
            _seconds(entry),
            str(len(entry["runs_s"])),
            f"{entry['seconds'] / ours['seconds']:.1f}",
            f"{entry['peak_mb']:,.0f}",
            _median(entry, "cpu_s", ".1f"),
            _median(entry, "others_cores", ".2f"),
        )
        for entry in here["contestants"]
    ]
    raw = here["raw"]
    ratio = f"{raw['seconds'] / ours['seconds']:.2f}"
    limit = "the limit: parse and COPY, nothing else"
    cells = (limit, _seconds(raw), str(len(raw["runs_s"])), ratio, "")
    lines.append((*cells, _median(raw, "cpu_s", ".1f"), _median(raw, "others_cores", ".2f")))
    head = (
        "",
        "seconds",
        "runs",
        "times Rollbook's",
        "peak MB",
        "processor seconds",
        "cores used by others",
    )
    about = f"{rows:,} rows into a table that has {here['members']:,} members:\n\n"
    return about + _table(head, lines, numbers_from=1)


def _stages(tables: list[dict[str, Any]]) -> str:
    lines = []
    for here in tables:
        for entry in here["contestants"]:
            took = ", ".join(f"{stage} {s:.2f}" for stage, s in entry["stages"].items() if s)
            lines.append((f"{here['members']:,}", entry["name"], took))
        raw = here["raw"]
        took = f"parse {raw['parse']:.2f}, COPY {raw['copy']:.2f}"
        lines.append((f"{here['members']:,}", "the limit", took))
    return "Where the seconds go, in the median run:\n\n" + _table(
        ("members", "", "stages, s"), lines
    )


def _alone(results: Results) -> str:
    lines = []
    for here in results["tables"]:
        ours, raw = here["contestants"][0], here["raw"]
        many = f"{here['members']:,} members"
        lines.append(
            (
                f"Everything before the report, beside the limit ({many})",
                f"{before_report(ours):.2f} s beside {raw['seconds']:.2f} s: "
                f"{before_report(ours) / raw['seconds']:.2f} times",
            )
        )
    if usual := results.get("usual"):
        lines.append(
            (
                f"An upload of {usual['rows']} rows, from before it is recorded to completed",
                f"median {usual['median_s'] * 1000:.0f} ms, worst {usual['worst_s'] * 1000:.0f} ms "
                f"of {len(usual['runs_s'])}; its stages are {usual['stages_median_s'] * 1000:.0f} "
                "ms of the median",
            )
        )
    if million := results.get("million"):
        few = results["tables"][0]["contestants"][0]
        linear = million["seconds"] / million["rows"] / (few["seconds"] / results["rows"])
        stages = ", ".join(f"{stage} {s:.1f}" for stage, s in million["stages"].items() if s)
        lines.append(
            (
                f"A file of {million['rows']:,} rows, Rollbook alone, once",
                f"{million['seconds']:.1f} s ({stages}); the child's peak {million['peak_mb']:,} "
                f"MB; seconds per row {linear:.2f} times those of {results['rows']:,} rows",
            )
        )
    if two := results.get("two_at_once"):
        lines.append(
            (
                f"Two files of {results['rows']:,} rows at once",
                f"{two['both_s']:.2f} s for both, {two['one_s']:.2f} s for one alone: "
                f"{two['both_s'] / two['one_s']:.2f} times",
            )
        )
    if csv := results.get("csv"):
        lines.append(
            (
                f"A CSV file of {csv['rows']:,} rows ({csv['bytes'] / 1e6:,.0f} MB)",
                f"{csv['seconds']:.0f} s; the child's peak {csv['peak_mb']:,} MB",
            )
        )
    if lag := results.get("lag_ms"):
        lines.append(
            (
                "How late the worker's event loop is while the longest workbook runs",
                f"median {lag['p50']} ms, p99 {lag['p99']} ms, worst {lag['worst']} ms",
            )
        )
    return _table(("Rollbook alone", ""), lines)


def _writers(found: dict[str, Any]) -> str:
    ours = found["writers"][0]["seconds"]
    lines = [
        (
            writer["name"],
            writer["method"],
            _seconds(writer),
            f"{writer['seconds'] / ours:.2f}",
            f"{writer['peak_mb']:,}",
            ", ".join(f"{name} {version}" for name, version in writer["version"].items()),
        )
        for writer in found["writers"]
    ]
    head = ("", "what it writes", "seconds", "times Rollbook's", "peak MB", "version")
    about = (
        f"The report alone: a table of {found['rows']:,} rows and {found['columns']} columns in "
        "six sheets, each row in two of them, with a frozen header and filters; each writer in a "
        f"process of its own, medians of {len(found['writers'][0]['runs_s'])}:\n\n"
    )
    return about + _table(head, lines, numbers_from=2)


def _methods(contestants: list[dict[str, Any]]) -> str:
    lines = [
        (
            entry["name"],
            entry["method"],
            ", ".join(f"{name} {version}" for name, version in entry["versions"].items()),
        )
        for entry in contestants
    ]
    return _table(("", "method", "versions"), lines)


def _seconds(entry: dict[str, Any]) -> str:
    return f"{entry['seconds']:.2f}" if entry["seconds"] < 10 else f"{entry['seconds']:.0f}"


def _median(entry: dict[str, Any], key: str, form: str) -> str:
    """Nothing where an older run didn't measure it."""
    return f"{statistics.median(entry[key]):{form}}" if key in entry else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers_from: int = 99) -> str:
    rule = ("---:" if column >= numbers_from else "---" for column in range(len(head)))
    lines = (head, tuple(rule), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
