"""An organisation's own fields of a member."""

from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    """Add the column; an older version of Rollbook leaves it as it is."""
    op.execute("""
    ALTER TABLE members
        -- {"name": value, ...} by the names of ROLLBOOK_FIELDS_FILE; null: the member has none.
        ADD own_fields jsonb;
    """)


def downgrade() -> None:
    """Drop it, with the values."""
    op.execute("ALTER TABLE members DROP own_fields;")
