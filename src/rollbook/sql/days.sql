-- name: by_day
-- The uploads of a period in the reader's scope by the day of sending, oldest first, empty days too.
-- Days that are summed up are read from their sums. The rows of a dry run count nowhere.
WITH days AS MATERIALIZED (SELECT * FROM statistics_days(%(first)s, %(last)s, %(zone)s))
SELECT d.day, COALESCE(s.uploads, 0) AS uploads, COALESCE(s.pending, 0) AS pending,
       COALESCE(s.processing, 0) AS processing, COALESCE(s.completed, 0) AS completed,
       COALESCE(s.failed, 0) AS failed, COALESCE(s.cancelled, 0) AS cancelled,
       COALESCE(s.rows, 0) AS rows, COALESCE(s.inserted, 0) AS inserted,
       COALESCE(s.updated, 0) AS updated, COALESCE(s.unchanged, 0) AS unchanged,
       COALESCE(s.invalid, 0) AS invalid, COALESCE(s.duplicate, 0) AS duplicate,
       COALESCE(s.out_of_scope, 0) AS out_of_scope, COALESCE(s.seconds, 0) AS seconds,
       COALESCE(s.new_members, 0) AS new_members, COALESCE(s.renewed, 0) AS renewed,
       COALESCE(s.early, 0) AS early, COALESCE(s.expired, 0) AS expired
FROM days AS d LEFT JOIN upload_days AS s
  ON d.is_summed_up AND s.begins_at = d.begins_at AND s.place = %(place)s
 AND s.province = COALESCE(%(scope_province)s::text, '')
 AND s.municipality = COALESCE(lower(%(scope_municipality)s::text), '')
WHERE d.is_summed_up
UNION ALL
SELECT d.day, one.*
FROM days AS d CROSS JOIN LATERAL (
    SELECT count(*)::int, count(*) FILTER (WHERE status = 'pending')::int,
           count(*) FILTER (WHERE status = 'processing')::int,
           count(*) FILTER (WHERE status = 'completed')::int,
           count(*) FILTER (WHERE status = 'failed')::int,
           count(*) FILTER (WHERE status = 'cancelled')::int,
           COALESCE(sum(rows_total) FILTER (WHERE status = 'completed' AND NOT dry_run), 0)::bigint,
           COALESCE(sum(inserted) FILTER (WHERE NOT dry_run), 0)::bigint,
           COALESCE(sum(updated) FILTER (WHERE NOT dry_run), 0)::bigint,
           COALESCE(sum(unchanged) FILTER (WHERE NOT dry_run), 0)::bigint,
           COALESCE(sum(invalid) FILTER (WHERE NOT dry_run), 0)::bigint,
           COALESCE(sum(duplicate) FILTER (WHERE NOT dry_run), 0)::bigint,
           COALESCE(sum(out_of_scope) FILTER (WHERE NOT dry_run), 0)::bigint,
           COALESCE(sum(extract(epoch FROM finished_at - started_at))
                    FILTER (WHERE status = 'completed'), 0)::float8,
           -- What undone uploads said of memberships counts no more.
           COALESCE(sum((renewals ->> 'new')::int) FILTER (WHERE says_so), 0)::bigint,
           COALESCE(sum((renewals ->> 'renewed')::int) FILTER (WHERE says_so), 0)::bigint,
           COALESCE(sum((renewals ->> 'early')::int) FILTER (WHERE says_so), 0)::bigint,
           COALESCE(sum((renewals ->> 'expired')::int) FILTER (WHERE says_so), 0)::bigint
    FROM uploads, LATERAL (
        SELECT status = 'completed' AND NOT dry_run AND undone_at IS NULL AS says_so) AS renewing
    WHERE created_at >= d.begins_at AND created_at < d.ends_at
      AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s)) AS one
WHERE NOT d.is_summed_up
ORDER BY day;

