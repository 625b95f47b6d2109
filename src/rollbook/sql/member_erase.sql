-- Erasing one person, whom an operator's `by_index` has found.

-- name: record_by_number
-- The record with an ID number: a member's; only where there is none, the latest that a list has removed
-- or a join has taken away and that undoing would bring back.
WITH records AS (
    SELECT to_jsonb(m) AS record, NULL::timestamptz AS at FROM members AS m
    WHERE m.id_number = %(id_number)s
    UNION ALL
    SELECT c.before, u.finished_at FROM member_changes AS c JOIN uploads AS u ON u.id = c.upload_id
    WHERE c.id_number = %(id_number)s AND c.is_removed
      AND NOT EXISTS (SELECT FROM members WHERE id_number = %(id_number)s)
    UNION ALL
    SELECT j.record, j.at FROM member_joins AS j
    WHERE j.gone = %(id_number)s
      AND NOT EXISTS (SELECT FROM members WHERE id_number = %(id_number)s)
)
SELECT record FROM records
WHERE in_scope(record ->> 'province', record ->> 'municipality', %(scope_province)s,
               %(scope_municipality)s)
ORDER BY at DESC LIMIT 1;

-- name: joined_to
-- The stored records that were joined to this person's, and to those. Who is a member again isn't one of
-- them: the pair is to be decided again.
WITH RECURSIVE others AS (
    SELECT gone, record FROM member_joins WHERE kept = %(id_number)s
    UNION
    SELECT j.gone, j.record FROM member_joins AS j JOIN others ON j.kept = others.gone
)
SELECT DISTINCT ON (gone) record FROM others
WHERE record ->> 'id_number' <> %(id_number)s
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = gone)
ORDER BY gone;

-- name: note_person
-- The keyed hash that stays.
INSERT INTO erased_people (hash, key_id) VALUES (%(hash)s, %(key_id)s) ON CONFLICT DO NOTHING;

-- name: request
-- The receipt, with what a worker has to look for.
INSERT INTO erasures (id, user_id, email, reason, person, counts)
VALUES (%(id)s, %(user_id)s, %(email)s, %(reason)s, %(person)s, %(counts)s)
RETURNING *;

-- name: get
-- A receipt, with the uploads that a pending erasure waits for (see `open_attempts`). It says nothing of
-- the person.
SELECT id, email, reason, status, counts, created_at, finished_at,
       ARRAY(SELECT u.id FROM uploads AS u
             WHERE erasures.status = 'pending' AND u.status = 'processing'
               AND u.started_at <= COALESCE(begun_at, now())
             ORDER BY u.ordinal) AS waits_for
FROM erasures WHERE id = %(id)s;

-- name: pending_of
-- The erasure of this person that a worker has still to carry out.
SELECT id FROM erasures WHERE status = 'pending' AND person ->> 'key' = %(number)s LIMIT 1;

-- name: readmit
-- The person may be taken in again.
DELETE FROM erased_people WHERE hash = ANY(%(hashes)s);

