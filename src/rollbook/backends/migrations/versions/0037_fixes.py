"""Rows that can be fixed on the page, the follow-ups that fix them, and an office's words."""

from alembic import op

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    """Add the tables and columns; an older version of Rollbook processes files without them."""
    op.execute("""
    ALTER TABLE uploads
        -- The upload whose rows this one fixes.
        ADD mends uuid,
        -- How the cells of `fixable_rows` are read: headers, fields, order of dates. Of a
        -- follow-up, that of the first upload until its own is known.
        ADD grid jsonb;
    CREATE INDEX uploads_by_mends ON uploads (mends) WHERE mends IS NOT NULL;

    -- The cells of refused and doubtful rows, as the file has them. As with upload_rows, no foreign
    -- key: a merge writes many.
    CREATE TABLE fixable_rows (
        upload_id  uuid NOT NULL,
        row_number integer NOT NULL,
        -- In the order of the headers in uploads.grid.
        cells      jsonb NOT NULL,
        PRIMARY KEY (upload_id, row_number)
    );

    -- Which row of a follow-up stands for which row of the upload that it fixes. Numbers only.
    CREATE TABLE row_fixes (
        upload_id  uuid NOT NULL,
        row_number integer NOT NULL,
        mends      uuid NOT NULL,
        mends_row  integer NOT NULL,
        -- The follow-up has taken the row in.
        is_fixed   boolean NOT NULL DEFAULT false,
        PRIMARY KEY (upload_id, row_number)
    );
    CREATE INDEX row_fixes_by_mends ON row_fixes (mends, mends_row);

    -- Those of follow-ups that are under way or have taken the row in: the row is theirs.
    CREATE VIEW live_fixes AS
    SELECT f.*, u.owner_id, u.ordinal FROM row_fixes AS f JOIN uploads AS u ON u.id = f.upload_id
    WHERE u.status IN ('pending', 'processing')
       OR (u.status = 'completed' AND u.undone_at IS NULL AND f.is_fixed);

    -- What an office means by a text that Rollbook doesn't know, by field.
    CREATE TABLE value_aliases (
        id           uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
        province     text,
        municipality text,
        field        text NOT NULL,
        -- Clean and in small letters, as cells are compared with it.
        text         text NOT NULL,
        value        text NOT NULL,
        upload_id    uuid NOT NULL,
        created_at   timestamptz NOT NULL DEFAULT now(),
        created_by   text NOT NULL,
        UNIQUE NULLS NOT DISTINCT (province, municipality, field, text)
    );
    """)


def downgrade() -> None:
    """Drop them; follow-ups stay as uploads of their own."""
    op.execute("""
    DROP TABLE value_aliases;
    DROP VIEW live_fixes;
    DROP TABLE row_fixes;
    DROP TABLE fixable_rows;
    DROP INDEX uploads_by_mends;
    ALTER TABLE uploads DROP mends, DROP grid;
    """)
