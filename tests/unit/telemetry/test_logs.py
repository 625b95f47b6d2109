"""Log lines in both formats: nobody's text can forge one, and none has an ID number."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from rollbook.config import Settings
from rollbook.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

ID_NUMBER = "8001015009087"
#: What a name of a file, a header or a browser may say.
FORGERY = (
    "x\n2026-11-28T07:00:00Z [info] signed in\r\x1b[2K\u2028\x85" + ID_NUMBER + " 800101 5009 087"
)


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    root = logging.getLogger()
    before, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    yield
    logging.raiseExceptions = raises
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def configured(kind: str) -> structlog.stdlib.BoundLogger:
    settings = Settings(_env_file=None, log_format=kind)
    logs.configure(settings, component="test")
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("test")
    return logger


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    text = capsys.readouterr().err
    assert ID_NUMBER not in text
    assert "800101 5009 087" not in text
    assert "\x1b[2K" not in text
    # Every line break that any viewer knows, not only the plain one.
    return text.splitlines()


@pytest.mark.parametrize("kind", ["json", "human"])
def test_a_value_an_event_and_another_librarys_line_each_stay_one_line(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = configured(kind)
    log.warning("an event", name=FORGERY, names=[FORGERY], more={FORGERY: FORGERY})
    log.warning(FORGERY)
    logging.getLogger("uvicorn.error").warning("of a library: %s", FORGERY)
    lines = said(capsys)
    assert len(lines) == 3, lines
    if kind == "json":
        assert all(json.loads(line)["component"] == "test" for line in lines)


@pytest.mark.parametrize("kind", ["json", "human"])
def test_a_stack_trace_that_quotes_somebodys_text_forges_no_line(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(kind)
    try:
        raise ValueError(FORGERY)
    except ValueError:
        logging.getLogger("uvicorn.error").exception("it failed")
    first, *trace = said(capsys)
    assert "it failed" in first
    if kind == "json":
        assert not trace
        assert "ValueError" in json.loads(first)["exception"]
    else:
        assert any("ValueError" in line for line in trace)
        assert all(line.startswith("    ") for line in trace if line.strip()), os.linesep.join(
            trace
        )


def test_a_line_that_can_not_be_written_is_said_without_its_content(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("of a library")
    configured("json")
    try:
        raise ValueError(f"{ID_NUMBER} Nomvula")
    except ValueError:
        log.warning("%d rows", "Nomvula")
    [line] = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"].startswith("a log line of test_logs.py:")
    assert "(TypeError)" in line
    assert "Nomvula" not in line


def test_a_stream_that_is_closed_gets_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", closed := io.StringIO())
        log = configured("json")
    closed.close()
    try:
        raise ValueError("Nomvula")
    except ValueError:
        log.warning("an event")
    assert capfd.readouterr().err == ""
