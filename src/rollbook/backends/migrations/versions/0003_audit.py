"""The audit trail, notifications that wait to be delivered, and the undoing of uploads."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables, their guards and the columns of uploads."""
    op.execute("""
    -- How many days an entry is kept that is written now: ROLLBOOK_AUDIT_RETENTION_DAYS, one row.
    CREATE TABLE audit_retention (
        the_one boolean PRIMARY KEY DEFAULT true CHECK (the_one),
        days    integer NOT NULL DEFAULT 730 CHECK (days >= 30)
    );
    INSERT INTO audit_retention DEFAULT VALUES;
    CREATE FUNCTION audit_kept_until() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN (SELECT now() + make_interval(days => days) FROM audit_retention);

    -- One entry per act. No foreign keys: an entry outlives the account and the upload.
    CREATE TABLE audit_entries (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at           timestamptz NOT NULL DEFAULT clock_timestamp(),
        -- Fixed when the entry is written: whatever is set later shortens no entry's time.
        kept_until   timestamptz NOT NULL DEFAULT audit_kept_until(),
        act          text NOT NULL,
        outcome      text NOT NULL CHECK (outcome IN ('done', 'refused', 'failed')),
        -- Why it was refused or failed.
        code         text,
        -- Who, as the account was then; null for a worker and for somebody unknown.
        user_id      uuid,
        email        text,
        role         text,
        province     text,
        municipality text,
        -- From where: the client's address, and its program.
        address      text,
        agent        text,
        job_id       uuid,
        -- What it concerns beside the job: the address of an account, an attempt's number.
        about        text,
        CONSTRAINT done_or_why CHECK ((outcome = 'done') = (code IS NULL))
    );
    CREATE INDEX audit_entries_by_job ON audit_entries (job_id, id) WHERE job_id IS NOT NULL;
    CREATE INDEX audit_entries_by_user ON audit_entries (user_id, id) WHERE user_id IS NOT NULL;
    CREATE INDEX audit_entries_by_act ON audit_entries (act, id);
    CREATE INDEX audit_entries_by_end ON audit_entries (kept_until);

    -- Append-only. See docs/decisions/0013 for why it is a trigger and not a right.
    CREATE FUNCTION keep_audit_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.kept_until < now() THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'audit_entries is append-only: % is refused until the retention of an '
                        'entry has ended', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END $$;
    CREATE TRIGGER keep_audit_entries BEFORE UPDATE OR DELETE ON audit_entries
        FOR EACH ROW EXECUTE FUNCTION keep_audit_entries();
    CREATE TRIGGER keep_audit_entries_whole BEFORE TRUNCATE ON audit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_entries();
    -- Also where session_replication_role would leave out other triggers.
    ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER keep_audit_entries;
    ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER keep_audit_entries_whole;

    -- What is still to be told to whom: written with the end of an upload, in its transaction, so
    -- that neither can be lost without the other.
    CREATE TABLE notifications (
        -- The same however often it is sent, so that a receiver can know it again.
        id           text PRIMARY KEY DEFAULT 'msg_' || replace(gen_random_uuid()::text, '-', ''),
        upload_id    uuid NOT NULL,
        attempt      integer NOT NULL,
        kind         text NOT NULL CHECK (kind IN
                     ('completed', 'failed', 'cancelled', 'verified')),
        channel      text NOT NULL CHECK (channel IN ('email', 'webhook')),
        created_at   timestamptz NOT NULL DEFAULT now(),
        tries        integer NOT NULL DEFAULT 0,
        due_at       timestamptz NOT NULL DEFAULT now(),
        -- The code and the sentence of the last failure.
        error_code   text,
        error        text,
        delivered_at timestamptz,
        given_up_at  timestamptz,
        -- An upload that is retried by hand has another end.
        UNIQUE (upload_id, attempt, kind, channel)
    );
    CREATE INDEX notifications_open ON notifications (due_at)
        WHERE delivered_at IS NULL AND given_up_at IS NULL;
    CREATE INDEX notifications_by_time ON notifications (created_at);

    ALTER TABLE uploads
        ADD undone_at   timestamptz,
        -- The address of whoever did it.
        ADD undone_by   text,
        -- How many members were removed, restored and kept.
        ADD undo_counts jsonb,
        ADD CONSTRAINT only_what_was_merged_is_undone
            CHECK (undone_at IS NULL OR status = 'completed' AND NOT dry_run);

    -- When a member was changed a second time under the same upload: an edit by hand.
    ALTER TABLE member_changes ADD edited_at timestamptz;

    -- Members whom undoing an upload left alone.
    CREATE TABLE undo_kept (
        upload_id    uuid NOT NULL,
        id_number    text COLLATE "C" NOT NULL,
        reason       text NOT NULL CHECK (reason IN ('later_upload', 'edited')),
        later_upload uuid,
        PRIMARY KEY (upload_id, id_number)
    );

    -- As before, and two things more: undoing an upload is no change of it, and a change of what
    -- the same upload has changed or created is an edit, which undoing must not run over.
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
    """)


def downgrade() -> None:
    """Drop them, and keep the members' before-values as revision 0002 did."""
    op.execute("""
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
    DROP TABLE undo_kept;
    DROP TABLE notifications;
    ALTER TABLE member_changes DROP edited_at;
    ALTER TABLE uploads DROP undone_at, DROP undone_by, DROP undo_counts;
    DROP TABLE audit_entries;
    DROP FUNCTION keep_audit_entries;
    DROP FUNCTION audit_kept_until;
    DROP TABLE audit_retention;
    """)
