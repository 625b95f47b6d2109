"""`rollbook statistics`: sums up the uploads of each day again."""

from __future__ import annotations

from rollbook.cli.output import JsonOption, say
from rollbook.cli.session import run
from rollbook.errors import ConflictError
from rollbook.service.system import System
from rollbook.uploads import days


def statistics(*, as_json: JsonOption = False) -> None:
    """Sum up the uploads of each day again; workers do it for days that have changed."""
    summed_up = run("statistics", _rebuild)
    say(f"{summed_up} days are summed up.", {"days": summed_up}, as_json=as_json)


async def _rebuild(system: System) -> int:
    summed_up = await days.rebuild(system)
    if summed_up is None:
        raise ConflictError("Another process is summing up days now. Try again later.")
    return summed_up
