"""A test's database is as empty as a new one, and one that has changed is not used again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.databases import Databases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.engines import Addresses

USER = (
    "INSERT INTO users (id, email, role, password_hash)"
    " VALUES (gen_random_uuid(), 'office@example.org', 'super_admin', 'none')"
)
ENTRY = "INSERT INTO audit_entries (act, outcome) VALUES ('sign_in', 'done') RETURNING id"


@pytest.fixture
def databases(engines: Addresses, template: str) -> Iterator[Databases]:
    with contextlib.closing(Databases(engines, template)) as opened:
        yield opened


def done(address: str, *statements: str) -> list[Any]:
    """The first row that each statement gives."""
    rows = []
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows.append(cursor.fetchone() if cursor.description else None)
    return rows


def test_the_next_test_gets_the_same_database_emptied(databases: Databases) -> None:
    counts = ("SELECT count(*) FROM users", "SELECT count(*) FROM audit_entries")
    with databases.one() as first:
        fresh = done(first, *counts)
        entry = done(first, USER, ENTRY, "UPDATE queue_state SET is_paused = true")[1]
        assert done(first, *counts) == [(fresh[0][0] + 1,), (1,)]
    with databases.one() as second:
        assert second == first
        assert done(second, *counts) == fresh
        assert done(second, "SELECT is_paused FROM queue_state") == [(False,)]
        assert done(second, ENTRY) == [entry]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            done(second, "SET session_replication_role = replica", "DELETE FROM audit_entries")


def test_what_writes_nothing_leaves_nothing_either(databases: Databases) -> None:
    """A number of a sequence is taken without a transaction of its own."""
    ordinal = "SELECT nextval('uploads_ordinal_seq')"
    with databases.one() as first:
        numbers = done(first, ordinal, ordinal)
    for _ in range(2):
        with databases.one() as second:
            assert second == first
            assert done(second, ordinal, ordinal) == numbers


def test_two_at_a_time_are_not_the_same(databases: Databases) -> None:
    with databases.one() as first, databases.one() as second:
        assert first != second


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE more (n int)",
        "ALTER TABLE members ADD COLUMN more int",
        "DROP TRIGGER keep_audit_entries ON audit_entries",
        "ALTER TABLE uploads ALTER COLUMN file_name DROP NOT NULL",
        "CREATE OR REPLACE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX ON uploads (file_name)",
        "ALTER TABLE audit_entries DISABLE TRIGGER keep_audit_entries",
        "CREATE TRIGGER more BEFORE INSERT ON members EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()",
        "ALTER DATABASE {name} SET lock_timeout = '1s'",
        "ALTER TABLE uploads ALTER COLUMN file_name SET DEFAULT 'none'",
        "ALTER TABLE uploads DROP COLUMN file_name CASCADE",
        "DROP TABLE upload_rows CASCADE",
        "ALTER SCHEMA public RENAME TO other",
        # Its retention never ends.
        "INSERT INTO audit_entries (act, outcome, kept_until) VALUES ('a', 'done', 'infinity')",
    ],
)
def test_a_database_that_can_not_be_emptied_goes(databases: Databases, change: str) -> None:
    with databases.one() as first:
        [(name,)] = done(first, "SELECT current_database()")
        done(first, change.format(name=name))
    with databases.one() as second:
        assert second != first


def test_a_connection_that_a_test_left_open_is_ended(databases: Databases) -> None:
    with databases.one() as first:
        left = psycopg.connect(first)
        left.execute(USER.encode())
    with pytest.raises(psycopg.OperationalError):
        left.execute(b"SELECT 1")
    left.close()


def test_a_database_that_a_test_has_dropped_is_not_missed(
    databases: Databases, engines: Addresses
) -> None:
    assert engines.database_url is not None
    with databases.one() as first:
        [(name,)] = done(first, "SELECT current_database()")
        done(engines.database_url, f"DROP DATABASE {name} WITH (FORCE)")
    with databases.one() as second:
        assert second != first


def test_a_database_whose_connections_a_test_has_ended_is_used_again(databases: Databases) -> None:
    with databases.one() as first:
        done(first, USER, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
             " WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
    with databases.one() as second:
        assert second == first
        assert done(second, "SELECT count(*) FROM users WHERE email = 'office@example.org'")[0] == (
            0,
        )
