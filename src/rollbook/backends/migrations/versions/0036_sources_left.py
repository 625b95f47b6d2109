"""An index for source files whose removal was cut off, for which every process looks often."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Create it."""
    create_index(
        "uploads_with_source_left",
        "ON uploads (finished_at) WHERE source_key IS NOT NULL "
        "AND (status = 'cancelled' OR (status = 'completed' AND NOT dry_run))",
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX uploads_with_source_left")
