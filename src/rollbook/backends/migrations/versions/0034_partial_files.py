"""Files that come in by parts, so that a cut line costs only the part that was under way."""

from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Add the table; an older version doesn't know it."""
    op.execute("""
        CREATE TABLE partial_files (
            -- Also the id of the check, once the file is complete.
            id uuid PRIMARY KEY,
            owner_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            file_name text NOT NULL,
            file_kind text NOT NULL,
            file_bytes bigint NOT NULL,
            received bigint NOT NULL DEFAULT 0,
            -- Keys in the store, in the order of their bytes.
            parts text[] NOT NULL DEFAULT '{}',
            -- Until when a request has the parts to itself, to join them.
            joining_until timestamptz,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX partial_files_by_time ON partial_files (created_at);
        CREATE INDEX partial_files_by_owner ON partial_files (owner_id);
    """)


def downgrade() -> None:
    """Remove it; the parts go with the store's orphans."""
    op.execute("DROP TABLE partial_files")
