"""The first tables: users, uploads, upload_rows and members."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.execute("""
    CREATE TABLE users (
        id            uuid PRIMARY KEY,
        email         text NOT NULL,
        name          text NOT NULL DEFAULT '',
        role          text NOT NULL CHECK (role IN
                      ('super_admin', 'national_admin', 'province_admin', 'municipality_admin')),
        province      text,
        municipality  text,
        password_hash text NOT NULL,
        -- A token issued before this moment is no longer good (password changed, signed out).
        tokens_from   timestamptz NOT NULL DEFAULT 'epoch',
        disabled_at   timestamptz,
        created_at    timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT role_has_its_scope CHECK (CASE role
            WHEN 'province_admin' THEN province IS NOT NULL AND municipality IS NULL
            WHEN 'municipality_admin' THEN province IS NOT NULL AND municipality IS NOT NULL
            ELSE province IS NULL AND municipality IS NULL END)
    );
    CREATE UNIQUE INDEX users_email_key ON users (lower(email));

    CREATE TABLE uploads (
        id              uuid PRIMARY KEY,
        -- Orders uploads of one priority; a clock may stand still or go back.
        ordinal         bigint GENERATED ALWAYS AS IDENTITY,
        owner_id        uuid NOT NULL REFERENCES users,
        -- The owner's scope at the time of the upload; null stands for everywhere.
        province        text,
        municipality    text,
        file_name       text NOT NULL,
        file_kind       text NOT NULL CHECK (file_kind IN ('xlsx', 'xls', 'csv')),
        file_bytes      bigint NOT NULL CHECK (file_bytes > 0),
        file_sha256     text NOT NULL,
        idempotency_key text,
        priority        integer NOT NULL CHECK (priority > 0),
        dry_run         boolean NOT NULL DEFAULT false,
        -- What becomes of members that exist: take what the file says, fill empty fields only, or
        -- leave them as they are.
        existing        text NOT NULL DEFAULT 'update'
                        CHECK (existing IN ('update', 'fill', 'skip')),
        -- Refuse the whole file for one refused row.
        all_or_nothing  boolean NOT NULL DEFAULT false,
        -- The sheet to read, and {"header": "field", ...}, where the sender named them.
        sheet           text,
        columns         json,

        status          text NOT NULL DEFAULT 'pending' CHECK (status IN
                        ('pending', 'processing', 'completed', 'failed', 'cancelled')),
        -- The fence: goes up with every claim and never down. Every write by a worker names it.
        attempt         integer NOT NULL DEFAULT 0,
        -- Attempts before the last retry by hand, which counts anew.
        attempts_before integer NOT NULL DEFAULT 0,
        worker          text,
        heartbeat_at    timestamptz,
        -- When the upload last began to wait: the reconciler leaves it alone for a moment.
        waiting_since   timestamptz NOT NULL DEFAULT now(),
        stage           text,
        progress        smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
        rows_done       integer NOT NULL DEFAULT 0,
        rows_total      integer,

        inserted        integer NOT NULL DEFAULT 0,
        updated         integer NOT NULL DEFAULT 0,
        unchanged       integer NOT NULL DEFAULT 0,
        invalid         integer NOT NULL DEFAULT 0,
        duplicate       integer NOT NULL DEFAULT 0,
        out_of_scope    integer NOT NULL DEFAULT 0,
        stage_seconds   json NOT NULL DEFAULT '{}',

        error_code      text,
        error           text,
        -- What the file store holds for the upload; null when there is nothing (any more).
        source_key      text,
        report_key      text,
        refused_key     text,

        created_at      timestamptz NOT NULL DEFAULT now(),
        started_at      timestamptz,
        finished_at     timestamptz,
        CONSTRAINT every_row_has_one_outcome CHECK (status <> 'completed' OR
            rows_total = inserted + updated + unchanged + invalid + duplicate + out_of_scope),
        CONSTRAINT final_has_an_end CHECK
            ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
        CONSTRAINT failed_says_why CHECK (status <> 'failed' OR error IS NOT NULL)
    );
    CREATE UNIQUE INDEX uploads_idempotency_key ON uploads (owner_id, idempotency_key);
    CREATE INDEX uploads_by_ordinal ON uploads (ordinal);
    CREATE INDEX uploads_open ON uploads (priority, ordinal)
        WHERE status IN ('pending', 'processing');
    CREATE INDEX uploads_by_content ON uploads (file_sha256, created_at);

    -- No foreign key: it would look up the same upload for every row, which is half of the time
    -- that writing them takes. They are written only in the transaction that ends their upload.
    CREATE TABLE upload_rows (
        upload_id    uuid NOT NULL,
        row_number   integer NOT NULL,
        outcome      text NOT NULL CHECK (outcome IN
                     ('inserted', 'updated', 'unchanged', 'invalid', 'duplicate', 'out_of_scope')),
        -- The row of the file that a duplicate repeats.
        duplicate_of integer,
        -- [{"column": ..., "value": ..., "code": ..., "severity": ...}, ...]
        problems     jsonb,
        PRIMARY KEY (upload_id, row_number)
    );

    CREATE TABLE members (
        id_number           text COLLATE "C" PRIMARY KEY CHECK (id_number ~ '^[0-9]{13}$'),
        firstname           text NOT NULL,
        surname             text NOT NULL,
        date_of_birth       date NOT NULL,
        gender              text,
        citizenship         text,
        race                text,
        language            text,
        cell_number         text,
        landline_number     text,
        email               text,
        residential_address text,
        occupation          text,
        qualification       text,
        province            text,
        region              text,
        municipality        text,
        ward                text,
        voting_station      text,
        voting_district     text,
        date_joined         date,
        last_payment        date,
        expiry_date         date,
        subscription        text,
        membership_amount   numeric(12, 2),
        status              text,
        created_by_upload   uuid NOT NULL,
        changed_by_upload   uuid NOT NULL,
        created_at          timestamptz NOT NULL DEFAULT now(),
        changed_at          timestamptz NOT NULL DEFAULT now()
    );

    -- The state of a member before an upload changed it, so that the upload can be undone. Nulls
    -- are left out. Members that an upload created are those with created_by_upload.
    CREATE TABLE member_changes (
        upload_id   uuid NOT NULL,
        id_number   text COLLATE "C" NOT NULL,
        before      jsonb NOT NULL,
        changed_at  timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (upload_id, id_number)
    );
    -- By a trigger, because only the statement that changes a row knows for certain what was there.
    CREATE FUNCTION keep_before_values() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO member_changes (upload_id, id_number, before)
        SELECT changed.changed_by_upload, former.id_number, jsonb_strip_nulls(to_jsonb(former))
        FROM former JOIN changed USING (id_number)
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
    CREATE TRIGGER keep_before_values AFTER UPDATE ON members
        REFERENCING OLD TABLE AS former NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION keep_before_values();

    -- Which column of an office's files is which field, by the fingerprint of the header row.
    CREATE TABLE column_mappings (
        province     text,
        municipality text,
        fingerprint  text NOT NULL,
        columns      json NOT NULL,
        upload_id    uuid NOT NULL,
        UNIQUE NULLS NOT DISTINCT (province, municipality, fingerprint)
    );

    -- A process that takes jobs; it says that it lives every few seconds.
    CREATE TABLE workers (
        name         text PRIMARY KEY,
        host         text NOT NULL,
        pid          integer NOT NULL,
        slots        integer NOT NULL,
        jobs         uuid[] NOT NULL,
        started_at   timestamptz NOT NULL DEFAULT now(),
        heartbeat_at timestamptz NOT NULL
    );

    -- The one scope rule: null in the office's place stands for everywhere.
    CREATE FUNCTION in_scope(
        row_province text, row_municipality text, office_province text, office_municipality text
    ) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
        COALESCE(office_province IS NULL OR row_province = office_province, false)
        AND COALESCE(office_municipality IS NULL
                     OR lower(row_municipality) = lower(office_municipality), false);

    -- May an office change this member? Not when another office has it; one without a place is
    -- nobody's yet.
    CREATE FUNCTION takes_from_nobody(
        member_province text, member_municipality text,
        office_province text, office_municipality text
    ) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN in_scope(
        COALESCE(member_province, office_province),
        COALESCE(member_municipality, office_municipality),
        office_province, office_municipality);
    """)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("""
    DROP FUNCTION takes_from_nobody;
    DROP FUNCTION in_scope;
    DROP TABLE workers;
    DROP TABLE column_mappings;
    DROP TABLE members;
    DROP FUNCTION keep_before_values;
    DROP TABLE member_changes;
    DROP TABLE upload_rows;
    DROP TABLE uploads;
    DROP TABLE users;
    """)
