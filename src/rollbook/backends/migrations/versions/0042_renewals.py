"""How many members of a file are new, have renewed, or have expired."""

from alembic import op

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    """Add the column; an older version of Rollbook counts none."""
    op.execute("""
    ALTER TABLE uploads
        -- {"new": ..., "renewed": ..., "early": ..., "expired": ...}; null: the file has no dates.
        ADD renewals jsonb;
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE uploads DROP renewals;")
