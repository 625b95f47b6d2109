"""How much of the machine other work used: a figure from a shared machine means little without."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from types import TracebackType


class Others:
    """Measures, while the context lasts, what the processes used that are not of this benchmark.

    Ours are this process and all that descend from it: the engines, the worker, the peers.
    """

    def __init__(self) -> None:
        #: Cores that were busy for others, on average.
        self.cores = 0.0
        #: Seconds of processor time that were ours, PostgreSQL's among them.
        self.own_s = 0.0

    def __enter__(self) -> Self:
        self._began, self._busy, self._own = time.perf_counter(), _busy_s(), _own_s()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._began
        self.own_s = round(_own_s() - self._own, 2)
        used = _busy_s() - self._busy - self.own_s
        self.cores = round(max(0.0, used / seconds), 2)


def _busy_s() -> float:
    times = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "guest", "guest_nice")  # guests are in user already
    return float(sum(seconds for name, seconds in times.items() if name not in idle))


def _own_s() -> float:
    own = 0.0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            # The times of those that ended are their parent's, so nothing is lost with them.
            own += sum(process.cpu_times()[:4])
    return own
