"""Who changed a remembered mapping by hand, and when."""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook remembers mappings without them."""
    op.execute("ALTER TABLE column_mappings ADD changed_at timestamptz, ADD changed_by text;")


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE column_mappings DROP changed_at, DROP changed_by;")
