"""The table, and the page and picture in docs/explanation that show it."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.queue import environments

_FOLDER = environments.ROOT / "docs" / "explanation"
PAGE = _FOLDER / "live-performance.md"
PICTURE = _FOLDER / "live-lag.svg"
_FIGURES = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->\n)", re.DOTALL)


def write(results: dict[str, Any]) -> None:
    """Put the figures into the page, whose words stay."""
    page = PAGE.read_text(encoding="utf-8")
    text = figures(results)
    PAGE.write_text(_FIGURES.sub(lambda found: found[1] + text + found[2], page), "utf-8")


def figures(results: dict[str, Any]) -> str:
    """The conditions and the table."""
    on = results["machine"]
    trials = results["trials"]
    first = trials[0]
    rows = [
        ("national clients, who hear everything; the rest hear their province",
         *("all" if t["hears_all"] else "a tenth" for t in trials)),
        ("uploads that run at once, of those sent",
         *(f"{t['at_once']} of {t['uploads']}" for t in trials)),
        ("the API's core", *("its own" if t["has_own_core"] else "shared" for t in trials)),
        ("seconds until all uploads had ended", *(f"{t['seconds']:.0f}" for t in trials)),
        ("events, and deliveries of them", *(_both(t, "events", "deliveries") for t in trials)),
        ("clients that missed an event, heard one twice or out of order",
         *(str(t["wrong_clients"]) for t in trials)),
        *((f"lag at the {where}, ms: p50 / p99 / p99.9 / longest",
           *(_lag(t[f"{where}_ms"]) for t in trials)) for where in ("server", "client")),
        ("memory for each client, KiB: connected / after the uploads",
         *(f"{t['kb_per_client']} / {t['kb_per_client_after']}" for t in trials)),
        ("API process, MiB: before / connected / after",
         *(" / ".join(f"{mb:.0f}" for mb in t["api_mb"]) for t in trials)),
        ("API process, share of one core", *(f"{t['api_cpu_share']:.0%}" for t in trials)),
    ]  # fmt: skip
    head = ("", *(f"trial {number}" for number in range(1, len(trials) + 1)))
    rule = ("---", *("---:" for _ in trials))
    table = "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))
    return (
        f"Measured on {results['date']}: {on['processor']}, {on['cores']} cores (shared with other "
        f"work), {on['memory']}, {on['system']}, Python {on['python']}, {on['valkey']}. "
        f"{first['clients']:,} clients in one process; {first['uploads']} uploads of "
        f"{first['rows']:,} rows, sent at once to one worker (niceness 10).\n\n{table}"
    )


def _both(trial: dict[str, Any], one: str, other: str) -> str:
    return f"{trial[one]:,}, {trial[other]:,}"


def _lag(lag: dict[str, float]) -> str:
    return " / ".join(f"{lag[name]:g}" for name in ("p50", "p99", "p999", "max"))
