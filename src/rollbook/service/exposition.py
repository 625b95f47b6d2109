"""Metrics and probes of a process: the text, and a small server for processes without the API."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from typing import TYPE_CHECKING, Final

import h11
import structlog
from prometheus_client import REGISTRY, Metric, generate_latest

from rollbook.errors import ConfigurationError
from rollbook.service.health import Readiness

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterable

    from rollbook.config import Settings
    from rollbook.service.system import System

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: Timeout for a client of the small server, in seconds.
PATIENCE_S: Final = 10.0
_REASONS: Final = {200: b"OK", 401: b"Unauthorized", 404: b"Not Found", 503: b"Service Unavailable"}

log = structlog.get_logger(__name__)


class _Families:
    """Metric families of several processes, merged by name: a text may have each name once."""

    def __init__(self) -> None:
        self._by_name: dict[str, Metric] = {}

    def add(self, families: Iterable[Metric], component: str | None = None) -> None:
        """Add families of a component; None: of the installation."""
        for family in families:
            known = self._by_name.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            label = {} if component is None else {"component": component}
            known.samples += [
                sample._replace(labels={**sample.labels, **label}) for sample in family.samples
            ]

    def collect(self) -> list[Metric]:
        """All families, as from a registry."""
        return list(self._by_name.values())


def text(
    component: str,
    shared: Iterable[Metric] = (),
    others: Iterable[tuple[str, Iterable[Metric]]] = (),
) -> bytes:
    """The metrics of this process in Prometheus' text format.

    Each of its samples has the component (``api``, ``worker``, ``watch``) as a label. The
    installation's ``shared`` families have none, and those of other processes already have theirs.
    """
    families = _Families()
    families.add(REGISTRY.collect(), component)
    families.add(shared)
    for _, found in others:
        families.add(found)
    return generate_latest(families)


def may_read(settings: Settings, authorization: str | None) -> bool:
    """May a client with this header read the metrics? Everybody may where no token is set."""
    if settings.metrics_token is None:
        return True
    wanted = f"Bearer {settings.metrics_token.get_secret_value()}"
    return hmac.compare_digest(wanted.encode(), (authorization or "").encode("utf-8", "replace"))


@contextlib.asynccontextmanager
async def served(
    system: System, component: str, listener: socket.socket | None = None
) -> AsyncIterator[None]:
    """Answer ``/metrics``, ``/healthz`` and ``/readyz`` for as long as the context lasts.

    Without a listening socket, ROLLBOOK_METRICS_HOST and _PORT say where; nothing is served where
    no port is set.

    Raises:
        ConfigurationError: the port is taken.
    """
    settings = system.settings
    if listener is None and settings.metrics_port is None:
        yield
        return
    answers = _Answers(system, component)
    try:
        if listener is not None:
            server = await asyncio.start_server(answers.serve, sock=listener)
        else:
            server = await asyncio.start_server(
                answers.serve, settings.metrics_host, settings.metrics_port
            )
    except OSError as error:
        raise ConfigurationError(
            f"Port {settings.metrics_port} of {settings.metrics_host} can't be used for metrics "
            f"({error.strerror}). Give each worker and watcher of a machine a port of its own: "
            "ROLLBOOK_METRICS_PORT."
        ) from None
    try:
        yield
    finally:
        server.close()


class _Answers:
    """The small server: one request per connection, no body, three paths."""

    def __init__(self, system: System, component: str) -> None:
        self._settings = system.settings
        self._component = component
        self._readiness = Readiness(system)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._serve(reader, writer)
        except (TimeoutError, OSError, h11.ProtocolError) as error:
            log.debug("metrics request aborted", error=type(error).__name__)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = h11.Connection(h11.SERVER)
        while (event := line.next_event()) is h11.NEED_DATA:
            line.receive_data(await reader.read(4096))
        if not isinstance(event, h11.Request):
            return
        status, kind, body = await self._answer(event)
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        response = h11.Response(status_code=status, headers=headers, reason=_REASONS[status])
        parts = [response, h11.Data(data=body), h11.EndOfMessage()]
        writer.write(b"".join(line.send(part) or b"" for part in parts))
        await writer.drain()

    async def _answer(self, request: h11.Request) -> tuple[int, str, bytes]:
        path = request.target.partition(b"?")[0]
        if path == b"/metrics":
            given = dict(request.headers).get(b"authorization", b"").decode("latin-1")
            if not may_read(self._settings, given):
                return 401, "text/plain", b"a token is needed\n"
            return 200, CONTENT_TYPE, text(self._component)
        if path == b"/healthz":
            return 200, "application/json", b'{"status":"ok"}'
        if path == b"/readyz":
            is_ready, results = await self._readiness.check()
            return 200 if is_ready else 503, "application/json", json.dumps(results).encode()
        return 404, "text/plain", b"there is nothing here\n"
