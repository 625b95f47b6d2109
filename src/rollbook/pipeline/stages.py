"""The stages of an attempt: their durations and the attempt's progress.

Most of a stage is one call into a parser, polars or PostgreSQL that reports nothing before it
returns. Meanwhile the progress is estimated from the usual duration for such a file; the estimate
approaches the beginning of the next stage and never passes it.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final

from rollbook.model import STAGES, Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

#: Seconds between two messages.
TICK_S: Final = 0.4

#: Usual duration for a workbook in seconds: by its rows, or by its bytes while the number of rows
#: isn't known.
_SECONDS_PER_ROW: Final = 62e-6
_SECONDS_PER_BYTE: Final = 0.3e-6
_SHORTEST_S: Final = 0.05


class Stages:
    """Times the stages and reports the attempt's progress a few times a second.

    A context manager: within it a thread of its own sends the reports.
    """

    def __init__(self, report: Callable[[Progress], None], *, file_bytes: int) -> None:
        self._report = report
        self._seconds_in_all = file_bytes * _SECONDS_PER_BYTE
        self._rows_total: int | None = None
        #: Whether all rows are read, so that the number is exact and not only the file's claim.
        self._is_total_known = False
        self._rows_read = 0
        #: The last reported values, because neither ever goes back.
        self._percent = self._rows_done = 0
        self._stage: str | None = None
        self._began = self._stage_began = self._stretch_began = time.perf_counter()
        #: The percentage at which the stage begins, or the stages that alternate with it.
        self._stretch = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        #: Seconds by stage, of those that have ended.
        self.seconds: dict[str, float] = {}
        #: When each first began and last ended, in nanoseconds since 1970: stages take turns.
        self.spans: dict[str, tuple[int, int]] = {}
        self._stage_began_at = time.time_ns()

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._ticker.join()

    def begin(self, stage: str, *, rows_total: int | None = None) -> None:
        """End the current stage and begin another, or resume one."""
        with self._lock:
            self._end()
            if STAGES[stage] != self._stretch:
                self._stretch, self._stretch_began = STAGES[stage], time.perf_counter()
            self._stage = stage
            if rows_total is not None:
                self._is_total_known = True
                self._take_total(rows_total)
            self._report(self._progress())

    def note_rows(self, rows: int, *, expected: int | None = None) -> None:
        """Count rows that were read; ``expected`` is the number in all, as the file says."""
        with self._lock:
            self._rows_read += rows
            if expected is not None:
                self._take_total(max(expected, self._rows_read))

    def _take_total(self, rows: int) -> None:
        self._rows_total = rows
        self._seconds_in_all = rows * _SECONDS_PER_ROW

    def end(self) -> None:
        """Note how long the last stage took."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        now = time.perf_counter()
        if self._stage is not None:
            taken = self.seconds.get(self._stage, 0.0) + now - self._stage_began
            self.seconds[self._stage] = round(taken, 3)
            began, _ = self.spans.get(self._stage, (self._stage_began_at, 0))
            self.spans[self._stage] = (began, time.time_ns())
        self._stage_began, self._stage_began_at = now, time.time_ns()
        self._stage = None

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            with self._lock:
                if self._stage is not None:
                    self._report(self._progress())

    def _progress(self) -> Progress:
        assert self._stage is not None
        now = time.perf_counter()
        start = self._stretch
        room = min([later for later in STAGES.values() if later > start], default=100) - start
        usual = max(self._seconds_in_all * room / 100, _SHORTEST_S)
        share = 1 - math.exp(-(now - self._stretch_began) / usual)
        percent = self._percent = max(self._percent, start + min(int(room * share), room - 1))
        done = (self._rows_total or self._rows_read) * percent // 100
        if not self._is_total_known:
            # The file may have fewer rows than it claims: only the rows that were read are certain.
            done = min(done, self._rows_read)
        done = self._rows_done = max(self._rows_done, done)
        rate = round(done / max(now - self._began, 1e-3), 1) if done else None
        return Progress(self._stage, percent, done, self._rows_total, rate)
