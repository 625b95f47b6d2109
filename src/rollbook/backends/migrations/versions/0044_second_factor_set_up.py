"""The set-up of a second factor ends, and its wrong codes are counted by themselves."""

from alembic import op

revision = "0044"
down_revision = "0043"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook fills in none of them."""
    op.execute("""
    ALTER TABLE second_factors
        -- When new_secret was shown; null: by an older version.
        ADD new_secret_at    timestamptz,
        -- Wrong codes for new_secret. Those of a sign-in are in failures.
        ADD new_failures     integer NOT NULL DEFAULT 0,
        ADD new_locked_until timestamptz;
    """)


def downgrade() -> None:
    """Drop them: a secret that was begun doesn't end."""
    op.execute("""
    ALTER TABLE second_factors DROP new_secret_at, DROP new_failures, DROP new_locked_until;
    """)
