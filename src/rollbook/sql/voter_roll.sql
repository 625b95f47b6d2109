-- name: state
-- The breaker's state, and how many seconds it is open for still.
SELECT *, GREATEST(extract(epoch FROM probe_at - now()), 0)::float8 AS probe_in_s
FROM voter_roll_state;

-- name: pending_of
-- Rows of an upload that still wait for an answer; none when nobody waits for it any more.
SELECT roll_pending FROM uploads
WHERE id = %(id)s AND status IN ('pending', 'processing', 'completed');

-- name: next_due
-- Seconds until the next question is due; null when there is none.
SELECT GREATEST(extract(epoch FROM min(due_at) - now()), 0)::float8 AS due_in_s
FROM voter_roll_questions;

-- name: claim
-- The next question in the order of the uploads. Nobody else gets it within the time in which it
-- must have been answered. A probe takes one that has failed least: somebody about whom the roll
-- always fails must not keep it down for all others.
WITH next AS (
    SELECT id_number FROM voter_roll_questions WHERE due_at <= now()
    ORDER BY CASE WHEN %(is_probe)s THEN failures ELSE 0 END, upload_ordinal, row_number
    LIMIT 1 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE voter_roll_questions AS q SET due_at = now() + make_interval(secs => %(lease_s)s)
    FROM next WHERE q.id_number = next.id_number
    RETURNING q.id_number, q.failures, q.error
)
SELECT taken.id_number, taken.failures,
       COALESCE(taken.error = %(refused_code)s, false) AS was_refused,
       EXISTS (SELECT FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
               WHERE v.id_number = taken.id_number AND v.result = 'pending'
                 AND uploads.status IN ('pending', 'processing', 'completed')) AS is_wanted,
       EXISTS (SELECT FROM voter_roll_answers AS a WHERE a.id_number = taken.id_number
                 AND a.asked_at > now() - make_interval(days => %(cache_days)s)) AS is_known
FROM taken;

-- name: release
-- It wasn't asked after all; somebody else may.
UPDATE voter_roll_questions SET due_at = now() WHERE id_number = %(id_number)s;

-- name: postpone
-- Asking failed: again after a pause that doubles up to an hour, spread so that not everybody's
-- turn comes in the same second.
UPDATE voter_roll_questions
SET failures = failures + 1, error = %(error_code)s,
    due_at = now() + make_interval(secs =>
        LEAST(%(retry_s)s * 2 ^ LEAST(failures, 12), 3600) * (0.75 + random() / 4))
WHERE id_number = %(id_number)s;

-- name: drop
-- Nobody wants to know any more.
DELETE FROM voter_roll_questions WHERE id_number = %(id_number)s;

-- name: keep_answer
-- Committed by itself, before anybody is told: whatever happens then, nobody is asked twice.
INSERT INTO voter_roll_answers AS a (id_number, status, ward, voting_district, voting_station,
                                     municipality, province, asked_at)
VALUES (%(id_number)s, %(status)s, %(ward)s, %(voting_district)s, %(voting_station)s,
        %(municipality)s, %(province)s, clock_timestamp())
ON CONFLICT (id_number) DO UPDATE
SET status = excluded.status, ward = excluded.ward, voting_district = excluded.voting_district,
    voting_station = excluded.voting_station, municipality = excluded.municipality,
    province = excluded.province, asked_at = excluded.asked_at;

-- name: tell_member
-- First of the writes that spread an answer: members, uploads, questions, rows. Whoever else takes
-- several of these locks takes them in this order too.
UPDATE members AS m
SET roll_status = a.status, roll_ward = a.ward, roll_voting_district = a.voting_district,
    roll_asked_at = a.asked_at
FROM voter_roll_answers AS a
WHERE a.id_number = %(id_number)s AND m.id_number = a.id_number
  AND m.roll_asked_at IS DISTINCT FROM a.asked_at;

-- name: lock_uploads
-- Two answers for the same two uploads wait for each other in one order.
SELECT id FROM uploads
WHERE id IN (SELECT upload_id FROM verifications
             WHERE id_number = %(id_number)s AND result = 'pending')
ORDER BY id FOR UPDATE;