-- name: claim
-- Claim the erasure that has been due longest. Its due time becomes the end of the lease.
UPDATE erasures
SET due_at = clock_timestamp() + make_interval(secs => %(lease_s)s), tries = tries + 1
WHERE id = (SELECT id FROM erasures WHERE status = 'pending' AND due_at <= now()
            ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, tries;

-- name: next_due
-- Seconds until the next one becomes due; null when none does.
SELECT extract(epoch FROM min(due_at) - now())::float8 AS due_in_s FROM erasures
WHERE status = 'pending' AND due_at > now();

-- name: renew
-- Renew the lease.
UPDATE erasures SET due_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE id = %(id)s AND tries = %(tries)s AND status = 'pending';

-- name: postpone
-- Go on later.
UPDATE erasures SET due_at = clock_timestamp() + make_interval(secs => %(wait_s)s)
WHERE id = %(id)s AND tries = %(tries)s AND status = 'pending';

-- name: begin
-- The erasure that a worker carries out, and when the first one began with it. The request was committed
-- before that, so an attempt that starts later reads the person's hash.
UPDATE erasures SET begun_at = COALESCE(begun_at, clock_timestamp())
WHERE id = %(id)s AND status = 'pending'
RETURNING *;

-- name: open_attempts
-- Attempts that may have begun before the person was erased, and may write the person's row again.
SELECT count(*)::int AS attempts FROM uploads
WHERE status = 'processing' AND started_at <= %(begun_at)s;

-- name: remove_member
-- The record.
DELETE FROM members WHERE id_number = %(id_number)s;

-- name: remove_index
-- The line by which the member was found.
DELETE FROM member_index WHERE id_number = %(id_number)s;

-- name: remove_due
-- The person among those who are to be indexed.
UPDATE member_index_due SET people = array_remove(people, %(person)s)
WHERE %(person)s = ANY(people);

-- name: remove_changes
-- What the record was before uploads.
DELETE FROM member_changes WHERE id_number = %(id_number)s;

-- name: remove_corrections
-- Corrections by hand.
DELETE FROM member_corrections WHERE id_number = %(id_number)s;

-- name: remove_duplicates
-- The pairs that the person was in.
DELETE FROM member_duplicates WHERE one = %(id_number)s OR other = %(id_number)s;

-- name: remove_joins
-- The record of the person who was joined to another, or of those who were joined to this one.
DELETE FROM member_joins WHERE kept = %(id_number)s OR gone = %(id_number)s;

-- name: remove_duplicates_due
-- The person among those among whom duplicates are to be looked for.
UPDATE duplicates_due SET people = array_remove(people, %(person)s)
WHERE %(person)s = ANY(people);

-- name: remove_kept
-- The person among those whom undoing left alone.
DELETE FROM undo_kept WHERE id_number = %(id_number)s;

-- name: remove_answers
-- What the voter roll said.
DELETE FROM voter_roll_answers WHERE id_number = %(id_number)s;

-- name: remove_questions
-- What it was to be asked.
DELETE FROM voter_roll_questions WHERE id_number = %(id_number)s;

-- name: remove_claims
-- The person among those whom files held, with the bits that belong to the person.
UPDATE upload_claims AS c
SET people = kept.people, filled = kept.filled
FROM upload_claims AS o CROSS JOIN LATERAL (
    SELECT COALESCE(array_agg(one.person ORDER BY one.place), '{}') AS people,
           COALESCE(array_agg(one.filled ORDER BY one.place), '{}') AS filled
    FROM unnest(o.people, o.filled) WITH ORDINALITY AS one(person, filled, place)
    WHERE one.person <> %(person)s
) AS kept
WHERE c.upload_id = o.upload_id AND %(person)s = ANY(o.people);

-- name: blank_linked_rows
-- The cells of the rows that are known to be the person's; each row's outcome stays.
UPDATE upload_rows AS r
SET problems = (SELECT jsonb_agg(problem || '{"value": null, "kept": null}')
                FROM jsonb_array_elements(problems) AS problem),
    member_id = NULL, changes = NULL
WHERE (r.upload_id, r.row_number) IN (
    SELECT upload_id, row_number FROM upload_rows WHERE member_id = %(member_id)s
    UNION SELECT upload_id, row_number FROM verifications WHERE id_number = %(id_number)s);

-- name: remove_linked_cells
-- The cells of these rows.
DELETE FROM fixable_rows AS f
WHERE (f.upload_id, f.row_number) IN (
    SELECT upload_id, row_number FROM upload_rows WHERE member_id = %(member_id)s
    UNION SELECT upload_id, row_number FROM verifications WHERE id_number = %(id_number)s);

-- name: aliases
-- What offices have their files read by: texts of cells.
SELECT id, text FROM value_aliases;

-- name: remove_aliases
-- Some of them.
DELETE FROM value_aliases WHERE id = ANY(%(ids)s);

-- name: wanted_aliases
-- Those that fixed rows which aren't merged have asked for.
SELECT id, alias->>'text' AS text
FROM uploads CROSS JOIN jsonb_array_elements(grid->'aliases') AS alias
WHERE mends IS NOT NULL AND status <> 'completed';

-- name: unwant_aliases
-- Some of these uploads' are forgotten.
UPDATE uploads SET grid = jsonb_set(grid, '{aliases}', '[]') WHERE id = ANY(%(ids)s);

-- name: remove_verifications
-- The rows that were compared with the voter roll, and their part of what an upload waits for. As many
-- as there were.
WITH gone AS (
    DELETE FROM verifications WHERE id_number = %(id_number)s RETURNING upload_id, result
), pending AS (
    SELECT upload_id, count(*)::int AS rows FROM gone WHERE result = 'pending' GROUP BY upload_id
), counted AS (
    UPDATE uploads AS u SET roll_pending = GREATEST(u.roll_pending - pending.rows, 0)
    FROM pending WHERE u.id = pending.upload_id
)
SELECT FROM gone;

-- name: withdraw_files
-- Exports that may hold the person: all that there are after the record was removed; one that is being
-- made is made again. Only once, because what is made afterwards doesn't hold the person. Returns how
-- many were made.
WITH own AS (
    UPDATE erasures SET withdrawn_at = clock_timestamp()
    WHERE id = %(id)s AND withdrawn_at IS NULL RETURNING id
), withdrawn AS (
    UPDATE member_files
    SET status = CASE status WHEN 'completed' THEN 'removed' ELSE status END,
        tries = CASE status WHEN 'pending' THEN tries + 1 ELSE tries END,
        due_at = CASE status WHEN 'pending' THEN now() ELSE due_at END
    WHERE status IN ('completed', 'pending') AND EXISTS (SELECT FROM own)
    RETURNING status
)
SELECT count(*) FILTER (WHERE status = 'removed')::int AS removed FROM withdrawn;

-- name: withdrawn_files
-- What is to be removed from the store, also by the next attempt if one is cut off: all of a removed
-- file, and what attempts that lost their claim have stored of one that is made again.
SELECT f.id, f.format, f.status, f.tries FROM member_files AS f JOIN erasures AS e ON e.id = %(id)s
WHERE f.status IN ('removed', 'pending') AND f.created_at <= e.withdrawn_at;

-- name: next_uploads
-- The next uploads, in their order.
SELECT id, ordinal FROM uploads WHERE ordinal > %(after)s ORDER BY ordinal LIMIT %(limit)s;

-- name: stored_of
-- What is stored of an upload; and of its attempts, how many have ended and can't be its result any more.
SELECT id, status, file_name, file_kind, source_key, report_key, refused_key, report_tables_key,
       CASE WHEN status IN ('pending', 'processing') THEN attempt - 1 ELSE attempt END AS ended
FROM uploads WHERE id = %(id)s;

-- name: named_workbooks
-- The workbooks that an upload's record names now; nobody removes them until this transaction ends.
SELECT report_key, refused_key FROM uploads WHERE id = %(id)s FOR SHARE;

-- name: blank_rows
-- The cells of an upload's rows that are the person's, or that repeat the ID number; null for a
-- passport, whose rows are found by their number only. Of all rows where the report is gone, in which
-- the person's rows are found (is_unknown).
UPDATE upload_rows AS r
SET problems = (SELECT jsonb_agg(problem || '{"value": null, "kept": null}')
                FROM jsonb_array_elements(problems) AS problem),
    member_id = NULL, changes = NULL
WHERE r.upload_id = %(upload_id)s
  AND (r.row_number = ANY(%(rows)s) OR strpos(r.problems::text, %(id_number)s::text) > 0
       OR %(is_unknown)s AND (r.member_id IS NOT NULL OR r.changes IS NOT NULL
           OR jsonb_path_exists(r.problems, '$[*] ? (@.value != null || @.kept != null)')));

-- name: remove_cells
-- The cells of an upload's rows that are the person's, or that hold the ID number; of all its rows
-- where its report is gone, in which the person's rows are found. The cells of other rows stay.
DELETE FROM fixable_rows AS f
WHERE f.upload_id = %(upload_id)s
  AND (%(is_unknown)s OR f.row_number = ANY(%(rows)s)
       OR strpos(f.cells::text, %(id_number)s::text) > 0);

-- name: forget_file_name
-- A file name that names the person.
UPDATE uploads SET file_name = 'erased.' || file_kind WHERE id = %(id)s;

-- name: forget_source
-- The stored file was removed, so the upload can't be run again.
UPDATE uploads SET source_key = NULL
WHERE id = %(id)s AND status IN ('completed', 'failed', 'cancelled');

-- name: unsent_files
-- Files that are no uploads, in the order of their ids: those coming in by parts that were begun before
-- the erasure was asked for, and those that were sent to be checked, which have no parts.
SELECT id, file_name, file_kind, parts, received,
       joining_until IS NOT NULL AND joining_until > now() AS is_joining
FROM partial_files
WHERE created_at <= %(asked_at)s AND (%(after)s::uuid IS NULL OR id > %(after)s)
UNION ALL
SELECT id, file_name, file_kind, NULL, NULL, false FROM file_checks AS c
WHERE (%(after)s::uuid IS NULL OR id > %(after)s)
  AND NOT EXISTS (SELECT FROM uploads WHERE uploads.id = c.id)
ORDER BY id;

-- name: forget_check
-- One of them, unless it was sent meanwhile: its row about the person will be refused.
DELETE FROM file_checks AS c
WHERE id = %(id)s AND NOT EXISTS (SELECT FROM uploads WHERE uploads.id = c.id);

-- name: forget_partial
-- One of them, unless parts have come in meanwhile or are being joined.
DELETE FROM partial_files
WHERE id = %(id)s AND received = %(received)s
  AND (joining_until IS NULL OR joining_until <= now());

-- name: note_looked
-- How far the files were looked through.
UPDATE erasures SET looked_to = %(looked_to)s, counts = %(counts)s WHERE id = %(id)s;

-- name: note_unsent
-- How far the files that aren't sent were looked through.
UPDATE erasures SET unsent_to = %(unsent_to)s, counts = %(counts)s WHERE id = %(id)s;

-- name: complete
-- Nothing of the person is left to look for. No row: there is a member again, or a record of which one
-- could be made, as an older version of Rollbook may do beside this one.
UPDATE erasures
SET status = 'completed', person = NULL, counts = %(counts)s, finished_at = clock_timestamp()
WHERE id = %(id)s AND status = 'pending'
  AND NOT EXISTS (SELECT FROM members WHERE id_number = %(id_number)s)
  AND NOT EXISTS (SELECT FROM member_changes WHERE id_number = %(id_number)s AND is_removed)
  AND NOT EXISTS (SELECT FROM member_joins WHERE gone = %(id_number)s);

-- name: begin_again
-- Exports were made meanwhile, so they are withdrawn again, and later uploads looked through.
UPDATE erasures SET withdrawn_at = NULL, begun_at = NULL, looked_to = 0
WHERE id = %(id)s AND status = 'pending';

-- name: clear_statistics
-- The planner's statistics hold some values of each column. ANALYZE leaves those of a table that is
-- empty now as they were.
SELECT count(pg_clear_attribute_stats(schemaname::text, tablename::text, attname::text, inherited))
FROM pg_stats
WHERE schemaname = current_schema()
  AND tablename IN (
    SELECT relname FROM pg_class
    WHERE oid = ANY(%(tables)s::regclass[])
       OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = ANY(%(tables)s::regclass[]))
  );
