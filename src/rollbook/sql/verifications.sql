-- name: plan_for_sets
-- The tables have grown in this transaction, and the planner still has their old sizes: nested loops
-- took ten minutes for 50,000 rows.
SET LOCAL enable_nestloop = off;

-- name: plan_as_usual
-- Nested loops again.
SET LOCAL enable_nestloop = DEFAULT;

-- name: prepare
-- The staged rows, each with its answer if there is a recent one. A question that the roll refused while
-- the upload waited for its merge stays refused: it has no answer, so it would be asked forever. The
-- roll knows ID numbers only, so nobody with a passport is asked about.
INSERT INTO verifications AS v (upload_id, row_number, id_number, file_ward, result)
SELECT %(id)s, s.row_number, s.id_number, s.ward,
       COALESCE(verification_result(a.status, a.ward, s.ward), 'pending')
FROM staged AS s
LEFT JOIN voter_roll_answers AS a
       ON a.id_number = s.id_number AND a.asked_at > now() - make_interval(days => %(cache_days)s)
WHERE s.document IS NULL
ON CONFLICT (upload_id, row_number) DO UPDATE
SET id_number = excluded.id_number, file_ward = excluded.file_ward,
    result = CASE WHEN v.result = 'error' AND excluded.result = 'pending' THEN 'error'
                  ELSE excluded.result END;

-- name: forget_others
-- Delete rows of an earlier attempt that this one doesn't merge.
DELETE FROM verifications AS v
WHERE upload_id = %(id)s
  AND NOT EXISTS (SELECT FROM staged
                  WHERE staged.row_number = v.row_number AND staged.document IS NULL);

-- name: lock_pending
-- Lock the upload if answers may be applied to its rows now: applying one locks the upload before the
-- rows.
SELECT FROM uploads WHERE id = %(id)s AND roll_pending > 0 FOR UPDATE;

-- name: forget
-- The upload needs no verification: delete its rows, and the questions that only it needs.
WITH gone AS (
    DELETE FROM verifications WHERE upload_id = %(id)s RETURNING id_number, result
)
DELETE FROM voter_roll_questions AS q
WHERE id_number IN (SELECT id_number FROM gone WHERE result = 'pending')
  AND NOT EXISTS (SELECT FROM verifications AS v
                  WHERE v.id_number = q.id_number AND v.result = 'pending'
                    AND v.upload_id <> %(id)s);

-- name: forget_rows
-- Delete rows that are another office's members.
DELETE FROM verifications WHERE upload_id = %(id)s AND row_number = ANY(%(rows)s);

-- name: ask
-- Add one question for each person without an answer. A person that an earlier upload asks about keeps
-- that place. Inserted in the order of the key, so that two merges don't deadlock.
INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number)
SELECT DISTINCT ON (v.id_number) v.id_number, uploads.ordinal, v.row_number
FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
WHERE v.upload_id = %(id)s AND v.result = 'pending'
ORDER BY v.id_number, v.row_number
ON CONFLICT (id_number) DO NOTHING;

-- name: update_members
-- Write the known answers to the members.
UPDATE members AS m
SET roll_status = a.status, roll_ward = a.ward, roll_voting_district = a.voting_district,
    roll_asked_at = a.asked_at
FROM verifications AS v JOIN voter_roll_answers AS a USING (id_number)
WHERE v.upload_id = %(id)s AND v.result NOT IN ('pending', 'error')
  AND m.id_number = v.id_number AND m.roll_asked_at IS DISTINCT FROM a.asked_at;

-- name: results
-- The report's results by row; {{upload_id}} because COPY takes no parameters. A newer answer that gives
-- another result isn't the one that the row has, so its district is left out.
COPY (
    SELECT v.row_number, v.result, a.ward, a.voting_district
    FROM verifications AS v
    LEFT JOIN voter_roll_answers AS a
           ON a.id_number = v.id_number
          AND v.result = verification_result(a.status, a.ward, v.file_ward)
    WHERE v.upload_id = {upload_id}
) TO STDOUT (FORMAT csv);

