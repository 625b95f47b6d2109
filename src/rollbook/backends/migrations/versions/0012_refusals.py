"""Refusals that are counted, so that a client in a loop doesn't fill the audit trail."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table; an older version writes an entry for each refusal."""
    op.execute("""
    -- The refusals of somebody's act within the last minute: the first has an entry already.
    CREATE TABLE audit_refusals (
        key          text PRIMARY KEY,
        since        timestamptz NOT NULL DEFAULT now(),
        more         integer NOT NULL DEFAULT 0,
        act          text NOT NULL,
        code         text NOT NULL,
        user_id      uuid,
        email        text,
        role         text,
        province     text,
        municipality text,
        address      text,
        agent        text
    );
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE audit_refusals")
