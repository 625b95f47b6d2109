"""The schema's migrations (Alembic, plain SQL inside).

Not in ``database``, because Alembic takes longer to import than everything else together, and only
the commands that migrate need it.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import alembic.command
import psycopg
import structlog
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.pool import NullPool

from rollbook.backends.database import CONNECT_TIMEOUT_S, SCHEMA_REVISION, reason
from rollbook.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

#: Advisory lock for migrations (any fixed number).
MIGRATION_LOCK = 0x726F6C6C

log = structlog.get_logger(__name__)


def migrate(address: str) -> str:
    """Migrate the schema to the newest revision and return that.

    Raises:
        ServiceUnavailableError: PostgreSQL doesn't answer.
    """
    with _alembic(address) as (config, connection):
        # Released with the connection.
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
        before = _revision(connection)
        if before is not None and before > SCHEMA_REVISION:
            return before  # of the next version, which this one works with (how-to/upgrade.md)
        alembic.command.upgrade(config, "head")
        connection.commit()
        after = _revision(connection)
    if after != before:
        log.info("schema migrated", revision=after, before=before)
    return after or ""


@contextmanager
def _alembic(address: str) -> Iterator[tuple[Config, Connection]]:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(address, connect_timeout=CONNECT_TIMEOUT_S),
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
