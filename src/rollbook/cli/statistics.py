"""`rollbook statistics`: sums up the uploads of each day again."""

from __future__ import annotations

from rollbook.cli.output import JsonOption, out, print_json
from rollbook.cli.session import run
from rollbook.errors import ConflictError
from rollbook.service.system import System
from rollbook.uploads import days


def statistics(*, as_json: JsonOption = False) -> None:
    """Sum up the uploads of each day again; workers do it for days that have changed."""
    summed_up = run("statistics", _rebuild)
    if as_json:
        print_json({"days": summed_up})
    else:
        out.print(f"{summed_up} days are summed up.")


async def _rebuild(system: System) -> int:
    summed_up = await days.rebuild(system)
    if summed_up is None:
        raise ConflictError("Another process is summing up days now. Try again later.")
    return summed_up
