"""An index of uploads by the time of their end, by which an undo finds later ones."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    """Create it."""
    create_index("uploads_by_end", "ON uploads (finished_at)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX uploads_by_end")
