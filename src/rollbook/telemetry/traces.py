"""Traces: spans from a request through the queue to the merge.

Spans are sent to an OpenTelemetry collector as OTLP over HTTP, in its JSON form, when one is named;
otherwise ``span`` does nothing at all. Why not OpenTelemetry's own SDK: docs/decisions/0031.
No attribute holds anything of a member, a file's name or a path: ids, counts, codes, templates.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import time
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import structlog

from rollbook import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rollbook.config import Settings

Value = str | int | float | bool
#: Kinds of spans, as OTLP numbers them.
INTERNAL, SERVER, PRODUCER, CONSUMER = 1, 2, 4, 5
_FAILED: Final = 2

#: Maximum of spans that wait; the oldest are dropped while no collector answers.
WAITING: Final = 4096
#: Spans per message.
BATCH: Final = 512
#: Interval between messages, and timeout of the collector, in seconds.
INTERVAL_S: Final = 2.0
PATIENCE_S: Final = 5.0

#: W3C Trace Context, version 00.
_TRACEPARENT: Final = re.compile(
    r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Span:
    """A span: a piece of work with its begin and end."""

    trace_id: str
    parent_id: str | None
    name: str
    kind: int = INTERNAL
    attributes: dict[str, Value] = field(default_factory=dict)
    #: Nanoseconds since 1970.
    start: int = field(default_factory=time.time_ns)
    end: int = 0
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    #: The error's code; empty without an error.
    error: str | None = None

    @property
    def traceparent(self) -> str:
        """The ``traceparent`` with which other work joins this trace."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def as_otlp(self) -> dict[str, Any]:
        """This span in OTLP's JSON form."""
        found: dict[str, Any] = {
            "traceId": self.trace_id,
            "spanId": self.span_id,
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": str(self.start),
            "endTimeUnixNano": str(self.end),
            "attributes": _attributes(self.attributes),
            "status": {"code": _FAILED, "message": self.error} if self.error else {},
        }
        return found if self.parent_id is None else {**found, "parentSpanId": self.parent_id}


#: The current span of this task.
_current: ContextVar[Span | None] = ContextVar("span", default=None)
#: Spans to send; None while traces are off.
_waiting: deque[Span] | None = None


@contextlib.contextmanager
def span(
    name: str, *, kind: int = INTERNAL, parent: str | None = None, **attributes: Value
) -> Iterator[Span | None]:
    """Work within a span; None when traces are off, or when the caller's trace isn't recorded.

    The name is always the same for the same work. ``parent`` is a ``traceparent`` from elsewhere;
    without it, the current span is the parent. In an attribute's name, ``__`` means a dot.
    """
    if _waiting is None:
        yield None
        return
    around = _of(parent) if parent is not None else _ids(_current.get())
    if around is None:
        yield None
        return
    trace_id, parent_id = around
    own = Span(trace_id, parent_id, name, kind, _dotted(attributes))
    token = _current.set(own)
    try:
        yield own
    except BaseException as error:
        if own.error is None:
            own.error = str(getattr(error, "code", None) or type(error).__name__)
        raise
    finally:
        _current.reset(token)
        own.end = time.time_ns()
        _keep(own)


def note(name: str, start: int, end: int, *, parent: str | None, **attributes: Value) -> None:
    """Record finished work, such as a wait or the work of another process.

    Start and end are nanoseconds since 1970; ``parent`` is a ``traceparent``, and None records
    nothing. In an attribute's name, ``__`` means a dot.
    """
    around = _of(parent) if parent is not None else None
    if _waiting is not None and around is not None:
        _keep(Span(*around, name, attributes=_dotted(attributes), start=start, end=end))


def carried() -> str | None:
    """The current span's ``traceparent``, to store with work that continues elsewhere."""
    current = _current.get()
    return None if current is None else current.traceparent


def trace_id() -> str | None:
    """The current trace, for log lines."""
    current = _current.get()
    return None if current is None else current.trace_id


@contextlib.asynccontextmanager
async def exported(settings: Settings, component: str) -> AsyncIterator[None]:
    """Send this process's spans for as long as the context lasts, if a collector is named."""
    global _waiting  # noqa: PLW0603 - one process has one collector
    address = settings.traces_address
    if address is None:
        yield
        return
    waiting: deque[Span] = deque(maxlen=WAITING)
    _waiting = waiting
    stop = asyncio.Event()
    sending = asyncio.create_task(_send_all(settings, address, component, waiting, stop))
    sending.add_done_callback(_log_end)
    try:
        yield
    finally:
        _waiting = None
        stop.set()
        await asyncio.wait({sending}, timeout=PATIENCE_S)
        sending.cancel()


async def _send_all(
    settings: Settings, address: str, component: str, waiting: deque[Span], stop: asyncio.Event
) -> None:
    import httpx  # noqa: PLC0415 - only where traces are on

    resource: dict[str, Value] = {
        "service.name": settings.otel_service_name,
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        "rollbook.component": component,
    }
    is_away = False
    async with httpx.AsyncClient(headers=_headers(settings), timeout=PATIENCE_S) as client:
        while not stop.is_set() or waiting:
            if not waiting:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), INTERVAL_S)
                continue
            batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH))]
            try:
                answer = await client.post(address, json=_message(resource, batch))
                answer.raise_for_status()
            except httpx.HTTPError as error:
                if not is_away:  # once, not every two seconds
                    log.warning("trace export failed", error=type(error).__name__, spans=len(batch))
                is_away = True
                if stop.is_set():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PATIENCE_S)
            else:
                is_away = False


def _log_end(sending: asyncio.Task[None]) -> None:
    """Log why no more spans are sent, such as for an address or a header that can't be used."""
    if not sending.cancelled() and (error := sending.exception()) is not None:
        log.error("trace export ended", error=type(error).__name__)


def _message(resource: dict[str, Value], spans: list[Span]) -> dict[str, Any]:
    scope = {
        "scope": {"name": "rollbook", "version": __version__},
        "spans": [one.as_otlp() for one in spans],
    }
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope]}
        ]
    }


def _headers(settings: Settings) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: ``name=value,name=value``, values with %-escapes."""
    if settings.otel_headers is None:
        return {}
    pairs = (part.partition("=") for part in settings.otel_headers.get_secret_value().split(","))
    return {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals}


def _keep(done: Span) -> None:
    if _waiting is not None:
        _waiting.append(done)


def _ids(around: Span | None) -> tuple[str, str | None]:
    return (secrets.token_hex(16), None) if around is None else (around.trace_id, around.span_id)


def _of(traceparent: str) -> tuple[str, str | None] | None:
    """Trace and span of a ``traceparent``; a new trace if malformed, None if not sampled."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return _ids(None)
    is_recorded = int(found[3], 16) & 1
    return (found[1], found[2]) if is_recorded else None


def _dotted(attributes: dict[str, Value]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in attributes.items()}


def _attributes(attributes: dict[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
