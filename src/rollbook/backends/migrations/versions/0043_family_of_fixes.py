"""A row of a follow-up is claimed in every upload that has the same row."""

from alembic import op

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    """Let a row stand for several; an older version of Rollbook claims only the direct one."""
    op.execute("""
    ALTER TABLE row_fixes DROP CONSTRAINT row_fixes_pkey,
        ADD PRIMARY KEY (upload_id, row_number, mends);
    WITH RECURSIVE up AS (
        SELECT upload_id, row_number, mends, mends_row, is_fixed FROM row_fixes
        UNION
        SELECT up.upload_id, up.row_number, f.mends, f.mends_row, up.is_fixed
        FROM up JOIN row_fixes AS f ON f.upload_id = up.mends AND f.row_number = up.mends_row
    )
    INSERT INTO row_fixes (upload_id, row_number, mends, mends_row, is_fixed)
    SELECT upload_id, row_number, mends, mends_row, is_fixed FROM up ON CONFLICT DO NOTHING;
    """)


def downgrade() -> None:
    """Leave the direct claims."""
    op.execute("""
    DELETE FROM row_fixes AS f USING uploads AS u
    WHERE u.id = f.upload_id AND f.mends IS DISTINCT FROM u.mends;
    ALTER TABLE row_fixes DROP CONSTRAINT row_fixes_pkey, ADD PRIMARY KEY (upload_id, row_number);
    """)
