"""Connections to the tests' databases that the product closes, kept for the next one that it opens.

A new connection costs PostgreSQL 20 ms of a processor: a process starts, and reads the catalogues
for each table that a statement names. Here a connection that is closed is rolled back and gets
``DISCARD ALL``, by which PostgreSQL gives it the state of a new one: no settings, locks, prepared
statements, temporary tables or channels are left. The next one to the same address gets the same
process, if that is still there.

Only the product's own connections are kept, in the tests' process and in the kept children
(tests/warm_child.py). What a test opens by psycopg is new, as is what the doctor opens. Where a
test has given the database settings of its own, which new connections get, all are new from then
on.
"""

from __future__ import annotations

import select
import time
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import generators, pq, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus

from rollbook.backends import database
from rollbook.backends.watched import WatchedConnection

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest
    from psycopg.pq.abc import PGconn, PGresult

#: As many as one test has at a time; more are closed.
MOST = 8
#: The name of a child's session that nobody uses.
IN_CHILD = "kept in a child of the tests"
#: Seconds that PostgreSQL gets for an answer, after which a connection isn't used again.
ANSWER_S = 0.5
#: Seconds for an answer without which an attempt fails: the session has just answered, or begun.
SURE_ANSWER_S = 10
#: The settings that only new connections get, of any database: to look for its own takes longer.
SETTINGS = b"SELECT FROM pg_db_role_setting"
OK = pq.ConnStatus.OK
IDLE, INTRANS = pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS
INERROR = pq.TransactionStatus.INERROR

#: The connections that nobody uses, by host and name of their database and by their whole address.
_idle: dict[tuple[str, str], dict[str, list[PGconn]]] = {}


def use(patch: pytest.MonkeyPatch) -> None:
    """Keep the connections of the product's classes."""
    patch.setattr(database._Bounded, "close", _close_async)
    patch.setattr(WatchedConnection, "close", _close)
    for kind in (database._Bounded, WatchedConnection):
        patch.setattr(kind, "_connect_gen", classmethod(_connected))


def use_in_child() -> None:
    """Keep the connections of this process, a kept child, which it names after each attempt.

    While nobody uses one, it is known to the tests' process by ``IN_CHILD``.
    """
    patched: Any = WatchedConnection
    patched.close = _close
    patched._connect_gen = classmethod(_connected_in_child)


def keep(address: str) -> None:
    """Keep connections to the database of this address from now on."""
    _idle.setdefault(_place(address), {})


def forget(address: str) -> None:
    """Close the connections to this database, and keep none from now on."""
    for kept in _idle.pop(_place(address), {}).values():
        for pgconn in kept:
            pgconn.finish()


def processes(address: str) -> list[int]:
    """PostgreSQL's processes for the connections to this database that nobody uses."""
    kept = _idle[_place(address)].values()
    return [pgconn.backend_pid for each in kept for pgconn in each if pgconn.status == OK]


@lru_cache(maxsize=64)
def _place(address: str) -> tuple[str, str]:
    parts = conninfo_to_dict(address)
    return str(parts.get("host")), str(parts.get("dbname"))


def _connected(kind: Any, conninfo: str = "") -> Generator[Any, Any, Any]:
    """In place of ``_connect_gen`` of psycopg's connections."""
    kept = _idle.get(_place(conninfo), {}).get(conninfo, [])
    pgconn = kept.pop() if kept else None
    if pgconn is not None:
        found = _answer(pgconn, SETTINGS)
        # PostgreSQL may have ended it, or been asked to: then there is no answer.
        if found is None or found.status != ExecStatus.TUPLES_OK or found.ntuples:
            for other in (pgconn, *kept):
                other.finish()
            kept.clear()
            pgconn = None
    connection = kind(pgconn or (yield from generators.connect(conninfo)))
    connection.kept_as = conninfo
    return connection


def _connected_in_child(kind: Any, conninfo: str = "") -> Generator[Any, Any, Any]:
    """The same for any name of the session: DISCARD ALL gives it back the one it began with."""
    parts = conninfo_to_dict(conninfo)
    name = str(parts["application_name"])
    connection = yield from _connected(
        kind, make_conninfo("", **{**parts, "application_name": IN_CHILD})
    )
    named = sql.SQL("SET application_name = {}").format(name).as_bytes()
    if not _does(connection.pgconn, named, SURE_ANSWER_S):
        raise psycopg.OperationalError("the session takes no name")
    return connection


async def _close_async(connection: Any) -> None:
    _put_aside(connection)
    await psycopg.AsyncConnection.close(connection)


def _close(connection: Any) -> None:
    _put_aside(connection)
    _close_watched(connection)


_close_watched = WatchedConnection.close


def _put_aside(connection: Any) -> None:
    """Keep what is at rest, and leave the connection itself closed."""
    pgconn, conninfo = connection.pgconn, connection.kept_as
    places = _idle.get(_place(conninfo))
    if places is None or len(kept := places.setdefault(conninfo, [])) >= MOST:
        return
    status = pgconn.transaction_status
    if status in {INTRANS, INERROR} and not _does(pgconn, b"ROLLBACK"):
        return
    # A connection whose answer hasn't come is closed as always.
    if status in {IDLE, INTRANS, INERROR} and _does(pgconn, b"DISCARD ALL"):
        connection._closed = True
        connection.pgconn = _finished()
        kept.append(pgconn)


def _does(pgconn: PGconn, statement: bytes, answer_s: float = ANSWER_S) -> bool:
    """Whether PostgreSQL carries out a statement."""
    answer = _answer(pgconn, statement, answer_s)
    return answer is not None and answer.status == ExecStatus.COMMAND_OK


def _answer(pgconn: PGconn, statement: bytes, answer_s: float = ANSWER_S) -> PGresult | None:
    """The answer to a statement; None where PostgreSQL has ended the connection, or is frozen."""
    deadline = time.monotonic() + answer_s
    try:
        pgconn.send_query(statement)
        while pgconn.flush() or pgconn.is_busy():
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([pgconn.socket], [], [], left_s)[0]:
                return None
            pgconn.consume_input()
        answer = pgconn.get_result()
        rest = pgconn.get_result()
    except psycopg.OperationalError:
        return None
    return answer if rest is None else None


@cache
def _finished() -> PGconn:
    """What a closed connection has."""
    made = pq.PGconn.connect_start(b"host=/")
    made.finish()
    return made
