-- name: record
-- Record an upload; it is added to the queue afterwards.
INSERT INTO uploads (id, owner_id, province, municipality, file_name, file_kind, file_bytes,
                     file_sha256, idempotency_key, priority, dry_run, existing, all_or_nothing,
                     sheet, columns, empty_text, verify, source_key, request_id, traceparent, mends,
                     grid, kind, new_status, reason, language)
VALUES (%(id)s, %(owner_id)s, %(province)s, %(municipality)s, %(file_name)s, %(file_kind)s,
        %(file_bytes)s, %(file_sha256)s, %(idempotency_key)s, %(priority)s, %(dry_run)s,
        %(existing)s, %(all_or_nothing)s, %(sheet)s, %(columns)s, %(empty_text)s, %(verify)s,
        %(source_key)s, %(request_id)s, %(traceparent)s, %(mends)s, %(grid)s,
        %(kind)s, %(new_status)s, %(reason)s, %(language)s)
ON CONFLICT (owner_id, idempotency_key) DO NOTHING
RETURNING *;

-- name: by_idempotency_key
-- The upload that this owner sent before with this key.
SELECT * FROM uploads WHERE owner_id = %(owner_id)s AND idempotency_key = %(idempotency_key)s;

-- name: same_content
-- An earlier upload of the same bytes that was merged, or still may be.
SELECT id, file_name, created_at, status FROM uploads
WHERE file_sha256 = %(file_sha256)s
  AND created_at > now() - make_interval(hours => %(hours)s)
  AND dry_run = %(dry_run)s
  AND status IN ('pending', 'processing', 'completed') AND undone_at IS NULL
  AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY created_at DESC LIMIT 1;

-- name: waiting
-- The number of an office's waiting uploads, and how many of them are this user's. Files from the
-- watched folder don't count.
SELECT count(*) FILTER (WHERE owner_id = %(owner_id)s)::int AS own, count(*)::int AS office
FROM uploads
WHERE status = 'pending' AND lower(province) IS NOT DISTINCT FROM lower(%(province)s)
  AND lower(municipality) IS NOT DISTINCT FROM lower(%(municipality)s)
  AND (idempotency_key IS NULL OR idempotency_key NOT LIKE 'folder:%%');

-- name: visible
-- One upload, if it lies in the reader's scope.
SELECT uploads.*, users.email AS owner_email FROM uploads JOIN users ON users.id = owner_id
WHERE uploads.id = %(id)s
  AND in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: history
-- A page of the uploads in the reader's scope, newest first. The scope is written twice: the second time
-- so that an index can be used. Which they are is found in an index that holds the names, because
-- whole uploads are large.
SELECT uploads.*, users.email AS owner_email
FROM (
    SELECT ordinal FROM uploads
    WHERE in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s)
      AND (%(scope_province)s::text IS NULL OR uploads.province = %(scope_province)s)
      AND (%(scope_municipality)s::text IS NULL
           OR lower(uploads.municipality) = lower(%(scope_municipality)s))
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(search)s::text IS NULL
           OR position(lower(%(search)s) IN lower(file_name)) > 0
           OR owner_id IN (SELECT id FROM users WHERE position(lower(%(search)s) IN lower(email)) > 0)
           OR uploads.id::text = lower(%(search)s))
      AND (%(after)s::bigint IS NULL OR ordinal < %(after)s)
    ORDER BY ordinal DESC LIMIT %(limit)s OFFSET %(offset)s
) AS page JOIN uploads USING (ordinal) JOIN users ON users.id = owner_id
ORDER BY ordinal DESC;

-- name: history_counted
-- Those of all pages.
SELECT FROM uploads
WHERE in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s)
  AND (%(scope_province)s::text IS NULL OR uploads.province = %(scope_province)s)
  AND (%(scope_municipality)s::text IS NULL
       OR lower(uploads.municipality) = lower(%(scope_municipality)s))
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(search)s::text IS NULL
       OR position(lower(%(search)s) IN lower(file_name)) > 0
       OR owner_id IN (SELECT id FROM users WHERE position(lower(%(search)s) IN lower(email)) > 0)
       OR uploads.id::text = lower(%(search)s))
LIMIT %(most)s

