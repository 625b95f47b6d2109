"""Waiting for the end of a job: a progress bar on a terminal, and a sentence for what delays it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rollbook.cli.connection import UnreachableError
from rollbook.cli.failures import WaitedTooLongError
from rollbook.cli.output import err, moment
from rollbook.model import FINAL

if TYPE_CHECKING:
    from rollbook.cli.connection import Connection, Data

#: Seconds between two looks: short at first, as most files take a second, and then longer.
FIRST_LOOK_S, LONGEST_LOOK_S, GROWTH = 0.2, 2.0, 1.2
#: Seconds between two looks at the queue, while the job waits in it.
QUEUE_LOOK_S = 5.0


async def follow(
    connection: Connection, job_id: str, *, quiet: bool, timeout_s: float, again: str
) -> Data:
    """Wait until a job has ended, and return its last status.

    With ``quiet`` there is no progress bar, but sentences about delays are still written.
    ``again`` is the command with which to wait again.

    Raises:
        WaitedTooLongError: it hasn't ended in time.
        UnreachableError: the server didn't answer for longer than the connection's patience.
    """
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TimeElapsedColumn())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    pause = FIRST_LOOK_S
    delays = _Delays(connection)
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("waiting", total=100)
        while True:
            try:
                status: Data = (await connection.get(f"/bulk-upload/status/{job_id}")).data
                words = await _in_words(status, connection)
            except UnreachableError as error:
                raise UnreachableError(
                    f"{error.message} Job {job_id} is not affected; follow it with `{again}`."
                ) from None
            bar.update(task, completed=status["progress"], description=words)
            if status["status"] in FINAL:
                bar.update(task, completed=100)
                return status
            if status["status"] == "pending":
                await delays.look()
            if loop.time() + pause > deadline:
                raise WaitedTooLongError(
                    f"Job {job_id} has not ended after {timeout_s:g} seconds. It continues; follow "
                    f"it with `{again}`."
                )
            await asyncio.sleep(pause)
            pause = min(pause * GROWTH, LONGEST_LOOK_S)


async def _in_words(status: Data, connection: Connection) -> str:
    if status["status"] != "pending":
        return str(status["stage"] or status["status"])
    place = status.get("queue_position")
    words = f"waiting, number {place}" if place else "waiting"
    if start := status.get("estimated_start_at"):
        words += f", starts about {moment(start, await connection.zone())}"
    return words


class _Delays:
    """Prints why a waiting job doesn't start, and again when the reason changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next_look = 0.0
        self._said: str | None = None

    async def look(self) -> None:
        """Ask the queue, if the last look is long enough ago."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return
        self._next_look = now + QUEUE_LOOK_S
        queue: Data = (await self._connection.get("/bulk-upload/queue/stats")).data
        sentence = _delay(queue)
        if sentence not in {None, self._said}:
            err.print(f"[yellow]{escape(str(sentence))}[/]", soft_wrap=True)
        self._said = sentence


def _delay(queue: Data) -> str | None:
    if queue["is_paused"]:
        return (
            "The queue is paused: the job waits until an operator resumes it (`rollbook queue "
            "resume`)."
        )
    # Servers before 0.2.0 don't say.
    if queue.get("workers") == 0:
        return (
            "No worker takes jobs: the job waits until one runs (`rollbook up` or `rollbook "
            "worker`)."
        )
    return None
