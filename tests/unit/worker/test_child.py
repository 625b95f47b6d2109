"""The child process of a worker that is gone."""

from __future__ import annotations

import contextlib
import os

import pytest

from rollbook.worker import child


def test_a_child_whose_worker_is_gone_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", end)
    reading, writing = os.pipe()
    os.close(reading)
    answers = os.fdopen(writing, "w", buffering=1)
    with pytest.raises(SystemExit) as ended:
        child._send(answers, type="ready")
    assert ended.value.code == 0
    with contextlib.suppress(BrokenPipeError):
        answers.close()
