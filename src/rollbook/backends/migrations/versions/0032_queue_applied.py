"""Whether Redis was told that the queue is paused or resumed."""

from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Add the column; an older version of Rollbook leaves it as it is."""
    op.execute("ALTER TABLE queue_state ADD is_applied boolean NOT NULL DEFAULT true;")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE queue_state DROP is_applied;")
