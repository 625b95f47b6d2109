"""The tables, and the page and picture in docs/explanation that show them."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.queue import chart, environments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.queue.results import Results

_FOLDER = environments.ROOT / "docs" / "explanation"
PAGE = _FOLDER / "queue-performance.md"
PICTURE = _FOLDER / "queue-latency.svg"
_FIGURES = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)


def write(results: Results) -> None:
    """Put the figures into the page, whose words stay, and draw the picture."""
    page = PAGE.read_text(encoding="utf-8")
    figures = _figures(results)
    PAGE.write_text(_FIGURES.sub(lambda found: found[1] + figures + found[2], page), "utf-8")
    PICTURE.write_text(chart.draw(results), encoding="utf-8")


def table(results: Results) -> str:
    """What is printed: the same figures, without the words."""
    return _figures(results)


def _figures(results: Results) -> str:
    peers = results["peers"]
    parts = [_conditions(results), _speeds(peers)]
    if any(peer["crashes"] for peer in peers):
        parts.append(_crashes(peers))
    parts.append(_settings(peers))
    return "\n".join(parts)


def _conditions(results: Results) -> str:
    on = results["machine"]
    return (
        f"Measured on {results['date']}: {on['processor']}, {on['cores']} cores (shared with other "
        f"work), {on['memory']}, {on['system']}, Python {on['python']}, {on['valkey']}. Rates are "
        f"medians of {results['repetitions']} rounds of up to {results['jobs']:,} jobs, latencies "
        f"the p50 and p99 of {results['adds']} adds. In brackets: how many times Rollbook's.\n"
    )


def _speeds(peers: list[dict[str, Any]]) -> str:
    ours = peers[0]
    rows = [
        (
            f"{peer['name']} {_version(peer)}",
            *(_beside(peer, ours, key, ",.0f") for key in ("adds_per_s", "jobs_per_s")),
            *(_beside(peer, ours, key, ".3g") for key in ("pick_up_p50_ms", "pick_up_p99_ms")),
        )
        for peer in peers
    ]
    head = ("queue", "adds/s", "empty jobs/s", "pick-up p50, ms", "pick-up p99, ms")
    return _table(head, rows, numbers_from=1)


def _crashes(peers: list[dict[str, Any]]) -> str:
    rows = []
    for peer in peers:
        for crash in peer["crashes"]:
            timings = "tuned" if crash["tuned"] else "its own"
            running = _ran(crash["running_s"], crash["watched_s"])
            rows.append(
                (peer["name"], timings, running, _ran(crash["waiting_s"], crash["watched_s"]))
            )
    head = ("queue", "timings", "the two jobs that ran when it was killed", "the two that waited")
    return "Seconds after a worker's SIGKILL until its jobs ran again:\n\n" + _table(head, rows)


def _settings(peers: list[dict[str, Any]]) -> str:
    rows = [
        (
            peer["name"],
            ", ".join(f"{name} {version}" for name, version in peer["versions"].items()),
            peer["settings"],
            peer["tuned"] or "nothing to tune",
        )
        for peer in peers
    ]
    head = ("queue", "versions", "settings", "tuned, for the kill only")
    return _table(head, rows)


def _ran(seconds: list[float | None], watched_s: float) -> str:
    came = [second for second in seconds if second is not None]
    if not came:
        return f"neither within {watched_s:.0f} s"
    after = f"after {statistics.median(came):.0f} s"
    return f"both, {after}" if len(came) == len(seconds) else f"one of two, {after}"


def _version(peer: dict[str, Any]) -> str:
    first: str = next(iter(peer["versions"].values()))
    return first


def _beside(peer: dict[str, Any], ours: dict[str, Any], key: str, form: str) -> str:
    ratio = peer[key] / ours[key]
    digits = ".0f" if ratio >= 10 else ".2f" if ratio >= 0.1 else ".1g"
    return f"{peer[key]:{form}} ({ratio:{digits}}x)"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers_from: int = 99) -> str:
    rule = ("---:" if column >= numbers_from else "---" for column in range(len(head)))
    lines = (head, tuple(rule), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
