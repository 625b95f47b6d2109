"""The most memory that processes had while something ran."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from types import TracebackType

#: Seconds between two looks, and between two looks for new children.
LOOK_S, CHILDREN_S = 0.02, 1.0


class Peak:
    """Polls the resident memory of a process, or of its children, while the context lasts."""

    def __init__(self, pid: int, *, children: bool = False) -> None:
        self._parent = psutil.Process(pid)
        self._of_children = children
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        #: Of the one process that had most.
        self.megabytes = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        processes: list[psutil.Process] = []
        listed = 0.0
        while not self._ended.wait(LOOK_S):
            if time.monotonic() - listed > CHILDREN_S:
                processes, listed = self._processes(), time.monotonic()
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    self.megabytes = max(self.megabytes, process.memory_info().rss / 2**20)

    def _processes(self) -> list[psutil.Process]:
        if not self._of_children:
            return [self._parent]
        with contextlib.suppress(psutil.Error):
            return self._parent.children(recursive=True)
        return []
