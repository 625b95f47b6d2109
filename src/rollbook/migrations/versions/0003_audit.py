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
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    DROP TABLE audit_entries;
    DROP FUNCTION keep_audit_entries;
    DROP FUNCTION audit_kept_until;
    DROP TABLE audit_retention;
    """)
