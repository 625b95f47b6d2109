"""A process that forks a watcher for each line, which kills itself on a file's way.

The watcher dies before or after the n-th call of a function on a file's way from the folder into
processed/ or failed/. The process answers with how it ended.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import json
import os
import signal
import sys
from typing import Any

from rollbook import config
from rollbook.folder.watcher import Watcher
from rollbook.service.system import open_system


def arm(module: str, name: str, moment: str, number: int) -> None:
    """Let the n-th call of a function kill this process."""
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    true = getattr(owner, last)
    left = number

    def strike(at: str) -> None:
        nonlocal left
        if at == moment:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(true)
    async def fatal_in_a_loop(*args: Any, **named: Any) -> Any:
        strike("before")
        result = await true(*args, **named)
        strike("after")
        return result

    @functools.wraps(true)
    def fatal(*args: Any, **named: Any) -> Any:
        strike("before")
        result = true(*args, **named)
        strike("after")
        return result

    setattr(owner, last, fatal_in_a_loop if inspect.iscoroutinefunction(true) else fatal)


async def watch(point: tuple[str, str, str, int]) -> None:
    """Watch until a file is taken or refused, if this process gets so far."""
    async with open_system(config.load(env_file=False)) as system:
        watcher = Watcher(system)
        arm(*point)
        for _ in range(200):
            await watcher.run_once()
            if watcher.taken or watcher.refused:
                break
            await asyncio.sleep(0.02)


def main() -> None:
    """Fork for each line, until they end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # where log lines go
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.clear()
            os.environ.update(task["environment"])
            asyncio.run(watch(task["point"]))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
