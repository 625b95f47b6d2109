"""One client: the messages that wait for it, and when and why it is disconnected."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rollbook import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rollbook.live.messages import Message
    from rollbook.model import Scope, Session

#: Messages that may wait for a client. With one more it is disconnected.
WAITING: Final = 1000


@dataclass(frozen=True, slots=True)
class End:
    """Why a client is disconnected, with a close code of WebSocket (RFC 6455, section 7.4)."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Audience:
    """Clients that get the same messages."""

    scope: Scope
    is_operator: bool

    def hears(self, message: Message) -> bool:
        """Is the message in this audience's scope?"""
        return message.place is None or self.scope.includes(message.place)


TOO_SLOW: Final = End(1013, "too_slow")
PART_UNAVAILABLE: Final = End(1013, "unavailable")
TOO_MANY_REQUESTS: Final = End(1013, "too_many_requests")
TOO_MANY_LINES: Final = End(1013, "too_many_lines")
RESTART: Final = End(1012, "restart")
NOT_AUTHENTICATED: Final = End(4401, "not_authenticated")
TOKEN_EXPIRED: Final = End(4401, "token_expired")
ACCOUNT_CHANGED: Final = End(4401, "account_changed")
UNEXPECTED_MESSAGE: Final = End(4400, "unexpected_message")


class Client:
    """A client with its own bounded queue of messages."""

    __slots__ = (
        "_age", "_expiry", "_limit", "_steps", "_waiting", "_wake", "audience", "ended", "session",
    )  # fmt: skip

    def __init__(self, session: Session) -> None:
        user = session.user
        self.audience = Audience(user.scope, user.role.is_operator)
        self._waiting: deque[Message] = deque()
        self._limit = WAITING
        self._wake = asyncio.Event()
        #: Done as soon as the client must be disconnected.
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._steps: Mapping[str, tuple[int, int]] | None = None
        self._age = 0
        self._expiry: asyncio.TimerHandle | None = None
        self.renew(session)

    @property
    def waiting(self) -> int:
        """How many messages wait to be sent."""
        return len(self._waiting)

    def renew(self, session: Session) -> None:
        """Let the client stay until its newest token expires."""
        self.session = session
        if self._expiry is not None:
            self._expiry.cancel()
        seconds = (session.expires - clock.now()).total_seconds()
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(max(seconds, 0), self.end, TOKEN_EXPIRED)

    def gone(self) -> None:
        """Forget what waits: the connection is closed."""
        self._waiting.clear()
        if self._expiry is not None:
            self._expiry.cancel()

    def begin(self, messages: list[Message]) -> None:
        """Queue the first messages, however many: they are shared with the log."""
        self._limit = WAITING + len(messages)
        for message in messages:
            self.push(message)

    def remember(self, steps: Mapping[str, tuple[int, int]]) -> None:
        """Remember how far uploads are in the client's snapshot, which is ahead of the events."""
        self._steps, self._age = steps, 0

    def grow_older(self) -> None:
        """Forget the snapshot at the second heartbeat: by then the events are past it."""
        self._age += 1
        if self._age > 1:
            self._steps = None

    def push(self, message: Message) -> None:
        """Queue a message; never blocks."""
        if self.ended.done():
            return
        if (
            self._steps is not None
            and message.step is not None
            and message.step < self._steps.get(message.job_id, (0, 0))
        ):
            return  # its snapshot was further
        if len(self._waiting) >= self._limit:
            self.end(TOO_SLOW)
            return
        self._waiting.append(message)
        self._wake.set()

    def end(self, why: End) -> None:
        """Disconnect the client, and forget what waits for it."""
        if not self.ended.done():
            self.ended.set_result(why)
            self._waiting.clear()

    async def next(self) -> Message:
        """Wait for the next message."""
        while not self._waiting:
            self._limit = WAITING  # the first messages are sent
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()
