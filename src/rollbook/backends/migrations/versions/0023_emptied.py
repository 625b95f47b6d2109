"""Fields that an upload empties on purpose: the text that says so, and how many it emptied."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook records uploads without them."""
    op.execute("""
    ALTER TABLE uploads
        -- The text of a cell that empties its field; null: none does.
        ADD empty_text text,
        -- {"field": members}: whose value was removed.
        ADD emptied jsonb;
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE uploads DROP empty_text, DROP emptied;")
