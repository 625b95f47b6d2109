"""The voter roll's budget and the due reports, which were kept in Redis before."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook leaves them empty."""
    op.execute("""
    ALTER TABLE voter_roll_requests
        -- When its answer had come, or it had failed. Null while it is under way.
        ADD ended_at timestamptz;
    ALTER TABLE voter_roll_state
        -- The time until which the roll wants no requests.
        ADD refrain_until timestamptz,
        -- When rate_limit_warning and rate_limit_exceeded were last announced.
        ADD warned_at timestamptz,
        ADD exceeded_at timestamptz;
    ALTER TABLE uploads
        -- When the report is due to be rewritten with the voter roll's answers; null: at once.
        ADD report_due_at timestamptz,
        ADD report_tries integer NOT NULL DEFAULT 0;
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    ALTER TABLE uploads DROP report_due_at, DROP report_tries;
    ALTER TABLE voter_roll_state DROP refrain_until, DROP warned_at, DROP exceeded_at;
    ALTER TABLE voter_roll_requests DROP ended_at;
    """)
