"""What an attempt waits for while another transaction has locked its members."""

from alembic import op

revision = "0046"
down_revision = "0045"


def upgrade() -> None:
    """Add it; an older version of Rollbook leaves it as it is.

    It names its attempt, so one that an older worker left there says nothing of a later attempt.
    """
    op.execute("ALTER TABLE uploads ADD COLUMN waits jsonb")


def downgrade() -> None:
    """Remove it."""
    op.execute("ALTER TABLE uploads DROP COLUMN waits")
