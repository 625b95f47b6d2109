"""The language that a person has chosen, and the one that an upload's report and mail are in."""

from alembic import op

revision = "0048"
down_revision = "0047"


def upgrade() -> None:
    """Add both; an older version of Rollbook leaves them as they are, and speaks English."""
    op.execute("ALTER TABLE users ADD COLUMN language text")
    op.execute("ALTER TABLE uploads ADD COLUMN language text")


def downgrade() -> None:
    """Remove them."""
    op.execute("ALTER TABLE uploads DROP COLUMN language")
    op.execute("ALTER TABLE users DROP COLUMN language")
