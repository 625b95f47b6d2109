"""The schema that the code says it needs is the newest one that it brings."""

from __future__ import annotations

from alembic.script import ScriptDirectory

from rollbook.backends import schema
from rollbook.backends.database import SCHEMA_REVISION


def test_the_code_needs_the_newest_migration() -> None:
    newest = ScriptDirectory.from_config(schema._config()).get_current_head()
    assert newest == SCHEMA_REVISION