-- name: tell_uploads
-- Every row that waited for the answer gets its result, and each upload its counts. A refused
-- question has no answer: its rows end as error.
WITH told AS (
    UPDATE verifications AS v
    SET result = CASE WHEN %(is_refused)s THEN 'error'
                      ELSE verification_result(a.status, a.ward, v.file_ward) END
    FROM (SELECT %(id_number)s AS id_number) AS person
    LEFT JOIN voter_roll_answers AS a USING (id_number)
    WHERE v.id_number = person.id_number AND v.result = 'pending'
    RETURNING v.upload_id, v.result
), n AS (
    SELECT upload_id, count(*) AS told,
           count(*) FILTER (WHERE result = 'registered') AS registered,
           count(*) FILTER (WHERE result = 'other_ward') AS other_ward,
           count(*) FILTER (WHERE result = 'without_district') AS without_district,
           count(*) FILTER (WHERE result = 'not_registered') AS not_registered,
           count(*) FILTER (WHERE result = 'deceased') AS deceased,
           count(*) FILTER (WHERE result = 'international') AS international,
           count(*) FILTER (WHERE result = 'error') AS error
    FROM told GROUP BY upload_id
)
UPDATE uploads
SET roll_pending = roll_pending - n.told,
    roll_registered = roll_registered + n.registered,
    roll_other_ward = roll_other_ward + n.other_ward,
    roll_without_district = roll_without_district + n.without_district,
    roll_not_registered = roll_not_registered + n.not_registered,
    roll_deceased = roll_deceased + n.deceased,
    roll_international = roll_international + n.international,
    roll_error = roll_error + n.error
FROM n WHERE uploads.id = n.upload_id
RETURNING uploads.id, uploads.status, uploads.priority, uploads.roll_pending, uploads.error_code;

-- name: probe
-- The breaker is open and its pause over: whoever gets the row asks, and the others wait on.
UPDATE voter_roll_state SET probe_at = now() + make_interval(secs => %(lease_s)s)
WHERE down_since IS NOT NULL AND probe_at <= now()
RETURNING probe_at;

-- name: probe_back
-- Nobody was asked after all: the next question that is due is the probe, not one after the lease.
UPDATE voter_roll_state SET probe_at = now() WHERE down_since IS NOT NULL;

-- name: note_answer
-- The roll answers: the breaker is closed.
UPDATE voter_roll_state
SET failures = 0, probes = 0, down_since = NULL, probe_at = NULL, error_code = NULL, error = NULL,
    last_answer_at = now()
WHERE failures > 0 OR down_since IS NOT NULL
   OR last_answer_at IS NULL OR last_answer_at < now() - interval '10 seconds';

-- name: note_failure
-- One more failure in a row. From so many on, the breaker is open, for a pause that doubles with
-- every probe that fails, up to 15 minutes.
UPDATE voter_roll_state
SET failures = failures + 1, error_code = %(error_code)s, error = %(error)s,
    down_since = CASE WHEN down_since IS NULL AND failures + 1 >= %(down_after)s THEN now()
                      ELSE down_since END,
    probes = CASE WHEN down_since IS NOT NULL THEN probes + 1 ELSE 0 END,
    probe_at = CASE
        WHEN down_since IS NOT NULL
            THEN now() + make_interval(secs => LEAST(%(probe_s)s * 2 ^ LEAST(probes + 1, 12), 900))
        WHEN failures + 1 >= %(down_after)s THEN now() + make_interval(secs => %(probe_s)s) END
RETURNING down_since, probes;

-- name: note_request
-- Before the request is made, so that none is ever missing here.
INSERT INTO voter_roll_requests DEFAULT VALUES RETURNING id;

-- name: unnote_request
-- It wasn't made: the budget was spent.
DELETE FROM voter_roll_requests WHERE id = %(request_id)s;

-- name: requests
-- The ages in milliseconds of the requests that a window still counts.
SELECT (extract(epoch FROM clock_timestamp() - sent_at) * 1000)::bigint AS age_ms
FROM voter_roll_requests
WHERE sent_at > clock_timestamp() - make_interval(secs => %(window_s)s);

-- name: forget_requests
-- What no window counts any more.
DELETE FROM voter_roll_requests
WHERE sent_at < clock_timestamp() - make_interval(secs => %(window_s)s * 3);

-- name: ahead
-- How many people are to be asked about in all, and up to an upload's last row.
SELECT count(*)::int AS questions,
       count(*) FILTER (WHERE %(ordinal)s::bigint IS NULL
                        OR upload_ordinal <= %(ordinal)s)::int AS up_to
FROM voter_roll_questions;

-- name: failing
-- How many of them asking has failed about.
SELECT count(*)::int AS questions FROM voter_roll_questions WHERE failures > 0;
