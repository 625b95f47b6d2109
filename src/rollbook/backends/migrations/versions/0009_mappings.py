"""Remembered mappings can be named, so that one of them can be forgotten."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Give every mapping an id; an older version of Rollbook writes rows without naming it."""
    op.execute("""
    ALTER TABLE column_mappings ADD id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE;
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE column_mappings DROP id;")