-- name: ended_of
-- How many of the given job ids belong to uploads that have ended, by status.
SELECT status, count(*)::int AS uploads FROM uploads
WHERE id IN (SELECT CASE WHEN job_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                         THEN job_id::uuid END
             FROM unnest(%(ids)s::text[]) AS job_id)
  AND status IN ('completed', 'failed', 'cancelled')
GROUP BY status;

-- name: oldest_waiting
-- The time since which the longest waiting upload in the reader's scope waits.
SELECT min(waiting_since) AS since FROM uploads
WHERE status = 'pending'
  AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s);

-- name: ahead
-- The number of pending uploads before this one: lower priority number first, then the oldest.
SELECT count(*) AS ahead FROM uploads AS other, uploads AS own
WHERE own.id = %(id)s AND other.status = 'pending'
  AND (other.priority, other.ordinal) < (own.priority, own.ordinal);

-- name: end_older_attempts
-- End the database sessions of an older attempt: its worker was frozen or cut off, and may still hold
-- the merge's locks. The sessions are found by name, because a process id may have been reused.
SELECT count(pg_terminate_backend(pid))::int AS ended FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user
  AND application_name LIKE 'rollbook-child ' || %(id)s || ' %%'
  AND application_name <> 'rollbook-child ' || %(id)s || ' ' || %(attempt)s;

-- name: waits_for_members
-- Whether a session waits for a row that another transaction has locked, and the upload that holds it,
-- where it is an upload. In a queue of several it is the one that has worked the longest.
SELECT clock_timestamp() AS now, other.upload_id, place.province, place.municipality
FROM pg_stat_activity AS own
LEFT JOIN LATERAL (
    SELECT substring(held.application_name FROM '^rollbook-child ([0-9a-f-]{36}) ')::uuid AS upload_id
    FROM pg_stat_activity AS held WHERE held.pid = ANY (pg_blocking_pids(own.pid))
    ORDER BY held.xact_start LIMIT 1
) AS other ON true
LEFT JOIN uploads AS place ON place.id = other.upload_id
WHERE own.datname = current_database() AND own.application_name = %(session)s
  AND own.wait_event_type = 'Lock' AND own.wait_event IN ('transactionid', 'tuple')
LIMIT 1;

-- name: holders_of_members
-- The longest running transaction that changes members, for the error of an attempt that waited.
SELECT a.application_name AS name, a.pid,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int AS seconds
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
  AND EXISTS (SELECT FROM pg_locks AS l
              WHERE l.pid = a.pid AND l.relation = 'members'::regclass AND l.granted
                AND l.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareRowExclusiveLock',
                               'ExclusiveLock', 'AccessExclusiveLock'))
ORDER BY a.xact_start LIMIT 1;

-- name: claim
-- Start an attempt. The returned number fences every later write: a worker that lost its job and wakes
-- up again holds an older number. Returns no row for an upload that has ended or whose sender's account
-- was closed while it waited, nor while the queue is paused. An attempt of this very worker, whose end
-- couldn't be recorded because PostgreSQL was away, isn't counted.
UPDATE uploads
SET status = 'processing', attempt = attempt + 1,
    attempts_before = attempts_before + (status = 'processing' AND worker = %(worker)s)::int,
    worker = %(worker)s, heartbeat_at = now(),
    started_at = now(), stage = NULL, progress = 0, rows_done = 0, rows_total = NULL,
    error_code = NULL, error = NULL, reading = NULL, rows_with_warnings = NULL,
    rows_needing_attention = NULL, warnings = NULL, retry_at = NULL
WHERE id = %(id)s AND status IN ('pending', 'processing') AND NOT waits_for_closed_account(uploads)
  AND NOT EXISTS (SELECT FROM queue_state WHERE is_paused)
RETURNING *;

-- name: queue_state
-- Whether the queue is paused, and whether Redis was told; the record decides, not Redis.
SELECT is_paused, is_applied FROM queue_state;

-- name: set_paused
-- Pause or resume the queue in the record.
UPDATE queue_state
SET is_paused = %(is_paused)s, is_applied = false, changed_at = now(), changed_by = %(by)s
WHERE is_paused IS DISTINCT FROM %(is_paused)s;

-- name: note_applied
-- Redis was told that the queue is paused, or resumed.
UPDATE queue_state SET is_applied = true WHERE is_paused = %(is_paused)s AND NOT is_applied;

