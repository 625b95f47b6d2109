"""An index that holds what the history is searched by, so that a search reads no whole uploads."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Create it."""
    create_index(
        "uploads_names",
        "ON uploads (ordinal) INCLUDE (id, owner_id, file_name, status, province, municipality)",
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX uploads_names")
