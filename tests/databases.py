"""The databases of the tests: each test has an empty one, which the next one gets emptied.

A database that is made takes 0.1 s of a processor, and its first connections fill their caches for
longer than on one that was in use. A database whose schema a test has changed isn't used again,
nor one that has grown. Each is emptied by a connection of its own, which stays open during the
tests: with what PostgreSQL has cached for it, that takes 7 ms of a processor, and 24 without.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tests import kept_connections, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.engines import Addresses

#: Bytes by which the tables may grow: emptied ones keep their room, which slows scans down.
MOST_GROWTH = 4 * 2**20
#: One text for the schema with its settings. Each change of a catalogue's row changes its ``xmin``.
_SCHEMA = """
WITH kept AS MATERIALIZED (
    SELECT oid, xmin FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't'
), entries (name, rows, changes) AS (
    SELECT 'class', count(*), sum(hashint8extended(xmin::text::bigint, oid::bigint)) FROM kept
    UNION ALL SELECT 'attribute', count(*),
        sum(hashint8extended(a.xmin::text::bigint, attrelid::bigint * 10000 + attnum))
        FROM pg_attribute AS a JOIN kept ON kept.oid = attrelid
    UNION ALL SELECT 'default', count(*),
        sum(hashint8extended(d.xmin::text::bigint, d.oid::bigint))
        FROM pg_attrdef AS d JOIN kept ON kept.oid = adrelid
    UNION ALL SELECT 'constraint', count(*), sum(hashint8extended(xmin::text::bigint, oid::bigint))
        FROM pg_constraint WHERE conrelid = 0 OR conrelid IN (SELECT oid FROM kept)
    -- Without xmin: emptying switches triggers off and on again.
    UNION ALL SELECT 'trigger', count(*), sum(hashtextextended(concat_ws(' ', oid, tgrelid, tgname,
        tgfoid, tgtype, tgenabled, tgattr, tgargs, tgqual), 0)) FROM pg_trigger
    UNION ALL SELECT 'event trigger', count(*),
        sum(hashint8extended(xmin::text::bigint, oid::bigint)) FROM pg_event_trigger
    UNION ALL SELECT 'function', count(*), sum(hashint8extended(xmin::text::bigint, oid::bigint))
        FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT 'extension', count(*), sum(hashint8extended(xmin::text::bigint, oid::bigint))
        FROM pg_extension
    UNION ALL SELECT 'schema', count(*), sum(hashint8extended(xmin::text::bigint, oid::bigint))
        FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'setting', count(*),
        sum(hashtextextended(concat_ws(' ', setrole, setconfig), 0)) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT string_agg(concat_ws(' ', name, rows, changes), ', ' ORDER BY name) FROM entries
"""
_TABLES = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
#: Of the tables: PostgreSQL looks at each file, and a database has 400.
_SIZE = """
SELECT sum(pg_relation_size(oid))::bigint FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
_SEQUENCES = "SELECT sequencename, start_value, last_value FROM pg_sequences"
#: Triggers that fire under any role of the session: they protect the audit trail.
_ALWAYS = """
SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgenabled = 'A' AND NOT tgisinternal
"""
_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND pid <> ALL(%s)
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
        #: The texts of the schemas, and the connections that empty the databases, by their names.
        self._schemas: dict[str, str] = {}
        self._connections: dict[str, psycopg.Connection[Any]] = {}
        statements: list[sql.Composable] = [sql.SQL("SET session_replication_role = replica")]
        with psycopg.connect(named(engines, template), autocommit=True) as connection:
            always = connection.execute(_ALWAYS.encode()).fetchall()
            statements += [_trigger("DISABLE", *trigger) for trigger in always]
            for (table,) in connection.execute(_TABLES.encode()).fetchall():
                name = sql.Identifier(table)
                statements.append(sql.SQL("DELETE FROM {}").format(name))
                rows = connection.execute(sql.SQL("SELECT kept::text FROM {} AS kept").format(name))
                statements += [
                    sql.SQL("INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT ({1}::{0}).*").format(
                        name, row
                    )
                    for (row,) in rows.fetchall()
                ]
            statements += [_trigger("ENABLE ALWAYS", *trigger) for trigger in always]
            for sequence, start, last in connection.execute(_SEQUENCES.encode()).fetchall():
                statements.append(
                    sql.SQL("SELECT setval({}, {}, {})").format(
                        f'"{sequence}"', last or start, last is not None
                    )
                )
            self._size = _value(connection, _SIZE)
            #: What empties a database, and puts in the rows that the template has.
            self._emptied = sql.SQL("; ").join(statements).as_string(connection).encode()

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
        self._connect(name)
        self._schemas[name] = _value(self._connections[name], _SCHEMA)
        return name

    def _connect(self, name: str) -> None:
        self._connections[name] = psycopg.connect(named(self._engines, name), autocommit=True)

    def _empty(self, name: str) -> bool:
        """Give a database the content of the template; False where it can't be used again."""
        try:
            try:
                return self._emptied_by(self._connections[name], name)
            except psycopg.OperationalError:  # a test has ended the connection
                self._connections[name].close()
                self._connect(name)
                return self._emptied_by(self._connections[name], name)
        except psycopg.OperationalError:
            return False  # a test has dropped or closed it

    def _emptied_by(self, connection: psycopg.Connection[Any], name: str) -> bool:
        self._end_others(connection, kept_connections.processes(named(self._engines, name)))
        has_grown = _value(connection, _SIZE) > self._size + MOST_GROWTH
        if has_grown or _value(connection, _SCHEMA) != self._schemas[name]:
            return False
        connection.execute(self._emptied)
        return True

    @staticmethod
    def _end_others(connection: psycopg.Connection[Any], kept: list[int]) -> None:
        """End what a test has left running here, as it would end if the database went."""
        deadline = time.monotonic() + waiting.PATIENCE_S
        while connection.execute(_OTHERS.encode(), (kept,)).fetchall():
            assert time.monotonic() < deadline, "a connection doesn't end"
            time.sleep(0.005)


def _trigger(what: str, table: str, name: str) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(
        sql.SQL(table), sql.SQL(what), sql.Identifier(name)
    )


def _value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode(), prepare=True).fetchone()
    assert row is not None
    return row[0]


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
