"""When a worker has begun with an erasure: attempts that began before may not know of it."""

from alembic import op

revision = "0058"
down_revision = "0057"


def upgrade() -> None:
    """Add it; an older version of Rollbook compares with the moment of the request."""
    op.execute("ALTER TABLE erasures ADD COLUMN begun_at timestamptz")


def downgrade() -> None:
    """Remove it."""
    op.execute("ALTER TABLE erasures DROP COLUMN begun_at")
