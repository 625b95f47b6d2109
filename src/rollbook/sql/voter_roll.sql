-- name: state
-- The state of the circuit breaker, and the seconds until the next probe.
SELECT *, GREATEST(extract(epoch FROM probe_at - now()), 0)::float8 AS probe_in_s
FROM voter_roll_state;

-- name: next_due
-- Seconds until the next question becomes due; null when none does. One that is due already is being
-- claimed by another worker.
SELECT extract(epoch FROM min(due_at) - now())::float8 AS due_in_s
FROM voter_roll_questions WHERE due_at > now();

-- name: claim
-- Claim the next question in the order of the uploads. Its due time becomes the end of the lease, which
-- is longer than asking takes. A probe claims the question that failed least: a person on whom the roll
-- always fails must not keep it down for everyone else.
WITH next AS (
    SELECT id_number FROM voter_roll_questions WHERE due_at <= now()
    ORDER BY CASE WHEN %(is_probe)s THEN failures ELSE 0 END, upload_ordinal, row_number
    LIMIT 1 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE voter_roll_questions AS q SET due_at = now() + make_interval(secs => %(lease_s)s)
    FROM next WHERE q.id_number = next.id_number
    RETURNING q.id_number, q.failures, q.error
)
SELECT claimed.id_number, claimed.failures,
       COALESCE(claimed.error = %(refused_code)s, false) AS was_refused,
       EXISTS (SELECT FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
               WHERE v.id_number = claimed.id_number AND v.result = 'pending'
                 AND uploads.status IN ('pending', 'processing', 'completed')) AS is_wanted,
       EXISTS (SELECT FROM voter_roll_answers AS a WHERE a.id_number = claimed.id_number
                 AND a.asked_at > now() - make_interval(days => %(cache_days)s)) AS is_known
FROM claimed;

-- name: release
-- The question wasn't asked; it is due at once.
UPDATE voter_roll_questions SET due_at = now() WHERE id_number = %(id_number)s;

-- name: postpone
-- Asking failed. The pause doubles up to an hour, and varies at random so that the questions don't
-- all become due in the same second.
UPDATE voter_roll_questions
SET failures = failures + 1, error = %(error_code)s,
    due_at = now() + make_interval(secs =>
        LEAST(%(retry_s)s * 2 ^ LEAST(failures, 12), 3600) * (0.75 + random() / 4))
WHERE id_number = %(id_number)s;

-- name: delete_question
-- The question is answered or refused, or no upload waits for the answer.
DELETE FROM voter_roll_questions WHERE id_number = %(id_number)s;

-- name: save_answer
-- Committed before it is applied to members and rows, so that a crash causes no repeated question. Not
-- without the question: it was answered meanwhile, nobody waits for it, or the person was erased.
WITH question AS (
    SELECT FROM voter_roll_questions WHERE id_number = %(id_number)s FOR UPDATE
)
INSERT INTO voter_roll_answers AS a (id_number, status, ward, voting_district, voting_station,
                                     municipality, province, asked_at)
SELECT %(id_number)s, %(status)s, %(ward)s, %(voting_district)s, %(voting_station)s,
       %(municipality)s, %(province)s, clock_timestamp()
FROM question
ON CONFLICT (id_number) DO UPDATE
SET status = excluded.status, ward = excluded.ward, voting_district = excluded.voting_district,
    voting_station = excluded.voting_station, municipality = excluded.municipality,
    province = excluded.province, asked_at = excluded.asked_at;

-- name: update_member
-- The first of the writes that apply an answer. All code that locks several of these tables does so in
-- this order: members, uploads, questions, rows.
UPDATE members AS m
SET roll_status = a.status, roll_ward = a.ward, roll_voting_district = a.voting_district,
    roll_asked_at = a.asked_at
FROM voter_roll_answers AS a
WHERE a.id_number = %(id_number)s AND m.id_number = a.id_number
  AND m.roll_asked_at IS DISTINCT FROM a.asked_at
RETURNING a.status = 'deceased' AS is_deceased;

