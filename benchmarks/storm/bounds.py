"""Bounds for every wait of a storm, and how busy the machine was during it.

A wait that ends after its bound is late. On a machine that had too little processor time for
everything, that says nothing about a promise; otherwise it breaks one. A wait that doesn't end
within ``PATIENCE`` times its bound is given up: the report says what was waited for.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from rollbook.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: After how many times its bound a wait is given up.
PATIENCE: Final = 4.0
#: The share of a wait during which something waited for a processor, from which on the machine
#: counts as loaded.
LOADED: Final = 0.5
#: Seconds that a description of the system may take.
DESCRIBE_S: Final = 15.0
LOOK_S: Final = 0.2
#: Seconds beyond all patience after which a step that can't end by itself is given up.
HANGS_S: Final = 60.0
PRESSURE: Final = Path("/proc/pressure/cpu")
#: What says that a part is away at the moment.
AWAY: Final = (psycopg.OperationalError, ConnectionError, ServiceUnavailableError)


class BrokenPromiseError(AssertionError):
    """Something was lost, wrong, or isn't normal again."""


@dataclass(frozen=True, slots=True)
class Late:
    """A wait that ended after its bound."""

    what: str
    bound_s: float
    took_s: float
    #: The share of the wait during which something waited for a processor; None if unknown.
    pressure: float | None

    @property
    def is_excused(self) -> bool:
        """Whether the machine was too busy for the bound to say anything."""
        return self.pressure is not None and self.pressure >= LOADED


@dataclass(slots=True)
class _Step:
    what: str
    bound_s: float
    thread: int
    began: float
    pressure_us: int | None


class Waits:
    """Every wait of a storm, over all of its threads."""

    def __init__(self, describe: Callable[[], str], give_up: Callable[[str], None]) -> None:
        """Begin to look after waits.

        Args:
            describe: says what the system does at the moment; it may fail.
            give_up: ends the run with a report, when a step hangs that can't end by itself.
        """
        self.late: list[Late] = []
        self._describe = describe
        self._give_up = give_up
        self._steps: list[_Step] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._done.set()

    @contextmanager
    def step(self, what: str, bound_s: float) -> Iterator[None]:
        """Note a wait; a late end is recorded."""
        own = _Step(what, bound_s, threading.get_ident(), time.monotonic(), pressure_us())
        with self._lock:
            self._steps.append(own)
        try:
            yield
        finally:
            with self._lock:
                self._steps.remove(own)
        took_s = time.monotonic() - own.began
        if took_s > bound_s:
            self.late.append(Late(what, bound_s, round(took_s, 1), _share(own)))

    def until(self, condition: Callable[[], Any], what: str, bound_s: float) -> Any:
        """Wait for a condition, and return its value.

        Raises:
            BrokenPromiseError: it isn't so after ``PATIENCE`` times the bound.
        """
        with self.step(what, bound_s):
            deadline = time.monotonic() + bound_s * PATIENCE
            while time.monotonic() < deadline:
                try:
                    if found := condition():
                        return found
                except AWAY:
                    pass
                time.sleep(LOOK_S)
            raise BrokenPromiseError(
                f"not within {bound_s * PATIENCE:g} s: {what}\n{self.describe()}"
            )

    def describe(self) -> str:
        """What is waited for, and what the system does."""
        now = time.monotonic()
        with self._lock:
            steps = [f"waiting for {s.what} for {now - s.began:.0f} s" for s in self._steps]
        said: list[str] = []

        def ask() -> None:
            try:
                said.append(self._describe())
            except Exception as error:  # noqa: BLE001 - it is part of the report
                said.append(f"the system can't be described: {error!r}")

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(DESCRIBE_S)
        return "\n".join([*steps, *(said or [f"the record says nothing in {DESCRIBE_S:g} s"])])

    def _look(self) -> None:
        """Give up a step that hangs in a call of its own, beyond any patience."""
        while not self._done.wait(LOOK_S):
            now = time.monotonic()
            with self._lock:
                hanging = [s for s in self._steps if now - s.began > s.bound_s * PATIENCE + HANGS_S]
            if hanging:
                frames = sys._current_frames()  # noqa: SLF001 - the only way to other threads
                trace = traceback.format_stack(frames[hanging[0].thread])
                self._give_up(f"hanging: {hanging[0].what}\n{self.describe()}\n{''.join(trace)}")
                return


def verdict(broken: str | None, late: list[Late]) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of a run: 0 held, 1 broken, 2 held, but late where it was busy.

    Args:
        broken: the promise that was broken, in words.
        late: the waits that ended after their bounds.
    """
    inexcusable = [wait for wait in late if not wait.is_excused]
    report = {"broken": broken, "late": [asdict(wait) for wait in late]}
    if broken is not None:
        return 1, {"verdict": "a promise is broken", **report}
    if inexcusable:
        return 1, {"verdict": "late, although the machine had room", **report}
    if late:
        return 2, {"verdict": "every promise held; late on a loaded machine", **report}
    return 0, {"verdict": "every promise held, in time", **report}


def pressure_us() -> int | None:
    """Microseconds since the start of the machine during which something waited for a processor."""
    try:
        some = PRESSURE.read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2])


def _share(step: _Step) -> float | None:
    now = pressure_us()
    if now is None or step.pressure_us is None:
        return None
    return round((now - step.pressure_us) / 1e6 / (time.monotonic() - step.began), 2)
