"""The latest messages, from which a client that reconnects gets what it missed."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rollbook.live.client import Audience
    from rollbook.live.messages import Message

#: Messages that are kept, and how many more before the oldest are dropped.
LENGTH: Final = 10_000
SLACK: Final = 1_000


class MessageLog:
    """Messages of events, in order."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        #: A client that knows this number, or a later one, can get everything after it.
        self.reaches_to = 0

    def __len__(self) -> int:
        return len(self._messages)

    def begin(self, seq: int) -> None:
        """Forget all messages; the next ones come after this number."""
        self._messages.clear()
        self.reaches_to = seq

    def append(self, message: Message) -> None:
        """Add a message; the oldest ones may be dropped."""
        self._messages.append(message)
        if len(self._messages) > LENGTH + SLACK:
            self.reaches_to = self._messages[-LENGTH - 1].seq
            del self._messages[:-LENGTH]

    def missed(self, audience: Audience, since: int) -> list[Message]:
        """The messages for an audience after a number."""
        first = bisect.bisect_right(self._messages, since, key=lambda message: message.seq)
        return [message for message in self._messages[first:] if audience.hears(message)]
