"""The position of this process in the queue's event stream: events heard, handled and lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final

from rollbook.errors import ServiceUnavailableError
from rollbook.live.messages import PER_MS, seq_of

if TYPE_CHECKING:
    from rollbook.queue.subscriber import QueueEvent
    from rollbook.queue.uploads import UploadQueue

#: Events that may wait to be handled. With one more, all are dropped and clients get a snapshot.
LIMIT: Final = 10_000
#: Events that are handled at a time.
BATCH: Final = 500


class Stream:
    """Events that were heard and wait to be handled, and how far the others are handled."""

    def __init__(self) -> None:
        #: The number of the last event that was handled, whether or not it became a message.
        self.position = 0
        #: The number of the last event that was heard.
        self.newest = 0
        #: Does Redis not answer? Then nobody knows whether events are missing.
        self.is_cut_off = False
        self._waiting: deque[QueueEvent] = deque()
        #: Of the events up to this number some were lost; None: none were since the last batch.
        self._lost_to: int | None = None
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._epoch: int | None = None
        #: The newest event at the last check at which Redis answered.
        self._seen = 0

    def __len__(self) -> int:
        """How many events wait to be handled."""
        return len(self._waiting)

    def hear(self, event: QueueEvent) -> None:
        """Add an event; the subscriber's listener, which must not block."""
        if event.name == "error":
            return
        self.newest = seq_of(event.id)
        if len(self._waiting) >= LIMIT:
            self.lose_to(seq_of(self._waiting[-1].id))
            self._waiting.clear()
        self._waiting.append(event)
        self._wake.set()

    def lose_to(self, seq: int) -> None:
        """Note that of the events up to a number some were lost."""
        self._lost_to = max(seq, self._lost_to or 0)
        self._wake.set()

    async def next_batch(self) -> tuple[list[QueueEvent], int | None]:
        """Wait for events or a loss; the events in order, and the number lost up to."""
        await self._wake.wait()
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
        lost_to, self._lost_to = self._lost_to, None
        if not self._waiting:
            self._wake.clear()
        return batch, lost_to

    def begin(self, epoch_ms: int) -> None:
        """Start at the beginning of the stream of an epoch (a lifetime of Redis' keys)."""
        self._epoch = epoch_ms
        self.position = _before(epoch_ms)

    async def move_to(self, seq: int) -> None:
        """Set the position, and wake those who wait for it."""
        self.position = seq
        async with self._moved:
            self._moved.notify_all()

    async def reach(self, seq: int, timeout_s: float) -> None:
        """Wait until an event was handled, at most for a time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self.position >= seq)

    async def check(self, queue: UploadQueue) -> None:
        """Notice that Redis lost its keys, or trimmed events off the stream before they were read.

        Raises:
            ServiceUnavailableError: Redis doesn't answer.
        """
        if self._epoch is None:
            return
        # What was heard by the last check: a later event may have come after a gap.
        seen, self._seen = self._seen, max(self._seen, self.newest, self.position)
        try:
            epoch = await queue.epoch_ms()
            cut_to = await queue.events_cut_to()
        except ServiceUnavailableError:
            self.is_cut_off = True
            self._seen = seen
            raise
        self.is_cut_off = False
        if epoch != self._epoch:
            self._epoch = epoch
            self.lose_to(_before(epoch))
        elif seen and cut_to is not None and seq_of(cut_to) > seen:
            self._seen = seq_of(cut_to)  # the event itself is still to be heard
            self.lose_to(self._seen - 1)


def _before(epoch_ms: int) -> int:
    """The last number before an epoch, whose own millisecond belongs to the epoch."""
    return epoch_ms * PER_MS - 1