-- name: end_member
-- A member whom the roll calls deceased becomes inactive, with a line in the history. It is an edit, which
-- undoing an upload keeps; the trigger on members takes no write of roll_asked_at for one, so this is
-- a statement of its own.
WITH written AS (
    UPDATE members AS m SET status = 'inactive',
           changed_at = GREATEST(clock_timestamp(), m.changed_at + interval '1 microsecond')
    FROM members AS former
    WHERE m.id_number = %(id_number)s AND former.id_number = m.id_number
      AND m.status IS DISTINCT FROM 'inactive'
    RETURNING m.id_number, former.status AS before
)
INSERT INTO member_corrections (id_number, at, reason, changes)
SELECT id_number, clock_timestamp(), 'The voter roll says that the person is deceased.',
       jsonb_build_object('status', jsonb_build_array(before, 'inactive'))
FROM written;

-- name: lock_uploads
-- Locked in one order, so that two answers for the same two uploads don't deadlock.
SELECT id FROM uploads
WHERE id IN (SELECT upload_id FROM verifications
             WHERE id_number = %(id_number)s AND result = 'pending')
ORDER BY id FOR UPDATE;

-- name: settle_rows
-- Set the result of each row that waited for the answer, and the counts of its upload. A refused question
-- has no answer: its rows end as error.
WITH settled AS (
    UPDATE verifications AS v
    SET result = CASE WHEN %(is_refused)s THEN 'error'
                      ELSE verification_result(a.status, a.ward, v.file_ward) END
    FROM (SELECT %(id_number)s AS id_number) AS person
    LEFT JOIN voter_roll_answers AS a USING (id_number)
    WHERE v.id_number = person.id_number AND v.result = 'pending'
    RETURNING v.upload_id, v.result
), n AS (
    SELECT upload_id, count(*) AS settled,
           count(*) FILTER (WHERE result = 'registered') AS registered,
           count(*) FILTER (WHERE result = 'other_ward') AS other_ward,
           count(*) FILTER (WHERE result = 'without_district') AS without_district,
           count(*) FILTER (WHERE result = 'not_registered') AS not_registered,
           count(*) FILTER (WHERE result = 'deceased') AS deceased,
           count(*) FILTER (WHERE result = 'international') AS international,
           count(*) FILTER (WHERE result = 'error') AS error
    FROM settled GROUP BY upload_id
)
UPDATE uploads
SET roll_pending = roll_pending - n.settled,
    roll_registered = roll_registered + n.registered,
    roll_other_ward = roll_other_ward + n.other_ward,
    roll_without_district = roll_without_district + n.without_district,
    roll_not_registered = roll_not_registered + n.not_registered,
    roll_deceased = roll_deceased + n.deceased,
    roll_international = roll_international + n.international,
    roll_error = roll_error + n.error
FROM n WHERE uploads.id = n.upload_id
RETURNING uploads.id, uploads.status, uploads.priority, uploads.roll_pending, uploads.error_code;

-- name: claim_probe
-- The breaker is open and its pause is over: the worker that gets the row asks one question.
UPDATE voter_roll_state SET probe_at = now() + make_interval(secs => %(lease_s)s)
WHERE down_since IS NOT NULL AND probe_at <= now()
RETURNING probe_at;

-- name: release_probe
-- The probe asked nothing: the next due question is the probe.
UPDATE voter_roll_state SET probe_at = now() WHERE down_since IS NOT NULL;

-- name: note_answer
-- The roll answers: the breaker is closed.
UPDATE voter_roll_state
SET failures = 0, probes = 0, down_since = NULL, probe_at = NULL, error_code = NULL, error = NULL,
    last_answer_at = now()
WHERE failures > 0 OR down_since IS NOT NULL
   OR last_answer_at IS NULL OR last_answer_at < now() - interval '10 seconds';

-- name: note_failure
-- One more failure in a row. After down_after failures the breaker opens, for a pause that doubles with
-- each failed probe, up to 15 minutes.
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