-- name: by_id
-- An upload without a scope, for workers and the reconciler.
SELECT * FROM uploads WHERE id = %(id)s;

-- name: by_id_and_owner
-- The same with the owner's address, for the report.
SELECT uploads.*, users.email AS owner_email FROM uploads JOIN users ON users.id = owner_id
WHERE uploads.id = %(id)s;

-- name: beat
-- Write an attempt's heartbeat. Returns no row when the attempt is fenced or the upload was cancelled:
-- the worker then stops the child.
UPDATE uploads
SET heartbeat_at = now(), stage = %(stage)s, rows_done = %(rows_done)s,
    rows_total = %(rows_total)s, progress = GREATEST(progress, %(progress)s), waits = %(waits)s
WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING id;

-- name: complete
-- The last write of the merge's transaction: no row means that the attempt was fenced off, and
-- the whole transaction is rolled back.
UPDATE uploads
SET status = 'completed', stage = 'report', progress = 100, finished_at = clock_timestamp(),
    heartbeat_at = now(), rows_total = %(rows_total)s, rows_done = %(rows_total)s,
    inserted = %(inserted)s, updated = %(updated)s, unchanged = %(unchanged)s,
    invalid = %(invalid)s, duplicate = %(duplicate)s, out_of_scope = %(out_of_scope)s,
    stage_seconds = %(stage_seconds)s, report_key = %(report_key)s, refused_key = %(refused_key)s,
    reading = %(reading)s, rows_with_warnings = %(rows_with_warnings)s,
    rows_needing_attention = %(rows_needing_attention)s, warnings = %(warnings)s,
    emptied = %(emptied)s, grid = %(grid)s, renewals = %(renewals)s, error = NULL, error_code = NULL
WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING id;

-- name: note_report
-- Record the report of a file of which nothing was merged; the upload fails afterwards.
UPDATE uploads
SET rows_total = %(rows_total)s, stage_seconds = %(stage_seconds)s, report_key = %(report_key)s,
    refused_key = %(refused_key)s, reading = %(reading)s,
    rows_with_warnings = %(rows_with_warnings)s,
    rows_needing_attention = %(rows_needing_attention)s, warnings = %(warnings)s,
    emptied = %(emptied)s, renewals = %(renewals)s
WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING id;

-- name: fail
-- The upload has ended without a result: no attempt is left, or none can help.
UPDATE uploads
SET status = 'failed', finished_at = now(), error_code = %(error_code)s, error = %(error)s
WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING id;

-- name: hand_back
-- The attempt ended without a result and the upload waits for the next one. An attempt that failed for
-- a reason other than the file (uncounted = 1) isn't counted, and the waiting time continues.
UPDATE uploads
SET attempts_before = attempts_before + %(uncounted)s, status = 'pending', error_code = %(error_code)s, error = %(error)s, worker = NULL,
    stage = NULL, progress = 0, rows_done = 0,
    waiting_since = CASE WHEN %(uncounted)s = 1 THEN waiting_since ELSE now() END, hand_backs = 0,
    retry_at = NULL
WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING id;

-- name: postpone
-- As hand_back, because a part was unreachable, full or locked: the pause before the next attempt
-- doubles with each postponement in a row, up to a bound.
UPDATE uploads
SET attempts_before = attempts_before + 1, status = 'pending', error_code = %(error_code)s,
    error = %(error)s, worker = NULL, stage = NULL, progress = 0, rows_done = 0,
    hand_backs = hand_backs + 1,
    retry_at = now() + make_interval(
        secs => LEAST(%(first_s)s * power(2, LEAST(hand_backs, 30)), %(longest_s)s))
WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING hand_backs, extract(epoch FROM retry_at - now())::float8 AS wait_s;

-- name: cancel
-- Cancel an upload: no attempt can write any more, and the worker stops a running one.
UPDATE uploads SET status = 'cancelled', finished_at = now()
WHERE id = %(id)s AND status IN ('pending', 'processing')
RETURNING *;

-- name: reopen
-- A failed upload waits again, with its attempts counted from zero; not one whose file retention has
-- just removed.
UPDATE uploads
SET status = 'pending', attempts_before = attempt, finished_at = NULL, error = NULL,
    error_code = NULL, stage = NULL, progress = 0, rows_done = 0, worker = NULL,
    waiting_since = now(), purged_at = NULL, hand_backs = 0, retry_at = NULL
