"""Run a long command and say what it does, how far it is and when it will end.

``python scripts/long.py NAME MINUTES WHAT -- COMMAND ...``. MINUTES is how long the first run is
expected to take; later runs are expected to take what the last one took on this machine.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TIMES = ROOT / "build" / "long"
#: Seconds between two lines.
TICK_S = 60.0


def expected_s(name: str, minutes: float) -> float:
    """Seconds that the run is expected to take."""
    kept = TIMES / name
    return float(kept.read_text(encoding="utf-8")) if kept.exists() else minutes * 60


def progress(passed_s: float, whole_s: float, now: dt.datetime) -> str:
    """How far a run is, as a line."""
    if passed_s >= whole_s:
        return f"{passed_s / 60:.0f} min; expected {whole_s / 60:.0f} min, so it takes longer"
    end = now + dt.timedelta(seconds=whole_s - passed_s)
    share = 100 * passed_s / whole_s
    return f"{passed_s / 60:.0f} of about {whole_s / 60:.0f} min ({share:.0f} %), until {end:%H:%M}"


def main() -> int:
    """Run the command; its exit code."""
    name, minutes, what = sys.argv[1:4]
    command = sys.argv[sys.argv.index("--") + 1 :]
    whole_s, began = expected_s(name, float(minutes)), time.monotonic()
    ended = threading.Event()

    def say(text: str) -> None:
        sys.stderr.write(f"[{name}] {text}\n")
        sys.stderr.flush()

    def tick() -> None:
        while not ended.wait(TICK_S):
            say(progress(time.monotonic() - began, whole_s, dt.datetime.now().astimezone()))

    say(f"{what}: {progress(0, whole_s, dt.datetime.now().astimezone())}")
    threading.Thread(target=tick, daemon=True).start()
    try:
        code = subprocess.call(command, cwd=ROOT)
    except KeyboardInterrupt:
        code = 130
    ended.set()
    took_s = time.monotonic() - began
    say(f"{'done' if code == 0 else f'failed (exit code {code})'} after {took_s / 60:.1f} min")
    if code == 0:
        TIMES.mkdir(parents=True, exist_ok=True)
        (TIMES / name).write_text(str(took_s), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
