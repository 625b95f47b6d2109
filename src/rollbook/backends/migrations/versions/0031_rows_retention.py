"""The outcomes of rows have a retention."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Add the time of their removal; an older version of Rollbook removes none."""
    op.execute("""
    -- Of an upload that was retried since, this time is before its end, and says nothing.
    ALTER TABLE uploads ADD IF NOT EXISTS rows_removed_at timestamptz;
    -- By default PostgreSQL waits for a fifth of the table to be deleted. The rows of a day are
    -- less than a hundredth, and their room is to be used again the next day.
    ALTER TABLE upload_rows SET (autovacuum_vacuum_scale_factor = 0.01);
    """)
    create_index(
        "uploads_with_rows",
        "ON uploads (finished_at) WHERE (rows_removed_at IS NULL OR rows_removed_at < finished_at)",
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("""
    DROP INDEX uploads_with_rows;
    ALTER TABLE upload_rows RESET (autovacuum_vacuum_scale_factor);
    ALTER TABLE uploads DROP rows_removed_at;
    """)
