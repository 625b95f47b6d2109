"""What a watcher leaves alone in its folder."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the names and the number; an older version writes neither."""
    op.execute("""
        ALTER TABLE watchers ADD left_alone text[] NOT NULL DEFAULT '{}',
                             ADD left_alone_total integer NOT NULL DEFAULT 0;
    """)


def downgrade() -> None:
    """Remove both."""
    op.execute("ALTER TABLE watchers DROP left_alone, DROP left_alone_total")
