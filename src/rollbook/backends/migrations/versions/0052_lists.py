"""Indexes of joins and reports, passports in lists of undos, and when exports were withdrawn."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0052"
down_revision = "0051"


def upgrade() -> None:
    """Add them; an older version of Rollbook writes neither column.

    A passport is that of the member, or of the former values where the person is no member.
    """
    op.execute("""
    ALTER TABLE erasures
        -- When the exports that may hold the person were withdrawn.
        ADD COLUMN IF NOT EXISTS withdrawn_at timestamptz;
    ALTER TABLE undo_kept
        -- Of a passport, as `members` has them; the former values are deleted before the list.
        ADD COLUMN IF NOT EXISTS identity_country text,
        ADD COLUMN IF NOT EXISTS identity_number  text;
    UPDATE undo_kept AS k
    SET identity_country = COALESCE(m.identity_country, c.before ->> 'identity_country'),
        identity_number = COALESCE(m.identity_number, c.before ->> 'identity_number')
    FROM undo_kept AS o
    LEFT JOIN members AS m ON m.id_number = o.id_number
    LEFT JOIN member_changes AS c ON c.upload_id = o.upload_id AND c.id_number = o.id_number
    WHERE k.upload_id = o.upload_id AND k.id_number = o.id_number AND length(o.id_number) <> 13;
    """)
    create_index("member_joins_by_gone", "ON member_joins (gone)")
    create_index("member_joins_by_kept", "ON member_joins (kept)")
    create_index("member_joins_by_time", "ON member_joins (at, id)")
    create_index(
        "uploads_with_reports",
        "ON uploads (ordinal) WHERE report_key IS NOT NULL OR refused_key IS NOT NULL",
    )


def downgrade() -> None:
    """Remove them."""
    op.execute("""
    DROP INDEX uploads_with_reports;
    DROP INDEX member_joins_by_time;
    DROP INDEX member_joins_by_kept;
    DROP INDEX member_joins_by_gone;
    ALTER TABLE undo_kept DROP identity_number, DROP identity_country;
    ALTER TABLE erasures DROP withdrawn_at;
    """)
