"""The index by which members are found, written after the merge instead of by it.

Indexes on the table ``members`` would make each merge a third slower (docs/decisions/0042). A merge
and an undoing note whom they wrote (``member_index_due``), and a round of a worker writes the lines
of these members a moment later. Until then a search says how many uploads are missing from it.

Who changes one member writes the line in the same transaction, with ``write``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from rollbook.backends.database import (
    exclusive,
    execute,
    fetch_all,
    fetch_one,
    fetch_row,
    lock,
    queries,
    unbounded,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollbook.backends.database import Connection, Pool
    from rollbook.service.system import System

#: Held by who writes the index: a line that was read before a change must not be written after it.
LOCK: Final = "member index"
#: Members that are indexed in one transaction, which takes about a second.
AT_ONCE: Final = 20_000

_SQL = queries("member_index")
log = structlog.get_logger(__name__)


class Behind(NamedTuple):
    """What the index doesn't hold yet."""

    #: Completed uploads whose members aren't indexed.
    uploads: int
    #: Whether the members of before are still being indexed, after an upgrade.
    is_filling: bool


async def behind(where: Pool | Connection) -> Behind:
    """What a search misses because it isn't indexed yet."""
    found = await fetch_row(where, _SQL["behind"])
    return Behind(found["uploads"], found["is_filling"])


async def run_once(system: System) -> int:
    """Index everybody who is due, one transaction after the other; returns their number.

    Another process that is indexing at this moment is left to it.
    """
    total = 0
    while (done := await _step(system)) is not None:
        total += done
    if total:
        log.info("members indexed", members=total)
    return total


async def write(connection: Connection, people: Sequence[int]) -> None:
    """Write the index of these people now, in the transaction that has changed them.

    That transaction should end soon: others wait for it. People are ID numbers as numbers; the
    lines of those who are no members are deleted.
    """
    await lock(connection, LOCK)
    await _write(connection, people)


async def _step(system: System) -> int | None:
    """Index some members; None when nobody is due, or another process is indexing."""
    async with exclusive(system.pool, LOCK) as connection:
        if connection is None:
            return None
        unbounded(connection)
        state = await fetch_row(connection, _SQL["state"])
        if state["filled_to"] is not None:
            return await _fill(connection, state["filled_to"])
        due = await fetch_one(connection, _SQL["take_due"])
        if due is not None:
            await _write(connection, due["people"])
            if system.settings.duplicates and due["people"]:
                await execute(connection, _SQL["look_for_duplicates"], {"people": due["people"]})
            if due["is_last"]:
                await execute(connection, _SQL["mark"], {"upload_id": due["upload_id"]})
            return len(due["people"])
        if await execute(connection, _SQL["unnoted"]):
            log.info("index of members is filled from the beginning")
            await execute(connection, _SQL["refill"])
            return 0
    return None


async def _fill(connection: Connection, after: str) -> int:
    """Index the next members by ID number; returns their number."""
    rows = await fetch_all(connection, _SQL["next"], {"after": after, "rows": AT_ONCE})
    id_numbers = [row["id_number"] for row in rows]
    until = id_numbers[-1] if len(rows) == AT_ONCE else None
    await execute(connection, _SQL["delete_gone_between"], {"after": after, "until": until})
    await execute(connection, _SQL["write"], {"id_numbers": id_numbers})
    await execute(connection, _SQL["filled"], {"until": until})
    return len(rows)


async def _write(connection: Connection, people: Sequence[int]) -> None:
    # The key of a passport's holder has more digits than an ID number.
    parameters = {"id_numbers": [f"{person:013}" for person in people]}
    await execute(connection, _SQL["delete_gone"], parameters)
    await execute(connection, _SQL["write"], parameters)