-- name: by_status
-- The number of uploads in each status over all offices: by the sums of days that are summed up, the
-- uploads of the others one by one.
WITH days AS MATERIALIZED (
    SELECT d.* FROM (SELECT min(created_at) AS first, max(created_at) AS last FROM uploads) AS sent,
         statistics_days((sent.first AT TIME ZONE %(zone)s)::date,
                         (sent.last AT TIME ZONE %(zone)s)::date, %(zone)s) AS d
)
SELECT status, sum(uploads)::bigint AS uploads FROM (
    SELECT counted.status, counted.uploads FROM days AS d
    JOIN upload_days AS s ON d.is_summed_up AND s.begins_at = d.begins_at
         AND s.place = 'everywhere' AND s.province = '' AND s.municipality = ''
    CROSS JOIN LATERAL (VALUES ('pending', s.pending), ('processing', s.processing),
                               ('completed', s.completed), ('failed', s.failed),
                               ('cancelled', s.cancelled)) AS counted (status, uploads)
    UNION ALL
    SELECT one.status, one.uploads FROM days AS d
    -- Grouped by day: the planner would read all uploads for a join with the days.
    CROSS JOIN LATERAL (SELECT status, count(*) AS uploads FROM uploads
                        WHERE created_at >= d.begins_at AND created_at < d.ends_at
                        GROUP BY status) AS one
    WHERE NOT d.is_summed_up
) AS found GROUP BY status HAVING sum(uploads) > 0;

-- name: durations
-- How many uploads that completed took how long, by stage and bucket ('' for the whole upload).
WITH days AS MATERIALIZED (SELECT * FROM statistics_days(%(first)s, %(last)s, %(zone)s)),
-- Before the durations are read: otherwise the planner may read those of all uploads there are. OFFSET
-- keeps it at the days: it takes each for a ninth of all uploads, and would read the whole table.
sent AS MATERIALIZED (
    SELECT of_day.upload FROM days AS d CROSS JOIN LATERAL (
        SELECT uploads AS upload FROM uploads
        WHERE created_at >= d.begins_at AND created_at < d.ends_at
          AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s)
        OFFSET 0) AS of_day
    WHERE NOT d.is_summed_up
),
found AS (
    SELECT stage.key AS stage, bucket.key::int AS bucket, bucket.value::bigint AS uploads
    FROM days AS d JOIN upload_days AS s ON s.begins_at = d.begins_at AND s.place = %(place)s
     AND s.province = COALESCE(%(scope_province)s::text, '')
     AND s.municipality = COALESCE(lower(%(scope_municipality)s::text), ''),
         jsonb_each(s.durations) AS stage, jsonb_each(stage.value) AS bucket
    WHERE d.is_summed_up AND (%(stages)s OR stage.key = '')
    UNION ALL
    SELECT took.stage, duration_bucket(took.seconds), 1
    FROM sent CROSS JOIN LATERAL upload_durations(sent.upload) AS took
    WHERE %(stages)s OR took.stage = ''
)
SELECT stage, bucket, sum(uploads)::bigint AS uploads FROM found
GROUP BY stage, bucket ORDER BY stage, bucket;

-- name: period
-- The days of the first and of the latest upload; null where there is none.
SELECT (min(created_at) AT TIME ZONE %(zone)s)::date AS first,
       (max(created_at) AT TIME ZONE %(zone)s)::date AS last FROM uploads;

-- name: forget_unusable
-- Remove sums of days of another time zone, and those of an older version, which lack renewals.
DELETE FROM upload_days
WHERE begins_at <> day::timestamp AT TIME ZONE %(zone)s OR new_members IS NULL;

-- name: forget_all
-- Remove all sums.
DELETE FROM upload_days;

-- name: due
-- The days that ended and aren't summed up, the latest first.
SELECT d.day, d.begins_at, d.ends_at
FROM statistics_days((SELECT (min(created_at) AT TIME ZONE %(zone)s)::date FROM uploads),
                     (now() AT TIME ZONE %(zone)s)::date - 1, %(zone)s) AS d
WHERE NOT d.is_summed_up ORDER BY d.day DESC;

-- name: lock
-- Whether no transaction that changes an upload of this day is open; none changes one until this
-- transaction ends. A day touches two days of UTC.
SELECT bool_and(pg_try_advisory_xact_lock(hashtext('upload_days'), number)) AS locked
FROM generate_series(floor(extract(epoch FROM %(begins_at)s) / 86400)::int,
                     floor(extract(epoch FROM %(ends_at)s) / 86400)::int) AS number;

