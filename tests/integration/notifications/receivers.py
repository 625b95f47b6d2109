"""Who receives notifications in tests: a real SMTP and a real HTTP server, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

from tests.closing import closing, served, shut
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from email.message import EmailMessage

    from aiosmtpd.smtp import Envelope, Session

Headers = dict[str, str]
# The mail server's lines about each connection are nobody's concern.
logging.getLogger("mail.log").setLevel(logging.WARNING)


@dataclass
class MailServer:
    """Keeps what it is sent; answers each recipient with ``answers``, then with good ones."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    #: Was the connection of each of these encrypted?
    encrypted: list[bool] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        over_tls = server.transport.get_extra_info("ssl_object") is not None
        self.encrypted.append(over_tls or session.ssl is not None)
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    @contextlib.asynccontextmanager
    async def running(
        self, *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[MailServer]:
        lines: list[SMTP] = []

        def connected() -> SMTP:
            line = SMTP(
                self, hostname="mail.test", tls_context=starttls, require_starttls=bool(starttls)
            )
            lines.append(line)
            return line

        loop = asyncio.get_running_loop()
        server = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await shut(server)
            for line in lines:
                if isinstance(line.transport, asyncio.Transport):
                    line.transport.abort()


@dataclass
class WebhookReceiver:
    """Keeps what it is posted; answers with ``answers``, then with 204, while ``answering``."""

    port: int = 0
    #: Path, headers by lower-case name, and body, as they came.
    requests: list[tuple[str, Headers, bytes]] = field(default_factory=list)
    #: Status line and headers; None doesn't answer.
    answers: list[str | None] = field(default_factory=list)
    #: Cleared to let answers wait.
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.answering.set()

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers, _ in self.requests]

    async def until(self, number: int) -> None:
        """Wait until so many requests came."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: len(self.requests) >= number)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            lines = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append((head[0].split(" ")[1], headers, body))
            answer = self.answers.pop(0) if self.answers else "204 No Content"
            async with self._news:
                self._news.notify_all()
            async with asyncio.timeout(PATIENCE_S):
                await self.answering.wait()
            if answer is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[WebhookReceiver]:
        async with served(self._answer) as self.port:
            yield self
