-- name: plan_for_sets
-- The tables have grown in this very transaction, and the planner takes them for as small as they
-- were: a loop over the rows of one for each row of another took ten minutes for 50,000 rows.
SET LOCAL enable_nestloop = off;

-- name: plan_as_usual
-- The end of that.
SET LOCAL enable_nestloop = DEFAULT;

-- name: prepare
-- The staged rows, with what is known of each already. A question that the roll refused while the
-- upload waited for its merge stays refused: without an answer that could be kept, it would be asked
-- for ever.
INSERT INTO verifications AS v (upload_id, row_number, id_number, file_ward, result)
SELECT %(id)s, s.row_number, s.id_number, s.ward,
       COALESCE(verification_result(a.status, a.ward, s.ward), 'pending')
FROM staged AS s
LEFT JOIN voter_roll_answers AS a
       ON a.id_number = s.id_number AND a.asked_at > now() - make_interval(days => %(cache_days)s)
ON CONFLICT (upload_id, row_number) DO UPDATE
SET id_number = excluded.id_number, file_ward = excluded.file_ward,
    result = CASE WHEN v.result = 'error' AND excluded.result = 'pending' THEN 'error'
                  ELSE excluded.result END;

-- name: forget_others
-- Rows of an earlier attempt that this one doesn't merge.
DELETE FROM verifications AS v
WHERE upload_id = %(id)s
  AND NOT EXISTS (SELECT FROM staged WHERE staged.row_number = v.row_number);

-- name: lock_pending
-- The upload's row, where lanes may be giving answers to its rows: whoever spreads one locks the
-- upload before its rows.
SELECT FROM uploads WHERE id = %(id)s AND roll_pending > 0 FOR UPDATE;

-- name: forget
-- Nobody of the upload is to be asked about, and so nobody whom only it wanted to know of.
WITH gone AS (
    DELETE FROM verifications WHERE upload_id = %(id)s RETURNING id_number, result
)
DELETE FROM voter_roll_questions AS q
WHERE id_number IN (SELECT id_number FROM gone WHERE result = 'pending')
  AND NOT EXISTS (SELECT FROM verifications AS v
                  WHERE v.id_number = q.id_number AND v.result = 'pending'
                    AND v.upload_id <> %(id)s);

-- name: forget_rows
-- Rows that are another office's members.
DELETE FROM verifications WHERE upload_id = %(id)s AND row_number = ANY(%(rows)s);

-- name: ask
-- One question for each person without an answer; somebody about whom an earlier upload asks keeps
-- the place in that one. In the order of the key, so that two merges can't lock each other out.
INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number)
SELECT DISTINCT ON (v.id_number) v.id_number, uploads.ordinal, v.row_number
FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
WHERE v.upload_id = %(id)s AND v.result = 'pending'
ORDER BY v.id_number, v.row_number
ON CONFLICT (id_number) DO NOTHING;

-- name: tell_members
-- The answers that were known become the members'.
UPDATE members AS m
SET roll_status = a.status, roll_ward = a.ward, roll_voting_district = a.voting_district,
    roll_asked_at = a.asked_at
FROM verifications AS v JOIN voter_roll_answers AS a USING (id_number)
WHERE v.upload_id = %(id)s AND v.result NOT IN ('pending', 'error')
  AND m.id_number = v.id_number AND m.roll_asked_at IS DISTINCT FROM a.asked_at;

-- name: results
-- What the report says of each row; {{upload_id}} because COPY takes no parameters. A newer answer
-- that says something else isn't this result's, and its district is no part of it.
COPY (
    SELECT v.row_number, v.result, a.ward, a.voting_district
    FROM verifications AS v
    LEFT JOIN voter_roll_answers AS a
           ON a.id_number = v.id_number
          AND v.result = verification_result(a.status, a.ward, v.file_ward)
    WHERE v.upload_id = {upload_id}
) TO STDOUT (FORMAT csv);

-- name: count
-- The upload's counts, from its rows; the attempt's fence holds here too. When nothing is pending
-- the upload is verified.
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
-- Nobody of the upload is asked about after all: whatever an earlier attempt counted is gone, and
-- with it what lanes would go on for. The fence holds here too.
UPDATE uploads
SET roll_registered = 0, roll_other_ward = 0, roll_without_district = 0, roll_not_registered = 0,
    roll_deceased = 0, roll_international = 0, roll_pending = 0, roll_error = 0,
    verification = 'off', verified_at = NULL, report_tables_key = NULL
WHERE id = %(id)s AND attempt = %(attempt)s
RETURNING verification, roll_pending;

-- name: lock_miscounted
-- Uploads that wait for answers to rows which no longer wait; not those that somebody works on.
SELECT id FROM uploads
WHERE verification = 'pending' AND roll_pending > 0 AND status IN ('pending', 'completed')
  AND NOT EXISTS (SELECT FROM verifications AS v
                  WHERE v.upload_id = uploads.id AND v.result = 'pending')
ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: recount
-- Their counts, from their rows as they are now that the uploads are locked. One without any row is
-- not verified at all; one without what its report would be written from again keeps the old one.
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
-- The report can't be written again, and stays as it is. What it was to be written from comes back,
-- to be removed.
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
-- The report says what the roll said, and the upload is verified. Nothing comes back when somebody
-- else has written it meanwhile.
UPDATE uploads
SET report_key = %(report_key)s, verification = 'verified', verified_at = clock_timestamp(),
    report_tables_key = NULL
WHERE id = %(id)s AND verification = 'pending' AND roll_pending = 0 AND status = 'completed'
RETURNING id;

-- name: unverified
-- Uploads with somebody still to be asked about, or with a report still to be written, in order.
SELECT id, ordinal, status, priority, roll_pending, error_code FROM uploads
WHERE verification = 'pending' AND status IN ('pending', 'processing', 'completed')
ORDER BY ordinal;

-- name: give_up
-- Uploads that ended without a merge want to know nothing more, and neither does anybody of whom only
-- they did. Nobody of theirs was verified: no count of theirs stays either.
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

-- name: reask
-- A question for every pending row that has none: its answer came for another upload at the moment
-- at which this one was merged, and whoever takes the question finds it without asking.
INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number)
SELECT DISTINCT ON (v.id_number) v.id_number, uploads.ordinal, v.row_number
FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
WHERE v.result = 'pending' AND uploads.verification = 'pending'
  AND uploads.status IN ('pending', 'processing', 'completed')
  AND NOT EXISTS (SELECT FROM voter_roll_questions AS q WHERE q.id_number = v.id_number)
ORDER BY v.id_number, uploads.ordinal, v.row_number
ON CONFLICT (id_number) DO NOTHING;