-- name: lock_budget
-- Claims of requests wait here for each other, until the transaction ends.
SELECT FROM voter_roll_state FOR UPDATE;

-- name: budget
-- Requests that the window counts, the seconds until one more may be sent, and those until the request
-- at a place in the order of leaving does leave the window (null if there is none). A request counts
-- from its reservation until a window after its end. One that hasn't ended can't end before now, nor
-- before it is sent; one that is held for too long counts as ended when its hold was over.
WITH counted AS MATERIALIZED (
    SELECT leaves_in_s FROM (
        SELECT extract(epoch FROM COALESCE(
                   ended_at,
                   GREATEST(sent_at, LEAST(sent_at + make_interval(secs => %(hold_s)s), now))
               ) - now)::float8 + %(window_s)s AS leaves_in_s
        FROM voter_roll_requests, (SELECT statement_timestamp() AS now) AS moment
        -- By the index; nothing older can still count.
        WHERE sent_at > now - make_interval(secs => %(window_s)s * 2 + %(hold_s)s)
    ) AS request
    WHERE leaves_in_s > 0
), used AS (
    SELECT count(*)::int AS used FROM counted
)
SELECT used.used,
       refrain_s,
       GREATEST(refrain_s, CASE WHEN used.used >= %(limit)s THEN (
           SELECT leaves_in_s FROM counted
           ORDER BY leaves_in_s OFFSET used.used - %(limit)s LIMIT 1
       ) END)::float8 AS wait_s,
       (SELECT leaves_in_s FROM counted ORDER BY leaves_in_s OFFSET %(place)s LIMIT 1)
           AS leaves_in_s
FROM used, (
    SELECT GREATEST(0, extract(epoch FROM refrain_until - statement_timestamp()))::float8 AS refrain_s
    FROM voter_roll_state
) AS state;

-- name: reserve_request
-- To be sent after a number of seconds; committed before that.
INSERT INTO voter_roll_requests (sent_at)
VALUES (clock_timestamp() + make_interval(secs => %(wait_s)s)) RETURNING id;

-- name: withdraw_request
-- A reserved request is not sent.
DELETE FROM voter_roll_requests WHERE id = %(id)s;

-- name: end_request
-- The request was at the roll before it ended, so a window after that it certainly counts no more. Its
-- worker measured how long ago that was.
UPDATE voter_roll_requests SET ended_at = clock_timestamp() - make_interval(secs => %(ago_s)s)
WHERE id = %(id)s;

-- name: refrain
-- The roll asked for a pause of this length.
UPDATE voter_roll_state
SET refrain_until = GREATEST(refrain_until, clock_timestamp() + make_interval(secs => %(seconds)s));

-- name: note_rate_limit_warning
-- Most of the budget is used; announced once in a window.
UPDATE voter_roll_state SET warned_at = clock_timestamp()
WHERE warned_at IS NULL OR warned_at < clock_timestamp() - make_interval(secs => %(window_s)s);

-- name: note_rate_limit_exceeded
-- The budget is spent; announced once in a window.
UPDATE voter_roll_state SET exceeded_at = clock_timestamp()
WHERE exceeded_at IS NULL OR exceeded_at < clock_timestamp() - make_interval(secs => %(window_s)s);

-- name: forget_requests
-- Requests that no window counts any more, with a window to spare.
DELETE FROM voter_roll_requests
WHERE COALESCE(ended_at, sent_at + make_interval(secs => %(hold_s)s))
      < clock_timestamp() - make_interval(secs => %(window_s)s * 2);

-- name: ahead
-- Questions in all, and up to the last row of the upload with this ordinal.
SELECT count(*)::int AS questions,
       count(*) FILTER (WHERE %(ordinal)s::bigint IS NULL
                        OR upload_ordinal <= %(ordinal)s)::int AS up_to
FROM voter_roll_questions;

-- name: failing
-- Questions on which the roll has failed.
SELECT count(*)::int AS questions FROM voter_roll_questions WHERE failures > 0;
