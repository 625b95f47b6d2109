"""Files that were sent to be checked, before anybody decides to process them."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the table; an older version doesn't know it."""
    op.execute("""
        CREATE TABLE file_checks (
            -- Also the id of the upload, if it becomes one.
            id uuid PRIMARY KEY,
            owner_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            file_name text NOT NULL,
            file_kind text NOT NULL,
            file_bytes bigint NOT NULL,
            file_sha256 text NOT NULL,
            sheet text,
            columns jsonb,
            -- When it was last asked about: it is removed some time after.
            used_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX file_checks_by_time ON file_checks (used_at);
    """)


def downgrade() -> None:
    """Remove it; the files go with the store's orphans."""
    op.execute("DROP TABLE file_checks")
