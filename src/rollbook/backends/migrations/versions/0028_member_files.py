"""Files of members that somebody asked for: exports, and the files of one person."""

from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Create the table; an older version of Rollbook makes no such files."""
    op.execute("""
    CREATE TABLE member_files (
        id           uuid PRIMARY KEY,
        kind         text NOT NULL CHECK (kind IN ('export', 'access')),
        owner_id     uuid NOT NULL REFERENCES users,
        -- The owner's scope when it was asked for.
        province     text,
        municipality text,
        format       text NOT NULL CHECK (format IN ('xlsx', 'csv', 'json')),
        -- Of an export: which members, as members/search.py has them.
        filters      jsonb NOT NULL DEFAULT '{}',
        -- The member whose file it is.
        member_id    uuid,
        status       text NOT NULL DEFAULT 'pending'
                     CHECK (status IN ('pending', 'completed', 'failed', 'removed')),
        rows_done    integer NOT NULL DEFAULT 0,
        rows_total   integer,
        file_bytes   bigint,
        error        text,
        tries        integer NOT NULL DEFAULT 0,
        created_at   timestamptz NOT NULL DEFAULT now(),
        -- When a worker may begin with it; while one works on it, the end of its lease.
        due_at       timestamptz NOT NULL DEFAULT now(),
        finished_at  timestamptz,
        -- When the file is removed.
        expires_at   timestamptz
    );
    CREATE INDEX member_files_due ON member_files (due_at) WHERE status = 'pending';
    CREATE INDEX member_files_by_owner ON member_files (owner_id, created_at);
    CREATE INDEX member_files_by_end ON member_files (expires_at) WHERE expires_at IS NOT NULL;
    """)


def downgrade() -> None:
    """Drop it; the files themselves are removed as files of no upload."""
    op.execute("DROP TABLE member_files;")
