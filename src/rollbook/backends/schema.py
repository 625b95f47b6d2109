"""The schema's migrations (Alembic, plain SQL inside).

Not in ``database``, because Alembic takes longer to import than everything else together, and only
the commands that migrate need it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic.command
import psycopg
import structlog
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.pool import NullPool

from rollbook.backends.database import (
    CONNECT_TIMEOUT_S,
    SCHEMA_REVISION,
    client_settings,
    queries,
    reason,
    server_settings,
)
from rollbook.config.bounds import KeepAlive
from rollbook.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

#: Advisory lock for migrations (any fixed number).
MIGRATION_LOCK = 0x726F6C6C
#: Seconds for which a migration by another process is waited for, or until that is said again.
LOCK_S = 10.0
#: Seconds between two tries for the lock.
TRY_S = 0.2

log = structlog.get_logger(__name__)


def migrate(address: str, *, waits: bool = False) -> str:
    """Migrate the schema to the newest revision and return that.

    ``waits``: for as long as another process needs for its migration, which may be hours.

    Raises:
        ServiceUnavailableError: PostgreSQL doesn't answer, or another process migrates the schema.
    """
    with _alembic(address) as (config, connection):
        _lock(connection, waits=waits)
        before = _revision(connection)
        if before is not None and before > SCHEMA_REVISION:
            return before  # of the next version, which this one works with (how-to/upgrade.md)
        alembic.command.upgrade(config, "head")
        connection.commit()
        after = _revision(connection)
    if after != before:
        log.info("schema migrated", revision=after, before=before)
    return after or ""


def _lock(connection: Connection, *, waits: bool) -> None:
    """Hold the lock over migrations until the connection ends; raises what ``migrate`` does.

    No statement waits for it: the holder's CREATE INDEX CONCURRENTLY would wait for that one.
    """
    locks, lock = queries("locks"), {"lock": MIGRATION_LOCK}
    until = time.monotonic() + LOCK_S
    while not connection.exec_driver_sql(locks["try_to_hold_number"], lock).scalar():
        holder = connection.exec_driver_sql(locks["holder_of_number"], lock).scalar()
        connection.commit()
        if time.monotonic() >= until:
            if not waits:
                raise ServiceUnavailableError(
                    f"Another process migrates the schema (PostgreSQL's session {holder}). Nothing "
                    "was changed; try again when it is done."
                )
            log.warning("waiting for another process that migrates the schema", session=holder)
            until = time.monotonic() + LOCK_S
        time.sleep(TRY_S)
    connection.commit()


def _connected(address: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of which both ends notice that the other is gone: it may hold the lock."""
    keepalive = KeepAlive()
    connection = psycopg.connect(
        address, connect_timeout=CONNECT_TIMEOUT_S, **client_settings(keepalive)
    )
    connection.execute(server_settings(keepalive))
    connection.commit()
    return connection


@contextmanager
def _alembic(address: str) -> Iterator[tuple[Config, Connection]]:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connected(address),
        poolclass=NullPool,
    )
    try:
        with engine.connect() as connection:
            config = _config()
            config.attributes["connection"] = connection
            yield config, connection
    except (psycopg.OperationalError, sqlalchemy_errors.OperationalError) as error:
        # SQLAlchemy wraps psycopg's errors, also while it connects.
        cause = error.orig if isinstance(error, sqlalchemy_errors.OperationalError) else error
        assert isinstance(cause, psycopg.Error)
        raise ServiceUnavailableError(
            f"PostgreSQL couldn't be used, so the schema wasn't checked: {reason(cause)}. Is it "
            "started, and is DATABASE_URL right?"
        ) from error
    finally:
        engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
