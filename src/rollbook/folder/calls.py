"""Steps in the watched folder, which block: in a few threads of their own, with a time limit.

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

#: Steps at a time, of all tasks of a process.
THREADS = 4

_waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
_threads: list[threading.Thread] = []
#: Steps that nobody waits for any more, each in a thread.
_late: set[Future[Any]] = set()


async def call(
    answer_s: float,
    step: Callable[Arguments, Result],
    *args: Arguments.args,
    **named: Arguments.kwargs,
) -> Result:
    """Run a step in one of the folder's threads; raises what the step raises.

    A step that takes too long may still come to its end: each must be repeatable.

    Raises:
        ServiceUnavailableError: it takes longer than ``answer_s`` seconds, or all threads are still
            in such steps; then none is begun.
        RuntimeError: there is no thread yet, and the machine gives none now.
    """
    if len(_late) >= THREADS:
        raise _no_answer(answer_s)
    _add_thread()
    future: Future[Result] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = step(*args, **named)
        except BaseException as error:  # noqa: BLE001 - it is raised where the step is waited for
            future.set_exception(error)
        else:
            future.set_result(result)

    _waiting.put(run)
    try:
        async with asyncio.timeout(answer_s):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        if future.done() and not future.cancelled():
            raise  # the step's own: the share's server gave up
        raise _no_answer(answer_s) from error
    finally:
        if not future.done():
            _late.add(future)
            future.add_done_callback(_late.discard)


def _add_thread() -> None:
    """Start one more thread; where the machine gives none now, those that are there do."""
    if len(_threads) == THREADS:
        return
    # A daemon: the end of the process doesn't wait for a share.
    thread = threading.Thread(target=_serve, name="rollbook-folder", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        if not _threads:
            raise
    else:
        _threads.append(thread)


def _serve() -> None:
    while True:  # no bound: a thread's loop, which ends with the process
        _waiting.get()()


def _no_answer(answer_s: float) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The watched folder doesn't answer within {answer_s:g} seconds (ROLLBOOK_WATCH_ANSWER_S). "
        "Nothing was lost: files stay where they are until it does. Check the share that it is on, "
        "and mount it again where it hangs."
    )
