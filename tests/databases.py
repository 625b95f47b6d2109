"""The databases of the tests: each test has an empty one, which the next one gets emptied.

A database that is made takes 0.1 s of a processor, and its first connections fill their caches for
longer than on one that was in use. A database whose schema a test has changed isn't used again,
nor one that has grown. Each is emptied by a connection of its own, which stays open during the
tests: with what PostgreSQL has cached for it, that takes 1 to 2 ms of a processor, and 20 without.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, UndefinedTable

from tests import kept_connections, waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rollbook.engines import Addresses

#: Bytes that a test's tables may have: emptied ones keep their room, which slows scans down.
MOST_BYTES = 4 * 2**20
#: One text for the schema with its settings: of each catalogue the number of its rows, and which
#: transaction wrote the newest. A row's age is that of its transaction.
_SCHEMA = """
WITH entries (name, rows, youngest) AS (
    SELECT 'class', count(*), min(age(xmin)) FROM pg_class
        WHERE oid >= 16384 AND relpersistence <> 't'
    UNION ALL SELECT 'attribute', count(*), min(age(xmin)) FROM pg_attribute WHERE attrelid >= 16384
    UNION ALL SELECT 'default', count(*), min(age(xmin)) FROM pg_attrdef
    UNION ALL SELECT 'constraint', count(*), min(age(xmin)) FROM pg_constraint
    UNION ALL SELECT 'trigger', count(*), min(age(xmin)) FROM pg_trigger
    UNION ALL SELECT 'event trigger', count(*), min(age(xmin)) FROM pg_event_trigger
    UNION ALL SELECT 'function', count(*), min(age(xmin)) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT 'extension', count(*), min(age(xmin)) FROM pg_extension
    UNION ALL SELECT 'schema', count(*), min(age(xmin)) FROM pg_namespace
        WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'setting', count(*), min(age(xmin)) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT string_agg(concat_ws(' ', name, rows, age(xid '3') - youngest), ', ' ORDER BY name)
FROM entries
"""
_TABLES = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
#: Their quoted names, and what they begin with.
_SEQUENCES = """
SELECT quote_ident(sequencename), COALESCE(last_value, start_value), last_value IS NOT NULL
FROM pg_sequences
"""
#: The transaction that comes next: those that write nothing have no number.
_NEXT = sql.SQL("pg_snapshot_xmax(pg_current_snapshot())::text")
#: In the path of the connections that empty, where the trigger that protects the audit trail finds
#: each entry's retention over. To switch it off would be a change of the schema, after which all
#: connections read it again.
_LATER = b"""
CREATE SCHEMA later;
CREATE FUNCTION later.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz 'infinity' $$
"""
_SETTINGS = "-c session_replication_role=replica -c search_path=later,pg_catalog,public"
_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND pid <> ALL(%s) AND application_name <> %s
"""

_numbers = itertools.count()


class Databases:
    """The databases of this process, copies of a migrated template."""

    def __init__(self, engines: Addresses, template: str) -> None:
        """Note what is in the template."""
        self._engines = engines
        self._template = template
        #: The databases that nobody uses.
        self._free: list[str] = []
        #: By the names of the databases: the texts of their schemas, the connections that empty
        #: them, and which transaction came next when they were empty.
        self._schemas: dict[str, str] = {}
        self._connections: dict[str, psycopg.Connection[Any]] = {}
        self._next: dict[str, str] = {}
        #: What gives each table the rows that the template has, and the sequences their starts.
        self._emptied: dict[str, bytes] = {}
        changes: list[sql.Composable] = [_NEXT]
        with psycopg.connect(named(engines, template), autocommit=True) as connection:
            for (name,) in connection.execute(_TABLES.encode()).fetchall():
                table = sql.Identifier(name)
                texts = sql.SQL("SELECT kept::text FROM {} AS kept").format(table)
                rows = sorted(row for (row,) in connection.execute(texts).fetchall())
                self._emptied[name] = _emptied(table, rows).as_bytes(connection)
                changes.append(_bytes_if_changed(table, rows))
            starts = connection.execute(_SEQUENCES.encode()).fetchall()
            restarts = [sql.SQL("setval({}, {}, {})").format(*start) for start in starts]
            self._restarted = _select(restarts).as_bytes(connection)
            changes += [_has_moved(*start) for start in starts]
            self._changes = _select(changes).as_string(connection)

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        """The address of an empty database that is nobody else's within the context."""
        name = self._free.pop() if self._free else self._made()
        try:
            yield named(self._engines, name)
        finally:
            if self._empty(name):
                self._free.append(name)
            else:
                self._connections.pop(name).close()
                kept_connections.forget(named(self._engines, name))
                administer(self._engines, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def close(self) -> None:
        """Close the connections; the databases go with their server."""
        for name, connection in self._connections.items():
            connection.close()
            kept_connections.forget(named(self._engines, name))

    def _made(self) -> str:
        name = f"test_{next(_numbers)}"
        administer(self._engines, f"CREATE DATABASE {name} TEMPLATE {self._template}")
        kept_connections.keep(named(self._engines, name))
        connection = self._connect(name)
        connection.execute(_LATER)
        self._schemas[name] = _row(connection, _SCHEMA)[0]
        self._next[name] = ""
        return name

    def _connect(self, name: str) -> psycopg.Connection[Any]:
        self._connections[name] = connection = psycopg.connect(
            named(self._engines, name), options=_SETTINGS, autocommit=True
        )
        return connection

    def _empty(self, name: str) -> bool:
        """Give a database the content of the template; False where it can't be used again."""
        try:
            try:
                return self._emptied_by(self._connections[name], name)
            except psycopg.OperationalError:  # a test has ended the connection
                self._connections[name].close()
                return self._emptied_by(self._connect(name), name)
        except (psycopg.OperationalError, UndefinedTable, InsufficientPrivilege):
            return False  # a test has dropped or closed it, or a table, or keeps entries for ever

    def _emptied_by(self, connection: psycopg.Connection[Any], name: str) -> bool:
        self._end_others(connection, kept_connections.processes(named(self._engines, name)))
        following, *changes = _row(connection, self._changes)
        sizes = dict(zip(self._emptied, changes, strict=False))
        changed = [table for table, size in sizes.items() if size is not None]
        has_moved = any(changes[len(sizes) :])
        if following != self._next[name]:
            has_grown = sum(filter(None, sizes.values())) > MOST_BYTES
            if has_grown or _row(connection, _SCHEMA)[0] != self._schemas[name]:
                return False
        statements = [self._emptied[table] for table in changed] + [self._restarted] * has_moved
        if statements:
            connection.execute(b"; ".join(statements))
        if following != self._next[name]:
            [self._next[name]] = _row(connection, _select([_NEXT]).as_string())
        return True

    @staticmethod
    def _end_others(connection: psycopg.Connection[Any], kept: list[int]) -> None:
        """End what a test has left running here, as it would end if the database went."""
        deadline = time.monotonic() + waiting.PATIENCE_S
        parameters = (kept, kept_connections.IN_CHILD)
        while connection.execute(_OTHERS.encode(), parameters).fetchall():
            assert time.monotonic() < deadline, "a connection doesn't end"
            time.sleep(0.005)


def _select(columns: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(columns))


def _emptied(table: sql.Identifier, rows: list[str]) -> sql.Composed:
    inserted = [
        sql.SQL("INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT ({1}::{0}).*").format(table, row)
        for row in rows
    ]
    return sql.SQL("; ").join([sql.SQL("DELETE FROM {}").format(table), *inserted])


def _bytes_if_changed(table: sql.Identifier, rows: list[str]) -> sql.Composed:
    """The size of a table; null where it has these rows, as texts."""
    different = sql.SQL("EXISTS (TABLE {})").format(table)
    if rows:
        different = sql.SQL(
            '(SELECT array_agg(kept::text ORDER BY kept::text COLLATE "C") FROM {} AS kept)'
            " IS DISTINCT FROM {}::text[]"
        ).format(table, rows)
    size = sql.SQL("pg_relation_size({})").format(table.as_string())
    return sql.SQL("CASE WHEN {} THEN {} END").format(different, size)


def _has_moved(name: str, value: int, is_called: bool) -> sql.Composed:
    return sql.SQL("(SELECT last_value <> {} OR is_called <> {} FROM {})").format(
        value, is_called, sql.SQL(name)
    )


def _row(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode(), prepare=True).fetchone()
    assert row is not None
    return row


@contextlib.contextmanager
def own_database(engines: Addresses, template: str, name: str) -> Iterator[str]:
    """The address of a fresh database of that name, which goes with the context."""
    administer(engines, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield named(engines, name)
    finally:
        administer(engines, f"DROP DATABASE {name} WITH (FORCE)")


def named(engines: Addresses, name: str) -> str:
    """The address of the database of that name."""
    assert engines.database_url is not None
    return engines.database_url.replace("/rollbook?", f"/{name}?")


def administer(engines: Addresses, statement: str) -> None:
    """Execute a statement about databases."""
    assert engines.database_url is not None
    with psycopg.connect(engines.database_url, autocommit=True) as connection:
        connection.execute(statement.encode())
