"""The schema that the code expects is the newest that the package holds."""

from __future__ import annotations

from rollbook.backends import schema
from rollbook.backends.database import SCHEMA_REVISION


def test_the_expected_revision_is_the_newest() -> None:
    assert schema.newest_revision() == SCHEMA_REVISION
