"""Statistics are summed up by day and office, and lists of uploads have indexes by office."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """Create them; a trigger notices the changes of an older version of Rollbook, too."""
    op.execute("""
    -- A day of uploads in one place, as uploads/days.py summed it up. A day that has no row for
    -- everywhere isn't summed up: its uploads are counted one by one.
    CREATE TABLE IF NOT EXISTS upload_days (
        day          date NOT NULL,
        begins_at    timestamptz NOT NULL,
        ends_at      timestamptz NOT NULL,
        place        text NOT NULL CHECK (place IN ('everywhere', 'province', 'municipality')),
        -- Empty texts where the place is a larger one; the municipality in lower case.
        province     text NOT NULL,
        municipality text NOT NULL,
        uploads      integer NOT NULL,
        pending      integer NOT NULL,
        processing   integer NOT NULL,
        completed    integer NOT NULL,
        failed       integer NOT NULL,
        cancelled    integer NOT NULL,
        rows         bigint NOT NULL,
        inserted     bigint NOT NULL,
        updated      bigint NOT NULL,
        unchanged    bigint NOT NULL,
        invalid      bigint NOT NULL,
        duplicate    bigint NOT NULL,
        out_of_scope bigint NOT NULL,
        -- That the completed ones took together.
        seconds      float8 NOT NULL,
        -- {"stage": {"bucket": uploads}} of the completed ones; the stage '' is all stages.
        durations    jsonb NOT NULL,
        CONSTRAINT upload_days_once
            UNIQUE (place, province, municipality, begins_at)
    );

    -- Buckets of durations grow by a twentieth, so a middle is right within 2.5 %.
    CREATE OR REPLACE FUNCTION duration_bucket(seconds float8) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN floor(ln(GREATEST(seconds, 0.001)) / ln(1.05::float8))::integer;

    -- The stages of an upload, and '' for all of it, with their seconds.
    CREATE OR REPLACE FUNCTION upload_durations(upload uploads)
    RETURNS TABLE (stage text, seconds float8) LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT '', extract(epoch FROM upload.finished_at - upload.started_at)::float8
        WHERE upload.status = 'completed' AND upload.started_at IS NOT NULL
        UNION ALL
        SELECT key, value::float8 FROM json_each_text(upload.stage_seconds)
        WHERE upload.status = 'completed'
    $$;

    -- The days of a period with their bounds in a time zone, and whether each is summed up.
    CREATE OR REPLACE FUNCTION statistics_days(first date, last date, zone text)
    RETURNS TABLE (day date, begins_at timestamptz, ends_at timestamptz, is_summed_up boolean)
    LANGUAGE sql STABLE AS $$
        SELECT bounds.*, EXISTS (SELECT FROM upload_days AS d
                                 WHERE d.place = 'everywhere' AND d.province = ''
                                   AND d.municipality = '' AND d.begins_at = bounds.begins_at
                                   AND d.ends_at = bounds.ends_at)
        FROM generate_series(first::timestamp, last::timestamp, interval '1 day') AS midnight,
             LATERAL (SELECT midnight::date AS day, midnight AT TIME ZONE zone AS begins_at,
                             (midnight + interval '1 day') AT TIME ZONE zone AS ends_at) AS bounds
    $$;

    -- A change of an upload withdraws the sums of its day, until the worker sums it up again. The
    -- lock is shared between uploads; uploads/days.py holds it while it reads a day, so that no
    -- change that it can't see yet is left out.
    CREATE OR REPLACE FUNCTION withdraw_upload_day() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        moment timestamptz;
    BEGIN
        FOR moment IN SELECT DISTINCT at FROM unnest(ARRAY[OLD.created_at, NEW.created_at]) AS at
                      WHERE at IS NOT NULL ORDER BY at LOOP
            PERFORM pg_advisory_xact_lock_shared(
                hashtext('upload_days'), floor(extract(epoch FROM moment) / 86400)::integer);
            DELETE FROM upload_days WHERE begins_at <= moment AND ends_at > moment;
        END LOOP;
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER withdraw_upload_day_by_arrival AFTER INSERT OR DELETE ON uploads
        FOR EACH ROW EXECUTE FUNCTION withdraw_upload_day();
    CREATE OR REPLACE TRIGGER withdraw_upload_day_by_change AFTER UPDATE ON uploads FOR EACH ROW
        WHEN ((OLD.created_at, OLD.status, OLD.province, OLD.municipality, OLD.started_at,
               OLD.finished_at, OLD.inserted, OLD.updated, OLD.unchanged, OLD.invalid,
               OLD.duplicate, OLD.out_of_scope, OLD.stage_seconds::text)
              IS DISTINCT FROM
              (NEW.created_at, NEW.status, NEW.province, NEW.municipality, NEW.started_at,
               NEW.finished_at, NEW.inserted, NEW.updated, NEW.unchanged, NEW.invalid,
               NEW.duplicate, NEW.out_of_scope, NEW.stage_seconds::text))
        EXECUTE FUNCTION withdraw_upload_day();
    """)
    create_index("upload_days_by_time", "ON upload_days (begins_at)")
    create_index("uploads_by_time", "ON uploads (created_at)")
    create_index("uploads_of_province", "ON uploads (province, ordinal)")
    create_index("uploads_of_office", "ON uploads (province, lower(municipality), ordinal)")
    create_index("uploads_by_status", "ON uploads (status, ordinal)")


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    DROP INDEX uploads_by_status, uploads_of_office, uploads_of_province, uploads_by_time;
    DROP TRIGGER withdraw_upload_day_by_change ON uploads;
    DROP TRIGGER withdraw_upload_day_by_arrival ON uploads;
    DROP FUNCTION withdraw_upload_day, statistics_days, upload_durations, duration_bucket;
    DROP TABLE upload_days;
    """)
