"""Uploads that remove members or change their status."""

from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook has no such uploads."""
    op.execute("""
    ALTER TABLE uploads
        -- Whether the file's people become members, or are a list of those to remove.
        ADD kind text NOT NULL DEFAULT 'members' CHECK (kind IN ('members', 'removal')),
        -- Of a removal: the status that they get; null: they are removed. And why.
        ADD new_status text,
        ADD reason text,
        ADD CONSTRAINT removal_says_why CHECK (kind <> 'removal' OR reason IS NOT NULL) NOT VALID;
    ALTER TABLE member_changes
        -- Whether the upload removed the member: the former values are the whole record.
        ADD is_removed boolean NOT NULL DEFAULT false;
    """)


def downgrade() -> None:
    """Drop them. Removals can't be undone by the older version, and their changes go."""
    op.execute("""
    DELETE FROM member_changes WHERE is_removed;
    ALTER TABLE member_changes DROP is_removed;
    ALTER TABLE uploads DROP CONSTRAINT removal_says_why,
        DROP kind, DROP new_status, DROP reason;
    """)