-- name: count
-- Set the upload's counts from its rows, fenced by the attempt. With no pending row it is verified.
UPDATE uploads
SET roll_registered = n.registered, roll_other_ward = n.other_ward,
    roll_without_district = n.without_district, roll_not_registered = n.not_registered,
    roll_deceased = n.deceased, roll_international = n.international, roll_pending = n.pending,
    roll_error = n.error,
    verification = CASE WHEN n.pending > 0 THEN 'pending' ELSE 'verified' END,
    verified_at = CASE WHEN n.pending = 0 THEN clock_timestamp() END,
    report_tables_key = CASE WHEN n.pending > 0 THEN %(tables_key)s END
FROM (
    SELECT count(*) FILTER (WHERE result = 'registered') AS registered,
           count(*) FILTER (WHERE result = 'other_ward') AS other_ward,
           count(*) FILTER (WHERE result = 'without_district') AS without_district,
           count(*) FILTER (WHERE result = 'not_registered') AS not_registered,
           count(*) FILTER (WHERE result = 'deceased') AS deceased,
           count(*) FILTER (WHERE result = 'international') AS international,
           count(*) FILTER (WHERE result = 'pending') AS pending,
           count(*) FILTER (WHERE result = 'error') AS error
    FROM verifications WHERE upload_id = %(id)s
) AS n
WHERE id = %(id)s AND attempt = %(attempt)s
RETURNING verification, roll_pending;

-- name: count_nobody
-- The upload needs no verification after all: clear the counts of an earlier attempt, fenced by this
-- one.
UPDATE uploads
SET roll_registered = 0, roll_other_ward = 0, roll_without_district = 0, roll_not_registered = 0,
    roll_deceased = 0, roll_international = 0, roll_pending = 0, roll_error = 0,
    verification = 'off', verified_at = NULL, report_tables_key = NULL
WHERE id = %(id)s AND attempt = %(attempt)s
RETURNING verification, roll_pending;

-- name: lock_miscounted
-- Lock uploads that wait for answers although none of their rows does; not those being processed.
SELECT id FROM uploads
WHERE verification = 'pending' AND roll_pending > 0 AND status IN ('pending', 'completed')
  AND NOT EXISTS (SELECT FROM verifications AS v
                  WHERE v.upload_id = uploads.id AND v.result = 'pending')
ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: recount
-- Set their counts from their rows, now that the uploads are locked. An upload without rows isn't
-- verified; one without the tables for a new report keeps the old report.
UPDATE uploads
SET roll_registered = n.registered, roll_other_ward = n.other_ward,
    roll_without_district = n.without_district, roll_not_registered = n.not_registered,
    roll_deceased = n.deceased, roll_international = n.international, roll_pending = n.pending,
    roll_error = n.error,
    verification = CASE WHEN n.rows = 0 THEN 'off'
                        WHEN n.pending = 0 AND status = 'completed' AND report_tables_key IS NULL
                            THEN 'verified'
                        ELSE verification END,
    verified_at = CASE WHEN n.rows > 0 AND n.pending = 0 AND status = 'completed'
                            AND report_tables_key IS NULL THEN clock_timestamp() END,
    report_tables_key = CASE WHEN n.rows > 0 THEN report_tables_key END
FROM unnest(%(ids)s::uuid[]) AS miscounted (id)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE result = 'registered') AS registered,
           count(*) FILTER (WHERE result = 'other_ward') AS other_ward,
           count(*) FILTER (WHERE result = 'without_district') AS without_district,
           count(*) FILTER (WHERE result = 'not_registered') AS not_registered,
           count(*) FILTER (WHERE result = 'deceased') AS deceased,
           count(*) FILTER (WHERE result = 'international') AS international,
           count(*) FILTER (WHERE result = 'pending') AS pending,
           count(*) FILTER (WHERE result = 'error') AS error
    FROM verifications AS v WHERE v.upload_id = miscounted.id
) AS n
WHERE uploads.id = miscounted.id;

