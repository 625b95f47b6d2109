"""The voter roll: what was asked, what was answered, and what is still to be asked."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables and the columns of uploads and members."""
    op.execute("""
    ALTER TABLE uploads
        -- Merge at once and ask the roll afterwards, or the other way round.
        ADD verify       text NOT NULL DEFAULT 'after_merge'
                         CHECK (verify IN ('after_merge', 'before_merge')),
        ADD verification text NOT NULL DEFAULT 'off'
                         CHECK (verification IN ('off', 'pending', 'verified')),
        ADD verified_at  timestamptz,
        -- The rows by what the roll said; they add up to the rows that were to be asked about.
        ADD roll_registered       integer NOT NULL DEFAULT 0,
        ADD roll_other_ward       integer NOT NULL DEFAULT 0,
        ADD roll_without_district integer NOT NULL DEFAULT 0,
        ADD roll_not_registered   integer NOT NULL DEFAULT 0,
        ADD roll_deceased         integer NOT NULL DEFAULT 0,
        ADD roll_international    integer NOT NULL DEFAULT 0,
        ADD roll_pending          integer NOT NULL DEFAULT 0,
        ADD roll_error            integer NOT NULL DEFAULT 0,
        -- The report's tables, kept until the report was written again with the answers.
        ADD report_tables_key     text;
    CREATE INDEX uploads_unverified ON uploads (ordinal) WHERE verification = 'pending';

    -- Beside what the office says of ward and voting district, so that its next file changes
    -- nothing of what the roll said, nor the roll of what the office said.
    ALTER TABLE members
        ADD roll_status          text CHECK (roll_status IN ('registered', 'without_district',
                                 'not_registered', 'deceased', 'international')),
        ADD roll_ward            text,
        -- 8 digits; 22222222, 99999999, 11111111 and 33333333 stand for the last four of these.
        ADD roll_voting_district text,
        ADD roll_asked_at        timestamptz;

    -- What the roll last said of a person. Whoever is in here lately enough isn't asked about.
    CREATE TABLE voter_roll_answers (
        id_number       text COLLATE "C" PRIMARY KEY CHECK (id_number ~ '^[0-9]{13}$'),
        status          text NOT NULL CHECK (status IN ('registered', 'without_district',
                        'not_registered', 'deceased', 'international')),
        ward            text,
        voting_district text NOT NULL,
        voting_station  text,
        municipality    text,
        province        text,
        asked_at        timestamptz NOT NULL
    );

    -- Whom to ask about, once each, in the order of the uploads. A question that somebody has taken
    -- is due again when the time in which it must have been answered is over.
    CREATE TABLE voter_roll_questions (
        id_number      text COLLATE "C" PRIMARY KEY,
        upload_ordinal bigint NOT NULL,
        row_number     integer NOT NULL,
        due_at         timestamptz NOT NULL DEFAULT now(),
        failures       integer NOT NULL DEFAULT 0,
        -- The code of the last failure.
        error          text
    );
    CREATE INDEX voter_roll_questions_in_order
        ON voter_roll_questions (upload_ordinal, row_number);

    -- The rows of an upload that are verified or to be verified. As with upload_rows, no foreign
    -- key.
    CREATE TABLE verifications (
        upload_id  uuid NOT NULL,
        row_number integer NOT NULL,
        id_number  text COLLATE "C" NOT NULL,
        file_ward  text,
        result     text NOT NULL CHECK (result IN ('registered', 'other_ward', 'without_district',
                   'not_registered', 'deceased', 'international', 'pending', 'error')),
        PRIMARY KEY (upload_id, row_number)
    );
    CREATE INDEX verifications_pending ON verifications (id_number) WHERE result = 'pending';

    -- Every request, noted before it is made: from these the budget is counted anew when Redis has
    -- forgotten it. Kept for a few windows.
    CREATE TABLE voter_roll_requests (
        id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        sent_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE INDEX voter_roll_requests_by_time ON voter_roll_requests (sent_at);

    -- The circuit breaker of all workers, one row. Open since down_since: nobody asks before
    -- probe_at, and then one.
    CREATE TABLE voter_roll_state (
        the_one        boolean PRIMARY KEY DEFAULT true CHECK (the_one),
        failures       integer NOT NULL DEFAULT 0,
        probes         integer NOT NULL DEFAULT 0,
        down_since     timestamptz,
        probe_at       timestamptz,
        -- The code and the sentence of the last failure.
        error_code     text,
        error          text,
        last_answer_at timestamptz
    );
    INSERT INTO voter_roll_state DEFAULT VALUES;

    -- What the roll's answer is for a row; null without an answer. A ward of up to three digits is
    -- the number within the municipality, which are the last three of the roll's eight.
    CREATE FUNCTION verification_result(status text, roll_ward text, file_ward text)
    RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE
        WHEN status IS NULL THEN NULL
        WHEN status <> 'registered' THEN status
        WHEN COALESCE(file_ward, '') = '' OR file_ward = roll_ward
             OR file_ward ~ '^[0-9]{1,3}$' AND lpad(file_ward, 3, '0') = right(roll_ward, 3)
            THEN 'registered'
        ELSE 'other_ward' END;

    -- What an office's upload changed is kept as before; what the roll said is no change of an
    -- upload, and undoing an upload doesn't take it back. A merge leaves roll_asked_at alone, and
    -- an answer always changes it. No loops: a merge that changes nobody calls it too, and the plan
    -- that is kept from then, for no rows, took ten minutes for 50,000.
    CREATE OR REPLACE FUNCTION keep_before_values() RETURNS trigger LANGUAGE plpgsql
    SET enable_nestloop = off AS $$
    BEGIN
        INSERT INTO member_changes (upload_id, id_number, before)
        SELECT changed.changed_by_upload, former.id_number,
               jsonb_strip_nulls(to_jsonb(former)) - ARRAY['roll_status', 'roll_ward',
                                                           'roll_voting_district', 'roll_asked_at']
        FROM former JOIN changed USING (id_number)
        WHERE former.roll_asked_at IS NOT DISTINCT FROM changed.roll_asked_at
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
    """)


def downgrade() -> None:
    """Drop them, and keep the members' before-values as revision 0001 did."""
    op.execute("""
    CREATE OR REPLACE FUNCTION keep_before_values() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO member_changes (upload_id, id_number, before)
        SELECT changed.changed_by_upload, former.id_number, jsonb_strip_nulls(to_jsonb(former))
        FROM former JOIN changed USING (id_number)
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
    DROP FUNCTION verification_result;
    DROP TABLE voter_roll_state;
    DROP TABLE voter_roll_requests;
    DROP TABLE verifications;
    DROP TABLE voter_roll_questions;
    DROP TABLE voter_roll_answers;
    ALTER TABLE members
        DROP roll_status, DROP roll_ward, DROP roll_voting_district, DROP roll_asked_at;
    DROP INDEX uploads_unverified;
    ALTER TABLE uploads
        DROP verify, DROP verification, DROP verified_at, DROP roll_registered,
        DROP roll_other_ward, DROP roll_without_district, DROP roll_not_registered,
        DROP roll_deceased, DROP roll_international, DROP roll_pending, DROP roll_error,
        DROP report_tables_key;
    """)
