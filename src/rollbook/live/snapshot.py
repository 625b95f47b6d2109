"""Snapshots: the latest uploads of a scope, read from the record."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rollbook import clock
from rollbook.backends.database import fetch_all, queries
from rollbook.contract import UploadStatus, Who
from rollbook.live.messages import Message, as_json, timestamp
from rollbook.uploads import waits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rollbook.backends.database import Row
    from rollbook.live.client import Audience
    from rollbook.model import Scope, User
    from rollbook.service.system import System

#: Uploads in a snapshot.
LIMIT: Final = 100

_SQL = queries("live")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The uploads of an audience, encoded once for all of it."""

    #: The last event handled before the record was read, which may be ahead of it.
    seq: int
    #: How far each upload is; see ``Message.step``.
    steps: Mapping[str, tuple[int, int]]
    #: The setting of that name.
    time_zone: str
    #: The data of ``queue_stats``.
    queue: dict[str, Any]
    #: The end of the message's JSON, after the member ``user``.
    rest: str

    def message(self, user: User, seq: int, *, is_reset: bool) -> Message:
        """The snapshot, which covers the events up to ``seq``, as a message for one client.

        ``is_reset``: the client must forget what it knew.
        """
        head = as_json({"type": "snapshot", "seq": seq, "job_id": None, "at": _now()})[:-1]
        who = as_json(Who.of(user, self.time_zone).model_dump(mode="json"))
        data = f'{{"is_reset":{as_json(is_reset)},"user":{who},{self.rest}'
        return Message("snapshot", seq, f'{head},"data":{data}}}')


async def read_snapshot(
    system: System, audience: Audience, seq: int, queue: dict[str, Any], heartbeat_s: float
) -> Snapshot:
    """Read a snapshot for an audience, as of the event ``seq``.

    ``queue`` is what ``queue_stats`` says to this audience; there are ``heartbeat_s`` seconds
    between two heartbeats.

    Raises:
        psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL doesn't answer.
    """
    parameters = {"limit": LIMIT + 1, **audience.scope.parameters()}
    async with system.pool.connection() as connection:
        unfinished = await fetch_all(connection, _SQL["open"], parameters)
        ended = await fetch_all(connection, _SQL["ended"], parameters)
    rows = sorted(
        itertools.islice(itertools.chain(unfinished, ended), LIMIT),
        key=lambda row: row["ordinal"],
        reverse=True,
    )
    data = {
        "uploads": [_upload(row, queue, audience.scope) for row in rows],
        "is_truncated": len(unfinished) > LIMIT,
        "queue": queue,
        "heartbeat_seconds": heartbeat_s,
    }
    steps = {str(row["id"]): _step(row) for row in rows}
    return Snapshot(seq, steps, system.settings.time_zone, queue, as_json(data)[1:])


def _upload(row: Row, queue: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    job_id = str(row["id"])
    estimate = queue["estimates"].get(job_id, {}) if row["status"] == "pending" else {}
    status = UploadStatus.of(
        row,
        queue_position=queue["positions"].get(job_id),
        **estimate,
        **waits.facts(row, scope),
    )
    return status.model_dump(mode="json")


def _step(row: Row) -> tuple[int, int]:
    return row["attempt"], row["progress"] if row["status"] == "processing" else 101


def _now() -> str:
    return timestamp(clock.now())
