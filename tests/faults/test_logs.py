"""A reader of the log that has stopped stops no process."""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rollbook.telemetry import unblocked
from rollbook.telemetry.unblocked import UnblockedHandler
from tests.faults.site import each_or_first
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINES = 3000
PROGRAM = f"""
import structlog
from rollbook.config import Settings
from rollbook.telemetry import logs
logs.configure(Settings(_env_file=None, log_format="json"), component="api")
for number in range({LINES}):
    structlog.get_logger().info("upload recorded", number=number, text="x" * 100)
print("done", flush=True)
input()
structlog.get_logger().info("goes on")
"""


def test_a_process_goes_on_while_nobody_reads_its_log() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert _within(process, b"done"), "it waits for the reader of its log"
            assert process.stderr is not None
            # What was written before nobody read any more, and room again.
            first = os.read(process.stderr.fileno(), 1 << 20)
            said = first + process.communicate(b"\n", timeout=PATIENCE_S)[1]
        finally:
            process.kill()
    whole = [json.loads(line) for line in said.splitlines() if line.endswith(b"}")]
    assert whole[0]["number"] == 0
    assert whole[-1]["event"] == "goes on"
    [dropped] = [line["event"] for line in whole if "log lines were dropped" in line["event"]]
    assert int(dropped.split()[0]) + len(whole) - 2 == LINES


def _within(process: subprocess.Popen[bytes], word: bytes) -> bool:
    assert process.stdout is not None

    has_said = select.select([process.stdout], [], [], PATIENCE_S)[0]
    return bool(has_said) and process.stdout.readline().strip() == word  # no bound: it is there


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None)


def test_a_line_that_was_cut_is_ended_before_the_next(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unblocked, "PATIENCE_S", 0.01)
    reading, writing = pipe
    handler = UnblockedHandler(writing)
    handler.emit(record("a" * 200_000))  # a pipe holds 65,536 bytes
    handler.emit(record("dropped"))
    os.read(reading, 1 << 20)
    handler.emit(record("next"))
    rest = os.read(reading, 1 << 20).decode()
    assert rest == "\n2 log lines were dropped while nobody read them\nnext\n"


def test_a_reader_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unblocked, "PATIENCE_S", 0.01)
    reading, writing = os.pipe()
    handler = UnblockedHandler(writing)
    os.close(reading)
    handler.emit(record("to nobody"))
    os.close(writing)


def test_a_slow_reader_gets_every_line(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    handler = UnblockedHandler(writing)
    handler.emit(record("ż \udcff"))
    assert os.read(reading, 100).decode() == "ż \\udcff\n"


@pytest.mark.parametrize("closed", each_or_first("<&- >&- 2>&-", ">&-", "2>&-"))
def test_a_process_without_standard_streams_does_its_work(tmp_path: Path, closed: str) -> None:
    """It can say nothing, but its exit code is that of what happened."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m rollbook migrate {closed}', sys.executable],
        env={
            **os.environ,
            "DATABASE_URL": f"postgresql://nobody@/rollbook?host={tmp_path}",
            "REDIS_URL": f"unix://{tmp_path}/redis",
            "ROLLBOOK_DATA_DIR": str(tmp_path / "data"),
        },
        check=False, timeout=PATIENCE_S, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
