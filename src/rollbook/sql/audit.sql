-- name: record
-- Add an entry; the database sets its time and its retention.
INSERT INTO audit_entries (act, outcome, code, user_id, email, role, province, municipality, address,
                           agent, job_id, member_id, about)
VALUES (%(act)s, %(outcome)s, %(code)s, %(user_id)s, %(email)s, %(role)s, %(province)s,
        %(municipality)s, %(address)s, %(agent)s, %(job_id)s, %(member_id)s, %(about)s);

-- name: entries
-- A page of the entries in the reader's scope, newest first. An entry belongs to the upload's office,
-- or without an upload to the acting user's.
SELECT a.*
FROM audit_entries AS a LEFT JOIN uploads ON uploads.id = a.job_id
WHERE in_scope(COALESCE(uploads.province, a.province), COALESCE(uploads.municipality, a.municipality),
               %(scope_province)s, %(scope_municipality)s)
  AND (%(job_id)s::uuid IS NULL OR a.job_id = %(job_id)s)
  AND (%(act)s::text IS NULL OR a.act = %(act)s)
  AND (%(after)s::bigint IS NULL OR a.id < %(after)s)
ORDER BY a.id DESC LIMIT %(limit)s OFFSET %(offset)s;

-- name: entries_counted
-- Those of all pages.
SELECT
FROM audit_entries AS a LEFT JOIN uploads ON uploads.id = a.job_id
WHERE in_scope(COALESCE(uploads.province, a.province), COALESCE(uploads.municipality, a.municipality),
               %(scope_province)s, %(scope_municipality)s)
  AND (%(job_id)s::uuid IS NULL OR a.job_id = %(job_id)s)
  AND (%(act)s::text IS NULL OR a.act = %(act)s)
LIMIT %(most)s

-- name: entries_of
-- A page of what was done in the name of one account, newest first.
SELECT a.* FROM audit_entries AS a
WHERE user_id = %(user_id)s
  AND (%(job_id)s::uuid IS NULL OR a.job_id = %(job_id)s)
  AND (%(act)s::text IS NULL OR a.act = %(act)s)
  AND (%(after)s::bigint IS NULL OR a.id < %(after)s)
ORDER BY a.id DESC LIMIT %(limit)s OFFSET %(offset)s;

-- name: entries_of_counted
-- Those of all pages.
SELECT FROM audit_entries AS a
WHERE user_id = %(user_id)s
  AND (%(job_id)s::uuid IS NULL OR a.job_id = %(job_id)s)
  AND (%(act)s::text IS NULL OR a.act = %(act)s)
LIMIT %(most)s

-- name: keep_for
-- Set the retention of entries written from now on, in days.
UPDATE audit_retention SET days = %(days)s WHERE days <> %(days)s;

-- name: over
-- The number of entries whose retention has ended.
SELECT count(*) AS over FROM audit_entries WHERE kept_until < now();

-- name: forget
-- Delete the entries whose retention has ended; the table's trigger refuses all others.
DELETE FROM audit_entries WHERE kept_until < now();

-- name: count_refusal
-- Count a refused act; only the first of a kind within a minute gets an entry of its own.
INSERT INTO audit_refusals AS r (key, act, code, user_id, email, role, province, municipality,
                                 address, agent)
VALUES (%(key)s, %(act)s, %(code)s, %(user_id)s, %(email)s, %(role)s, %(province)s,
        %(municipality)s, %(address)s, %(agent)s)
ON CONFLICT (key) DO UPDATE SET more = r.more + 1
RETURNING more = 0 AS is_first;

-- name: write_counts
-- One entry for the other refusals of each kind, a minute after the first.
WITH over AS (
    DELETE FROM audit_refusals WHERE key IN (
        SELECT key FROM audit_refusals WHERE since < now() - interval '1 minute'
        FOR UPDATE SKIP LOCKED)
    RETURNING *)
INSERT INTO audit_entries (act, outcome, code, user_id, email, role, province, municipality, address,
                           agent, about)
SELECT act, 'refused', code, user_id, email, role, province, municipality, address, agent,
       more || ' more like it within a minute'
FROM over WHERE more > 0;
