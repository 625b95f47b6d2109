"""Real processes of Rollbook on the databases and the store of one test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil

from tests import warm_process
from tests.waiting import kill

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rollbook.config import Settings


@contextlib.contextmanager
def running(
    command: str,
    settings: Settings,
    log: Path,
    *,
    module: str | None = None,
    through: Sequence[str] = (),
    **more: str,
) -> Iterator[psutil.Process]:
    """``rollbook worker`` or ``serve``, killed at the end.

    Args:
        command: the command, such as ``worker``.
        settings: what they are to use.
        log: the file for what they say.
        module: a module of the tests whose ``main`` takes the command, in place of ``rollbook``.
        through: a program that starts it, such as one that changes the user; then it starts cold.
        more: further environment.
    """
    assert settings.secret_key is not None
    environment = os.environ | {
        "DATABASE_URL": settings.database_address,
        "REDIS_URL": settings.redis_address,
        "ROLLBOOK_DATA_DIR": str(settings.data_dir),
        "ROLLBOOK_SECRET_KEY": settings.secret_key.get_secret_value(),
        "ROLLBOOK_CONCURRENCY": "1",
        "ROLLBOOK_BACKOFF_MS": "200",
        "ROLLBOOK_LONGEST_BACKOFF_S": "1",
        **more,
    }
    with log.open("wb") as out:
        how: dict[str, Any] = {
            "env": environment, "stdin": subprocess.DEVNULL, "stdout": out, "stderr": out,
        }  # fmt: skip
        if module is not None:
            process = warm_process.start_module(module, command, **how)
        elif through:
            program = [*through, sys.executable, "-m", "rollbook", command]
            process = subprocess.Popen(program, cwd=log.parent, **how)
        else:
            process = warm_process.start(command, cwd=log.parent, **how)
    try:
        yield psutil.Process(process.pid)
    finally:
        kill(process)
