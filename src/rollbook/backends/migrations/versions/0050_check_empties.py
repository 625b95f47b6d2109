"""The text that empties a field, with which a file was checked."""

from alembic import op

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    """Add it; an older version of Rollbook checks without one."""
    op.execute("ALTER TABLE file_checks ADD COLUMN empty_text text")


def downgrade() -> None:
    """Remove it."""
    op.execute("ALTER TABLE file_checks DROP COLUMN empty_text")
