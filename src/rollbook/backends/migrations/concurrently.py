"""Indexes on tables that grow, created while uploads run."""

from __future__ import annotations

import psycopg
from alembic import op


def create_index(name: str, definition: str) -> None:
    """Create an index without a lock that uploads wait for.

    PostgreSQL does that outside of a transaction only: what the migration did before is committed,
    and has to bear being run again after a crash.

    Args:
        name: of the index; one that an earlier try left unfinished is replaced.
        definition: what follows the name, from ``ON`` on.
    """
    connection = op.get_bind()
    connection.commit()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.autocommit = True
    try:
        driver.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        driver.execute(f"CREATE INDEX CONCURRENTLY {name} {definition}")
    finally:
        driver.autocommit = False
