"""Run the tests again and again in random order, with as many busy processes beside them as cores.

A test that passes only on a quiet machine, or only after the one before it, fails here. The seed of
each run is printed; ``SEED=n RUNS=1`` runs the same order again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
#: Keeps one core busy as long as this process lives.
BUSY = "import os\nwhile os.getppid() == {parent}:\n    for _ in range(10**6):\n        pass"
#: Seconds that one run may take. Each test has its own limit; this one is for what is no test.
LONGEST_RUN_S = 2 * 3600
_FAILED = re.compile(r"^(?:FAILED|ERROR) .*$", re.MULTILINE)
_COUNTS = re.compile(r"^=*\s*(\d+ (?:passed|failed|error).*?)\s*=*$", re.MULTILINE)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many cores busy, at the priority of the tests."""
    program = BUSY.format(parent=os.getpid())
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def run(seed: int, log: Path, tests: list[str], processes: int) -> bool:
    """Run the tests once; did all of them pass?"""
    command = [
        sys.executable, "-m", "pytest", f"--numprocesses={processes}", "--dist=worksteal",
        "--durations=15", *tests,
    ]  # fmt: skip
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "ROLLBOOK_TEST_ORDER": str(seed)},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LONGEST_RUN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            output.write(f"\nERROR the run was stopped after {LONGEST_RUN_S} s\n".encode())
            return False
    return done.returncode == 0


def main() -> int:
    """Do all runs; 1 if any of them failed."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each next is 1 more")
    parser.add_argument("--busy", type=int, default=cores, help="busy processes beside the tests")
    parser.add_argument("--processes", type=int, default=cores + 1, help="that run tests")
    parser.add_argument("--logs", type=Path, default=ROOT / "build" / "stress")
    parser.add_argument("tests", nargs="*", help="paths; without any, all tests")
    given = parser.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    say = (
        f"{given.runs} runs of {' '.join(given.tests) or 'all tests'}, {given.busy} busy processes"
    )
    sys.stdout.write(f"{say}; the output of each run is in {given.logs}\n")
    failed, began = [], time.monotonic()
    with busy(given.busy):
        for number in range(given.runs):
            seed, start = given.seed + number, time.monotonic()
            sys.stdout.write(f"run {number + 1} of {given.runs}, seed {seed}: ")
            sys.stdout.flush()
            log = given.logs / f"seed-{seed}.log"
            passed = run(seed, log, given.tests, given.processes)
            text = log.read_text(encoding="utf-8", errors="replace")
            counts = _COUNTS.findall(text)
            now = time.monotonic()
            left = (now - began) / (number + 1) * (given.runs - number - 1)
            sys.stdout.write(
                f"{counts[-1] if counts else 'no result'}; took {(now - start) / 60:.1f} min, "
                f"{left / 60:.0f} min left\n"
            )
            if not passed:
                failed.append(seed)
                sys.stdout.writelines(f"  {line}\n" for line in _FAILED.findall(text))
            sys.stdout.flush()
    sys.stdout.write(f"{given.runs - len(failed)} passed, {len(failed)} failed\n")
    if failed:
        sys.stdout.write(f"failed with the seeds {', '.join(map(str, failed))}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
