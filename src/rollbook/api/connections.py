"""The HTTP connections of the server: limits on heads, on answers and on one address.

uvicorn has none of them: a client that sends a byte of a header from time to time, or reads nothing
of its answer, kept its connection for ever. ``body`` limits what comes after the head.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import sys
import termios
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rollbook.accounts.audit import network_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rollbook.config import Settings

log = structlog.get_logger(__name__)

TOO_SLOW = (
    "The head of the request came in too slowly and was cut off. Nothing was changed; please send "
    "the request again over a better line."
)
TOO_LARGE = "The head of a request has at most {} KB. Nothing was changed."
#: What a client may still send while it is to read the last answer; then the connection is cut.
MOST_DROPPED = 1 << 20
TOO_MANY = "There are too many connections from your address. Nothing was changed; close some."


class Door:
    """Counts the connections of each address, and limits them.

    In IPv6 an address is its network of 64 bits: each subscriber has at least one. A reverse
    proxy's address isn't counted: all clients come from there.
    """

    def __init__(self, settings: Settings, trusted: str | list[str] | None) -> None:
        """``trusted`` has the addresses of reverse proxies, as in FORWARDED_ALLOW_IPS."""
        self.head_s = settings.head_timeout_s
        self.head_kb = settings.max_head_kb
        self.idle_s = settings.idle_connection_s
        self.grace_s = settings.body_grace_s
        self.least_rate = settings.body_least_rate
        self._most = settings.connections_per_address
        names = trusted.split(",") if isinstance(trusted, str) else trusted or []
        self._trusted = {name.strip() for name in names}
        self._networks = [found for name in self._trusted if (found := _network(name)) is not None]
        self._open: dict[asyncio.BaseTransport, str] = {}
        self._count: Counter[str] = Counter()

    def admit(self, transport: asyncio.BaseTransport) -> bool:
        """Count a new connection; False when its address has too many."""
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple) or self._is_trusted(str(peer[0])):
            return True
        address = network_of(str(peer[0]))
        if self._count[address] >= self._most:
            log.warning("too many connections of one address", connections=self._count[address])
            return False
        self._open[transport] = address
        self._count[address] += 1
        return True

    def release(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection that has ended; one that wasn't counted is fine."""
        address = self._open.pop(transport, None)
        if address is None:
            return
        self._count[address] -= 1
        if not self._count[address]:
            del self._count[address]

    def _is_trusted(self, address: str) -> bool:
        if "*" in self._trusted or address in self._trusted:
            return True
        found = ipaddress.ip_address(address.partition("%")[0])
        plain = getattr(found, "ipv4_mapped", None) or found
        return any(plain in network for network in self._networks)


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An address or a network; None for another word, which uvicorn compares as a text."""
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None


class _Line:
    """A transport that ends without a reset, so that the client can read the last answer.

    A connection that is closed while its client still sends is reset by the kernel, and many
    clients drop an answer that they haven't read by then. So what comes in is read and dropped
    until the client closes, for a bounded time and up to ``MOST_DROPPED`` bytes.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        patience_s: float,
        may_send_more: Callable[[], bool],
        on_rest: Callable[[], None],
    ) -> None:
        """``on_rest`` is called when the end of an answer is still to be read."""
        self.transport = transport
        self._patience_s = patience_s
        self._may_send_more = may_send_more
        self._on_rest = on_rest
        self._is_ending = False
        self._dropped = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is answered."""
        return self._is_ending or self.transport.is_closing()

    def drop(self, data: bytes) -> None:
        """Drop what comes in after the last answer."""
        self._dropped += len(data)
        if self._dropped > MOST_DROPPED:
            self.transport.close()

    @property
    def unread(self) -> int:
        """Bytes of answers that the client hasn't received yet."""
        unsent = self.transport.get_write_buffer_size()
        connection = self.transport.get_extra_info("socket")
        if connection is None:
            return unsent
        held = bytearray(4)
        with contextlib.suppress(OSError, ValueError):  # the system doesn't say
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, held)
        return unsent + int.from_bytes(held, sys.byteorder)

    def write(self, data: bytes) -> None:
        """Send bytes; none after the end, which a part of the program may not have seen yet."""
        if not self._is_ending:
            self.transport.write(data)

    def close(self) -> None:
        """End the connection; at once where the client has sent all that it had to."""
        if self.transport.get_write_buffer_size():
            self._on_rest()
        if self.is_closing() or not self._may_send_more():
            self.transport.close()
            return
        self._is_ending = True
        if self.transport.can_write_eof():  # TLS has no such end, and waits for the client's
            self.transport.write_eof()
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(self._patience_s, self.transport.close)


