"""How far an erasure has looked through files that aren't sent, and an index of removed members."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0049"
down_revision = "0048"


def upgrade() -> None:
    """Add both; an older version of Rollbook looks through these files at once.

    Few former values are whole records, so the index by which one is found is small.
    """
    # By the id of the last one. A crash while the index is made leaves the column.
    op.execute("ALTER TABLE erasures ADD COLUMN IF NOT EXISTS unsent_to uuid")
    create_index("member_changes_removed", "ON member_changes (id_number) WHERE is_removed")


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP INDEX member_changes_removed")
    op.execute("ALTER TABLE erasures DROP COLUMN unsent_to")
