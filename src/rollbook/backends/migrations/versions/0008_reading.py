"""What was found about the file as a whole, and how many rows are doubtful."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook completes uploads without them."""
    op.execute("""
    ALTER TABLE uploads
        -- See pipeline/reading.py.
        ADD reading jsonb,
        ADD rows_with_warnings integer,
        -- Refused, or with a warning.
        ADD rows_needing_attention integer,
        -- {"code": rows, ...}
        ADD warnings jsonb;
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    ALTER TABLE uploads
        DROP reading, DROP rows_with_warnings, DROP rows_needing_attention, DROP warnings;
    """)
