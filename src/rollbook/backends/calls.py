"""Steps on a disk or a share, which block: in a few threads of their own, with a time limit.

A share that hangs lets a system call wait for ever, and no thread can be ended. So the number of
threads is bounded, and none of them is one that the rest of the process needs.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rollbook.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class Calls:
    """The steps of all tasks of a process in one place that may hang.

    Args:
        name: of the threads.
        threads: how many steps are done at a time.
        no_answer: what is said of a step that takes too long, with ``{}`` for the seconds.
    """

    def __init__(self, name: str, *, threads: int, no_answer: str) -> None:
        self.threads = threads
        self._name = name
        self._no_answer = no_answer
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._started = 0
        #: Steps that nobody waits for any more, each in a thread.
        self.late: set[Future[Any]] = set()

    async def call(
        self,
        answer_s: float,
        step: Callable[Arguments, Result],
        *args: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Run a step in one of the threads; raises what the step raises.

        A step that takes too long may still come to its end: each must be repeatable.

        Raises:
            ServiceUnavailableError: it takes longer than ``answer_s`` seconds, or all threads are
                still in such steps; then none is begun.
            RuntimeError: there is no thread yet, and the machine gives none now.
        """
        if len(self.late) >= self.threads:
            raise self._error(answer_s)
        self._add_thread()
        future: Future[Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = step(*args, **named)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(error)
            else:
                future.set_result(result)

        self._waiting.put(run)
        try:
            async with asyncio.timeout(answer_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            if future.done() and not future.cancelled():
                raise  # the step's own: the share's server gave up
            raise self._error(answer_s) from error
        finally:
            if not future.done():
                self.late.add(future)
                future.add_done_callback(self.late.discard)

    def _add_thread(self) -> None:
        """Start one more thread; where the machine gives none now, those that are there do."""
        if self._started == self.threads:
            return
        # A daemon: the end of the process doesn't wait for a share.
        thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._started:
                raise
        else:
            self._started += 1

    def _serve(self) -> None:
        while True:  # no bound: a thread's loop, which ends with the process
            self._waiting.get()()

    def _error(self, answer_s: float) -> ServiceUnavailableError:
        return ServiceUnavailableError(self._no_answer.format(f"{answer_s:g}"))
