"""Log lines: for people on a terminal, JSON otherwise.

No line has a member's name, a password or a token: they are never passed to the logger. ID numbers
in users' texts are masked. Control characters are escaped and lines of a stack trace are indented,
so no text of a user can look like a line of ours.
"""

from __future__ import annotations

import io
import logging
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import structlog

from rollbook.masking import masked
from rollbook.telemetry.unblocked import UnblockedHandler

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

    from rollbook.config import Settings


def configure(settings: Settings, *, component: str) -> None:
    """Send structlog and the standard library's loggers to standard error in one format.

    Each line names the component: ``api``, ``worker``, ``child``, ...
    """
    human = settings.log_format == "human" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=_trace)
        if human
        else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([] if human else [structlog.processors.format_exc_info]),
            # JSON escapes control characters by itself.
            _rewriting((lambda text: _escaped(masked(text))) if human else masked),
            renderer,
        ],
    )
    # A stream that takes no line: the library would say what was to be logged, and all errors that
    # were being handled, both of which may quote a cell.
    logging.raiseExceptions = False
    handler = _handler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    # Its lines about WebSockets have the whole address, with what a client put into it.
    logging.getLogger("uvicorn.error").addFilter(_has_no_address)
    for chatty in ("httpx", "httpcore", "alembic", "uvicorn.access", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(component=component)


def _handler() -> logging.Handler:
    try:
        return UnblockedHandler(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # a stream without a file, or none
        return logging.StreamHandler(sys.stderr)


def _has_no_address(record: logging.LogRecord) -> bool:
    return '"WebSocket ' not in str(record.msg)


def _rewriting(change: Callable[[str], str]) -> Processor:
    """A processor that changes every text in a line."""

    def changed(value: Any) -> Any:
        match value:
            case str():
                return change(value)
            case dict():
                return {changed(key): changed(inner) for key, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [changed(inner) for inner in value]
            case _:
                return value

    def rewrite(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {name: changed(value) for name, value in event.items()}

    return rewrite


def _escaped(text: str) -> str:
    # Of the separators only the space stays: the others break a line in some viewers.
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _trace(out: TextIO, exc_info: ExcInfo) -> None:
    """A stack trace for people, with every line indented."""
    trace = io.StringIO()
    structlog.dev.plain_traceback(trace, exc_info)
    lines = map(_escaped, masked(trace.getvalue()).splitlines())
    out.write(textwrap.indent("\n".join(lines), "    "))


def places(error: BaseException) -> list[str]:
    """The places of an error's trace; its own text may quote a cell."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return found
