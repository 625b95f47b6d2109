"""Which fields a merge changes, a name for each member, and whose word an expiry date is."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns; an older version of Rollbook merges without them."""
    op.execute("""
    ALTER TABLE members
        -- What the API calls a member: an ID number belongs in no address.
        ADD IF NOT EXISTS member_id uuid,
        -- Does the expiry date come from the last payment? Null: merged before this was recorded,
        -- or by an older version; see sql/members.sql.
        ADD IF NOT EXISTS expiry_is_derived boolean;
    ALTER TABLE members ALTER member_id SET DEFAULT gen_random_uuid();
    ALTER TABLE members DROP CONSTRAINT IF EXISTS member_has_an_id;
    ALTER TABLE members ADD CONSTRAINT member_has_an_id CHECK (member_id IS NOT NULL) NOT VALID;
    ALTER TABLE upload_rows
        -- The member whom the row changed, and {"field": ["before", "after"], ...}.
        ADD IF NOT EXISTS member_id uuid,
        ADD IF NOT EXISTS changes jsonb;
    -- With this a merge finds out whether another one came in between (pipeline/match.py).
    ALTER TABLE member_changes ADD IF NOT EXISTS former_changed_at timestamptz;
    CREATE OR REPLACE FUNCTION keep_before_values() RETURNS trigger LANGUAGE plpgsql
    SET enable_nestloop = off AS $$
    BEGIN
        IF current_setting('rollbook.undoing', true) = 'on' THEN
            RETURN NULL;
        END IF;
        INSERT INTO member_changes AS c (upload_id, id_number, former_changed_at, before)
        SELECT changed.changed_by_upload, former.id_number, former.changed_at,
               jsonb_strip_nulls(to_jsonb(former)) - ARRAY['roll_status', 'roll_ward',
                                                           'roll_voting_district', 'roll_asked_at',
                                                           'member_id']
        FROM former JOIN changed USING (id_number)
        WHERE former.roll_asked_at IS NOT DISTINCT FROM changed.roll_asked_at
        ON CONFLICT (upload_id, id_number) DO UPDATE SET edited_at = now();
        RETURN NULL;
    END $$;
    """)
    _name_members()


def downgrade() -> None:
    """Drop them, and keep the members' before-values as revision 0003 did."""
    op.execute("""
    CREATE OR REPLACE FUNCTION keep_before_values() RETURNS trigger LANGUAGE plpgsql
    SET enable_nestloop = off AS $$
    BEGIN
        IF current_setting('rollbook.undoing', true) = 'on' THEN
            RETURN NULL;
        END IF;
        INSERT INTO member_changes AS c (upload_id, id_number, before)
        SELECT changed.changed_by_upload, former.id_number,
               jsonb_strip_nulls(to_jsonb(former)) - ARRAY['roll_status', 'roll_ward',
                                                           'roll_voting_district', 'roll_asked_at']
        FROM former JOIN changed USING (id_number)
        WHERE former.roll_asked_at IS NOT DISTINCT FROM changed.roll_asked_at
        ON CONFLICT (upload_id, id_number) DO UPDATE SET edited_at = now();
        RETURN NULL;
    END $$;
    ALTER TABLE member_changes DROP former_changed_at;
    ALTER TABLE upload_rows DROP member_id, DROP changes;
    ALTER TABLE members DROP member_id, DROP expiry_is_derived;
    """)


def _name_members() -> None:
    """Give the members who are there an id, in batches, so that no merge waits for all of them.

    What was done before is committed with the first batch; run again after a crash, the migration
    goes on where it was.
    """
    connection = op.get_bind()
    last: str | None = ""
    while last is not None:
        connection.commit()
        # An id is no edit, and leaves no before-values.
        connection.exec_driver_sql("SET LOCAL rollbook.undoing = 'on'")
        last = connection.exec_driver_sql(
            """
            WITH batch AS (SELECT id_number FROM members WHERE id_number > %s
                           ORDER BY id_number LIMIT 20000),
            named AS (UPDATE members AS m SET member_id = gen_random_uuid() FROM batch
                      WHERE m.id_number = batch.id_number AND member_id IS NULL)
            SELECT max(id_number) FROM batch
            """,
            (last,),
        ).scalar()
    connection.exec_driver_sql("ALTER TABLE members VALIDATE CONSTRAINT member_has_an_id")