-- name: sum_up
-- Sum up a day everywhere, in each province and in each municipality. This is a statement after the
-- lock, so that it sees what was committed before.
WITH sent AS MATERIALIZED (
    SELECT uploads AS upload, uploads.*, lower(municipality) AS town,
           status = 'completed' AND NOT dry_run AND undone_at IS NULL AS says_so
    FROM uploads
    WHERE created_at >= %(begins_at)s AND created_at < %(ends_at)s
), counted AS (
    SELECT GROUPING(province, town) AS level, province, town, count(*)::int AS uploads,
           count(*) FILTER (WHERE status = 'pending')::int AS pending,
           count(*) FILTER (WHERE status = 'processing')::int AS processing,
           count(*) FILTER (WHERE status = 'completed')::int AS completed,
           count(*) FILTER (WHERE status = 'failed')::int AS failed,
           count(*) FILTER (WHERE status = 'cancelled')::int AS cancelled,
           COALESCE(sum(rows_total) FILTER (WHERE status = 'completed' AND NOT dry_run), 0) AS rows,
           COALESCE(sum(inserted) FILTER (WHERE NOT dry_run), 0) AS inserted,
           COALESCE(sum(updated) FILTER (WHERE NOT dry_run), 0) AS updated,
           COALESCE(sum(unchanged) FILTER (WHERE NOT dry_run), 0) AS unchanged,
           COALESCE(sum(invalid) FILTER (WHERE NOT dry_run), 0) AS invalid,
           COALESCE(sum(duplicate) FILTER (WHERE NOT dry_run), 0) AS duplicate,
           COALESCE(sum(out_of_scope) FILTER (WHERE NOT dry_run), 0) AS out_of_scope,
           COALESCE(sum(extract(epoch FROM finished_at - started_at))
                    FILTER (WHERE status = 'completed'), 0)::float8 AS seconds,
           COALESCE(sum((renewals ->> 'new')::int) FILTER (WHERE says_so), 0) AS new_members,
           COALESCE(sum((renewals ->> 'renewed')::int) FILTER (WHERE says_so), 0) AS renewed,
           COALESCE(sum((renewals ->> 'early')::int) FILTER (WHERE says_so), 0) AS early,
           COALESCE(sum((renewals ->> 'expired')::int) FILTER (WHERE says_so), 0) AS expired
    FROM sent GROUP BY GROUPING SETS ((), (province), (province, town))
), took AS (
    SELECT GROUPING(province, town) AS level, province, town, one.stage,
           duration_bucket(one.seconds) AS bucket, count(*) AS uploads
    FROM sent CROSS JOIN LATERAL upload_durations(sent.upload) AS one
    GROUP BY one.stage, duration_bucket(one.seconds),
             GROUPING SETS ((), (province), (province, town))
), stages AS (
    SELECT level, province, town, stage, jsonb_object_agg(bucket, uploads) AS buckets
    FROM took GROUP BY level, province, town, stage
), durations AS (
    SELECT level, province, town, jsonb_object_agg(stage, buckets) AS durations
    FROM stages GROUP BY level, province, town
)
INSERT INTO upload_days (day, begins_at, ends_at, place, province, municipality, uploads, pending,
    processing, completed, failed, cancelled, rows, inserted, updated, unchanged, invalid,
    duplicate, out_of_scope, seconds, new_members, renewed, early, expired, durations)
SELECT %(day)s, %(begins_at)s, %(ends_at)s,
       CASE c.level WHEN 3 THEN 'everywhere' WHEN 1 THEN 'province' ELSE 'municipality' END,
       COALESCE(c.province, ''), COALESCE(c.town, ''), c.uploads, c.pending, c.processing,
       c.completed, c.failed, c.cancelled,
       c.rows, c.inserted, c.updated, c.unchanged, c.invalid, c.duplicate, c.out_of_scope,
       c.seconds, c.new_members, c.renewed, c.early, c.expired, COALESCE(d.durations, '{}')
FROM counted AS c LEFT JOIN durations AS d
  ON d.level = c.level AND d.province IS NOT DISTINCT FROM c.province
 AND d.town IS NOT DISTINCT FROM c.town
-- Uploads without a province are of everywhere, and those without a municipality of the province.
WHERE c.level = 3 OR c.province IS NOT NULL AND (c.level = 1 OR c.town IS NOT NULL)
ON CONFLICT DO NOTHING;
