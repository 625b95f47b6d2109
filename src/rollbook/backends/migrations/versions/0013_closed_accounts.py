"""Uploads whose sender's account was closed while they waited."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the function; an older version runs such uploads."""
    op.execute("""
    -- Was the sender's account closed while the upload waited? An operator's retry begins the
    -- waiting again, and decides for it.
    CREATE FUNCTION waits_for_closed_account(upload uploads) RETURNS boolean LANGUAGE sql STABLE
    RETURN upload.status = 'pending' AND EXISTS (
        SELECT FROM users
        WHERE users.id = upload.owner_id AND users.disabled_at >= upload.waiting_since);
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP FUNCTION waits_for_closed_account")
