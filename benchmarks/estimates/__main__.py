"""How well the expected starts of waiting uploads are met.

Run from the root of the project: ``make bench-estimates``. A queue of mixed files of two
priorities and two slots, after twelve files whose durations are known.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import psutil
from tests.acceptance.conftest import environment, rollbook, start

from benchmarks import sections
from benchmarks.estimates.trial import Errors, compared, follow, send
from benchmarks.idle.__main__ import stopped
from benchmarks.queue import machine
from rollbook.cli.sample_file import write_sample

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs/explanation/performance.md"
BEGIN: Final = "<!-- expected starts: written by `make bench-estimates` -->"
END: Final = "<!-- end of expected starts -->"
#: Rows of the files, as offices send them: many small ones, and a few large.
ROWS: Final = (200, 200, 200, 1_000, 1_000, 5_000, 20_000, 60_000)
SLOTS: Final = 2
#: Seconds for all files.
ALL_S: Final = 900
#: Files that complete first, so that there are durations.
BEFORE: Final = 12
OFFICE: Final = "office@example.org"
PASSWORD: Final = "three odd pelicans dive"  # noqa: S105 - of a throw-away system


def office(running: Running) -> str:
    """The token of an office's account, whose files have a lower priority."""
    add = ["users", "add", OFFICE, "--role", "province_admin", "--province", "GP"]
    subprocess.run(
        rollbook(*add, "--password", PASSWORD),
        env=environment(running.data), check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    credentials = {"email": OFFICE, "password": PASSWORD}
    login = httpx.post(f"{running.url}/api/v1/auth/login", json=credentials)
    return str(login.json()["data"]["token"])


async def measured(running: Running, folder: Path, files: int, seed: int) -> Errors:
    """Send the files, and compare what was said with what happened."""
    chance = random.Random(seed)  # noqa: S311 - the same files at each run
    contents = []
    for number in range(BEFORE + files):
        path = folder / f"{number}.xlsx"
        write_sample(path, chance.choice(ROWS), seed=seed + number)
        contents.append(path.read_bytes())
    lower = {"Authorization": f"Bearer {office(running)}"}
    with running.api() as signed_in:
        higher = dict(signed_in.headers)
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=60, headers=higher) as operator,
        httpx.AsyncClient(base_url=running.url, timeout=60, headers=lower) as province,
    ):
        before = [await send(operator, f"{n}.xlsx", one) for n, one in enumerate(contents[:BEFORE])]
        await follow(operator, before, every_s=1, timeout_s=ALL_S)
        jobs = [
            await send(operator if number % 3 == 0 else province, f"later-{number}.xlsx", content)
            for number, content in enumerate(contents[BEFORE:])
        ]
        samples, starts = await follow(operator, jobs, every_s=1, timeout_s=ALL_S)
    return compared(samples, starts)


class Load:
    """How many cores other programs used meanwhile."""

    def __init__(self, own: list[psutil.Process]) -> None:
        self._own = own
        self._began = time.monotonic()
        self._busy_s, self._own_s = self._now()

    def of_others(self) -> float:
        """Cores used by others since the beginning, on average."""
        busy_s, own_s = self._now()
        used_s = (busy_s - self._busy_s) - (own_s - self._own_s)
        return max(used_s / (time.monotonic() - self._began), 0.0)

    def _now(self) -> tuple[float, float]:
        """Processor seconds of the machine, and of our own programs."""
        times = psutil.cpu_times()
        families = [one for top in self._own for one in (top, *top.children(recursive=True))]
        own_s = 0.0
        for process in set(families):
            with contextlib.suppress(psutil.NoSuchProcess):
                spent = process.cpu_times()
                own_s += spent.user + spent.system
        return times.user + times.nice + times.system, own_s


def main() -> None:
    """Measure, and write the results and their page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollbook-bench-") as folder:
        running = start(Path(folder) / "data", ROLLBOOK_CONCURRENCY=str(SLOTS))
        # What other programs do on the machine changes how long a file takes.
        own = [psutil.Process(), psutil.Process(running.process.pid)]
        load = Load(own)
        try:
            found = asyncio.run(measured(running, Path(folder), asked.files, asked.seed))
            others = load.of_others()
        finally:
            stopped(running)
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "cores_used_by_others": round(others, 2),
        "files": asked.files,
        "seed": asked.seed,
        **asdict(found),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sections.replace(PAGE, BEGIN, END, "\n" + written(results))
    print(written(results))


def written(results: dict[str, Any]) -> str:
    """The results, as the page shows them."""
    rows = {
        "waiting uploads, estimates": ("uploads", "samples"),
        "seconds left to wait: median, longest": ("median_wait_s", "longest_wait_s"),
        "difference from the estimate, in seconds: median, 90th percentile": ("median_s", "p90_s"),
    }
    lines = [f"| {name} | {results[a]}, {results[b]} |" for name, (a, b) in rows.items()]
    part = f"| as a part of the wait, of 5 s and more: median | {results['median_part']:.0%} |"
    on = results["machine"]
    measured_on = (
        f"Measured on {results['date']}: {on['processor']}, {on['cores']} cores of which other "
        f"programs used {results['cores_used_by_others']}, {on['memory']}, {on['system']}, Python "
        f"{on['python']}. {results['files']} files at once, {SLOTS} slots."
    )
    head = ["", measured_on, "", "| | |", "| --- | --- |"]
    return "\n".join([*head, *lines, part, "", ""])


if __name__ == "__main__":
    main()
