"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Say what the revision brings."""
    op.execute("""
    """)


def downgrade() -> None:
    """Take it back."""
    op.execute("""
    """)