-- name: report_given_up
-- The report can't be rewritten, and the old one stays. Returns the key of its tables, to be removed.
WITH given_up AS (
    SELECT id, report_tables_key FROM uploads
    WHERE id = %(id)s AND verification = 'pending' AND roll_pending = 0 AND status = 'completed'
    FOR UPDATE
)
UPDATE uploads
SET verification = 'verified', verified_at = clock_timestamp(), report_tables_key = NULL
FROM given_up WHERE uploads.id = given_up.id
RETURNING given_up.report_tables_key;

-- name: report_written
-- The report has the roll's answers, and the upload is verified. Returns nothing if another worker wrote
-- it before.
UPDATE uploads
SET report_key = %(report_key)s, verification = 'verified', verified_at = clock_timestamp(),
    report_tables_key = NULL
WHERE id = %(id)s AND verification = 'pending' AND roll_pending = 0 AND status = 'completed'
RETURNING id;

-- name: claim_report
-- Claim the oldest upload whose answers are all in and whose report lacks them. Its due time becomes the
-- end of the lease.
WITH next AS (
    SELECT id FROM uploads
    WHERE verification = 'pending' AND roll_pending = 0 AND status = 'completed'
      AND (report_due_at IS NULL OR report_due_at <= now())
    ORDER BY ordinal LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE uploads SET report_due_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM next WHERE uploads.id = next.id
RETURNING uploads.id, report_tries;

-- name: renew_report
-- The report is still being written.
UPDATE uploads SET report_due_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE id = %(id)s AND verification = 'pending';

-- name: postpone_report
-- Writing failed, or couldn't begin; it is due again later.
UPDATE uploads
SET report_tries = report_tries + %(tries)s,
    report_due_at = clock_timestamp() + make_interval(secs => %(wait_s)s)
WHERE id = %(id)s AND verification = 'pending';

-- name: ready_to_merge
-- Uploads that waited for their answers before the merge and have them all. After a failed attempt the
-- upload queue has a time for the next one: waking such an upload would reset its count of attempts.
SELECT id, priority FROM uploads
WHERE verification = 'pending' AND roll_pending = 0 AND status = 'pending' AND error_code IS NULL
ORDER BY ordinal;

-- name: give_up
-- For uploads that ended without a merge, delete pending rows and the questions that only they need, and
-- clear their counts.
WITH ended AS (
    UPDATE uploads
    SET roll_registered = 0, roll_other_ward = 0, roll_without_district = 0,
        roll_not_registered = 0, roll_deceased = 0, roll_international = 0, roll_pending = 0,
        roll_error = 0, verification = 'off'
    WHERE verification = 'pending' AND status IN ('cancelled', 'failed')
    RETURNING id
), gone AS (
    DELETE FROM verifications
    WHERE upload_id IN (SELECT id FROM ended) AND result = 'pending'
    RETURNING id_number
)
DELETE FROM voter_roll_questions AS q
WHERE id_number IN (SELECT id_number FROM gone)
  AND NOT EXISTS (SELECT FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
                  WHERE v.id_number = q.id_number AND v.result = 'pending'
                    AND uploads.status IN ('pending', 'processing', 'completed'));

-- name: ask_missing
-- Add a question for each pending row that has none: its answer came for another upload while this one
-- was merged. The worker that claims the question finds that answer without asking.
INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number)
SELECT DISTINCT ON (v.id_number) v.id_number, uploads.ordinal, v.row_number
FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
WHERE v.result = 'pending' AND uploads.verification = 'pending'
  AND uploads.status IN ('pending', 'processing', 'completed')
  AND NOT EXISTS (SELECT FROM voter_roll_questions AS q WHERE q.id_number = v.id_number)
ORDER BY v.id_number, uploads.ordinal, v.row_number
ON CONFLICT (id_number) DO NOTHING;
