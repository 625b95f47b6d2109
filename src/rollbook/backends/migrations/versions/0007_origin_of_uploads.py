"""Which request an upload came with, and which trace it belongs to."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook writes rows without them."""
    op.execute("""
    ALTER TABLE uploads
        -- In the log lines of the request, of the worker and of its child.
        ADD request_id text CHECK (length(request_id) <= 64),
        -- W3C Trace Context, where traces are on.
        ADD traceparent text CHECK (length(traceparent) <= 64);
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE uploads DROP request_id, DROP traceparent;")