class Requests(HttpToolsProtocol):
    """HTTP with a limit on the head, and whose endless answers can be aborted."""

    def __init__(self, door: Door, **more: Any) -> None:
        super().__init__(**more)
        self._door = door
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._has_upgraded = False
        #: After the head of a request come only trailers, which nobody reads.
        self._has_head = False
        self._trailer_bytes = 0
        #: A request was refused before its end.
        self._is_cut_short = False
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head, or refuse the connection."""
        if self._door.admit(transport):
            line = _Line(transport, self._door.idle_s, self._may_send_more, self._await_reader)
            super().connection_made(cast("asyncio.Transport", line))
            self._await_head()
        else:
            super().connection_made(transport)
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._have_head()
        self._have_read()
        self._door.release(self._own_transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came in, and count what belongs to an unfinished head."""
        line: Any = self.transport
        if line.is_closing():  # it was refused
            if isinstance(line, _Line):
                line.drop(data)
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self._door.head_kb * 1024:
                self._have_head()
                large = TOO_LARGE.format(self._door.head_kb)
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, large)
        elif not self._has_upgraded and self._is_idle:
            # Blank lines between two requests have ended uvicorn's wait for the next one.
            self._await_head()

    @property
    def _own_transport(self) -> asyncio.Transport:
        line: Any = self.transport
        transport: asyncio.Transport = line.transport if isinstance(line, _Line) else line
        return transport

    def _may_send_more(self) -> bool:
        cycle: Any = self.cycle
        return self._is_cut_short or (cycle is not None and bool(cycle.more_body))

    @property
    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is under way and nothing ends the wait for the next request."""
        return not self._is_answering and self.timeout_keep_alive_task is None

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket, which has limits of its own."""
        self._has_upgraded = True
        self.transport = self._own_transport
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._is_cut_short = True
        self._have_head()
        super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        self._has_head, self._trailer_bytes = False, 0
        # Live messages are aborted when the client stops reading.
        self.scope["state"]["cut"] = self.transport.abort
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """End the wait for the head."""
        self._have_head()
        super().on_headers_complete()
        self._has_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; drop a trailer (RFC 9110, section 6.5), and count it."""
        if not self._has_head:
            super().on_header(name, value)
            return
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > self._door.head_kb * 1024 and not self.transport.is_closing():
            large = TOO_LARGE.format(self._door.head_kb)
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, large)

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self._door.head_s, self._is_late)

    def _have_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_late(self) -> None:
        self._head_timer = None
        if self._is_answering:
            self._wait_for_head()  # an answer is under way, with limits of its own
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, TOO_SLOW)

    def pause_writing(self) -> None:
        """Wait until the client has read more of the answer, for as long as it reads."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Go on with the answer; of one that has ended, wait for its rest to be read."""
        super().resume_writing()
        if self.transport.is_closing():
            self._await_reader()
        else:
            self._have_read()

    def _await_reader(self) -> None:
        line: Any = self.transport
        self._have_read()
        if isinstance(line, _Line):
            self._answer_timer = self.loop.call_later(
                self._door.grace_s, self._look_at_reader, line, line.unread
            )

    def _look_at_reader(self, line: _Line, before: int) -> None:
        """Abort an answer of which the client reads too little."""
        unread = line.unread
        if not unread:
            return
        if before - unread >= self._door.least_rate * self._door.grace_s:
            self._await_reader()
            return
        log.warning("answer not read, connection aborted", unread_bytes=unread)
        line.transport.abort()

    def _have_read(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer with a problem, and close the connection."""
        self._is_cut_short = True
        code = status.phrase.lower().replace(" ", "_")
        content = {
            "success": False,
            "message": message,
            "type": f"urn:rollbook:problem:{code}",
            "title": status.phrase,
            "status": status,
            "detail": message,
        }
        body = json.dumps(content).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