WHERE id = %(id)s AND status = 'failed' AND source_key IS NOT NULL
RETURNING *;

-- name: source_removed
-- Note that the source file of an ended upload was removed.
UPDATE uploads SET source_key = NULL WHERE id = %(id)s;

-- name: rows
-- A page of the rows with their outcomes and the voter roll's results, in the order of the file. What is
-- skipped isn't joined.
SELECT r.row_number, r.outcome, r.duplicate_of, r.problems, v.result, a.ward, a.voting_district,
       a.voting_station, a.asked_at
FROM (
    SELECT r.* FROM upload_rows AS r LEFT JOIN verifications AS v USING (upload_id, row_number)
    WHERE r.upload_id = %(id)s
      AND (%(outcomes)s::text[] IS NULL OR r.outcome = ANY(%(outcomes)s))
      AND (%(problem)s::jsonb IS NULL OR r.problems @> %(problem)s)
      AND CASE %(attention)s::text
          WHEN 'any' THEN r.outcome = ANY(%(refused)s)
                          OR COALESCE(r.problems @> '[{"severity": "warning"}]', false)
          WHEN 'refused' THEN r.outcome = ANY(%(refused)s)
          WHEN 'doubtful' THEN COALESCE(r.problems @> '[{"severity": "warning"}]', false)
          WHEN 'left_out' THEN EXISTS (
              SELECT FROM jsonb_to_recordset(r.problems) AS problem(code text)
              WHERE problem.code = ANY(%(left_out)s))
          ELSE true END
      AND (%(verification)s::text IS NULL OR v.result = %(verification)s)
      AND (%(after)s::bigint IS NULL OR r.row_number > %(after)s)
    ORDER BY r.row_number LIMIT %(limit)s OFFSET %(offset)s
) AS r
LEFT JOIN verifications AS v USING (upload_id, row_number)
LEFT JOIN voter_roll_answers AS a
       ON a.id_number = v.id_number
      AND v.result = verification_result(a.status, a.ward, v.file_ward)
ORDER BY r.row_number;

-- name: rows_counted
-- Those of all pages.
SELECT FROM upload_rows AS r LEFT JOIN verifications AS v USING (upload_id, row_number)
WHERE r.upload_id = %(id)s
  AND (%(outcomes)s::text[] IS NULL OR r.outcome = ANY(%(outcomes)s))
  AND (%(problem)s::jsonb IS NULL OR r.problems @> %(problem)s)
  AND CASE %(attention)s::text
      WHEN 'any' THEN r.outcome = ANY(%(refused)s)
                      OR COALESCE(r.problems @> '[{"severity": "warning"}]', false)
      WHEN 'refused' THEN r.outcome = ANY(%(refused)s)
      WHEN 'doubtful' THEN COALESCE(r.problems @> '[{"severity": "warning"}]', false)
      WHEN 'left_out' THEN EXISTS (
          SELECT FROM jsonb_to_recordset(r.problems) AS problem(code text)
          WHERE problem.code = ANY(%(left_out)s))
      ELSE true END
  AND (%(verification)s::text IS NULL OR v.result = %(verification)s)
LIMIT %(most)s

-- name: changes
-- A page of the rows that changed a member, or would in a dry run, with the fields before and after.
SELECT row_number, member_id, changes FROM upload_rows
WHERE upload_id = %(id)s AND changes IS NOT NULL
  AND (%(after)s::bigint IS NULL OR row_number > %(after)s)
ORDER BY row_number LIMIT %(limit)s OFFSET %(offset)s;

-- name: changes_counted
-- Those of all pages.
SELECT FROM upload_rows WHERE upload_id = %(id)s AND changes IS NOT NULL LIMIT %(most)s

-- name: problems
-- The number of rows with each problem, over rows with these outcomes; the most frequent first.
SELECT problem.code, min(problem.severity) AS severity, count(DISTINCT row_number) AS rows
FROM upload_rows, jsonb_to_recordset(problems) AS problem(code text, severity text)
WHERE upload_id = %(id)s AND (%(outcomes)s::text[] IS NULL OR outcome = ANY(%(outcomes)s))
GROUP BY problem.code ORDER BY rows DESC, problem.code;
