-- What begins with FROM is counted by a dry run and deleted by a round, by the same condition.

-- name: last
-- The time of the last round.
SELECT max(ran_at) AS ran_at FROM purges;

-- name: note
-- Record what a round removed, and delete notes older than a year.
WITH old AS (DELETE FROM purges WHERE ran_at < %(now)s - interval '1 year')
INSERT INTO purges (ran_at, removed) VALUES (%(now)s, %(removed)s);

-- name: reports
-- A page of the uploads that have a report or refused rows in the store, newest first.
SELECT uploads.*, users.email AS owner_email
FROM uploads JOIN users ON users.id = owner_id
WHERE (report_key IS NOT NULL OR refused_key IS NOT NULL)
  AND (%(after)s::bigint IS NULL OR ordinal < %(after)s)
ORDER BY ordinal DESC LIMIT %(limit)s OFFSET %(offset)s;

-- name: reports_counted
-- Those of all pages.
SELECT FROM uploads WHERE report_key IS NOT NULL OR refused_key IS NOT NULL LIMIT %(most)s

-- name: reports_of
-- A page of the uploads in the reader's scope that have a report in the store and ended in a period,
-- newest first.
SELECT uploads.*, users.email AS owner_email
FROM uploads JOIN users ON users.id = owner_id
WHERE report_key IS NOT NULL AND finished_at IS NOT NULL
  AND (%(first)s::timestamptz IS NULL OR finished_at >= %(first)s)
  AND (%(until)s::timestamptz IS NULL OR finished_at < %(until)s)
  AND in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY ordinal DESC LIMIT %(limit)s OFFSET %(offset)s;

-- name: reports_of_counted
-- Those of all pages.
SELECT FROM uploads
WHERE report_key IS NOT NULL AND finished_at IS NOT NULL
  AND (%(first)s::timestamptz IS NULL OR finished_at >= %(first)s)
  AND (%(until)s::timestamptz IS NULL OR finished_at < %(until)s)
  AND in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s)
LIMIT %(most)s

-- name: sources_over
-- Files of failed uploads and dry runs whose retention has ended.
SELECT id, source_key, finished_at FROM uploads
WHERE source_key IS NOT NULL AND status IN ('completed', 'failed', 'cancelled')
  AND finished_at < %(before)s AND finished_at >= %(since)s
ORDER BY finished_at LIMIT %(limit)s;

-- name: forget_sources
-- Runs before the files are removed, and excludes uploads that are being retried at this moment.
UPDATE uploads SET source_key = NULL
FROM unnest(%(ids)s::uuid[], %(keys)s::text[]) AS found (id, source_key)
WHERE uploads.id = found.id AND uploads.source_key = found.source_key
  AND status IN ('completed', 'failed', 'cancelled') AND finished_at < %(before)s
RETURNING uploads.id;

-- name: reports_over
-- Uploads whose reports, refused rows and cells have reached the end of their retention. Uploads that
-- wait for the voter roll stay until it has answered.
SELECT id, report_key, refused_key, report_tables_key, finished_at FROM uploads
WHERE purged_at IS NULL AND finished_at < %(before)s AND finished_at >= %(since)s
  AND status IN ('completed', 'failed', 'cancelled') AND verification <> 'pending'
ORDER BY finished_at LIMIT %(limit)s;

-- name: forget_reports
-- Clear the stored files of uploads in the record, except their sources, not of those that were retried
-- since. is_purged: later rounds skip these uploads. A follow-up that can still be retried is read by
-- its grid, which holds no cells.
UPDATE uploads
SET purged_at = CASE WHEN %(is_purged)s THEN now() ELSE purged_at END,
    report_key = NULL, refused_key = NULL, report_tables_key = NULL,
    grid = CASE WHEN mends IS NOT NULL AND status <> 'completed' AND source_key IS NOT NULL
                THEN grid END
WHERE id = ANY(%(ids)s) AND status IN ('completed', 'failed', 'cancelled')
  AND verification <> 'pending'
RETURNING id;

-- name: by_index
-- The rows of some uploads are found by their ids: the planner, which may know few uploads with rows,
-- would read the whole table for each batch.
SET LOCAL enable_seqscan = off;

-- name: forget_cells
-- Keep each row's outcome; delete its cells and its changes of a member.
UPDATE upload_rows
SET problems = (SELECT jsonb_agg(problem || '{"value": null, "kept": null}')
                FROM jsonb_array_elements(problems) AS problem),
    member_id = NULL, changes = NULL
WHERE upload_id = ANY(%(ids)s) AND (jsonb_array_length(problems) > 0 OR changes IS NOT NULL);

-- name: rows_over
-- The rows of uploads whose outcomes have reached the end of their retention.
FROM upload_rows WHERE upload_id IN (
    SELECT id FROM uploads
    WHERE finished_at < %(before)s AND (rows_removed_at IS NULL OR rows_removed_at < finished_at)
      AND status IN ('completed', 'failed', 'cancelled') AND verification <> 'pending');

-- name: mark_without_rows
-- Mark the uploads whose rows are removed next: the oldest, up to some number of rows in all, and at
-- least one upload. Uploads that wait for the voter roll stay until it has answered.
WITH oldest AS (
    SELECT id, finished_at, COALESCE(rows_total, 0) AS rows FROM uploads
    WHERE finished_at < %(before)s AND (rows_removed_at IS NULL OR rows_removed_at < finished_at)
      AND status IN ('completed', 'failed', 'cancelled') AND verification <> 'pending'
    ORDER BY finished_at LIMIT %(uploads)s
), counted AS (
    SELECT id, sum(rows) OVER (ORDER BY finished_at, id) - rows AS rows_before FROM oldest
)
UPDATE uploads SET rows_removed_at = %(now)s, grid = NULL
FROM counted WHERE counted.id = uploads.id AND rows_before < %(rows)s AND finished_at < %(before)s
RETURNING uploads.id;

-- name: remove_rows
-- Their rows. An array of ids, because it is looked up in the index however large the table is.
DELETE FROM upload_rows WHERE upload_id = ANY(%(ids)s);

-- name: forget_verified
-- The ID numbers of the uploads' rows; the counts of what the roll said stay with the uploads.
DELETE FROM verifications WHERE upload_id = ANY(%(ids)s) AND result <> 'pending';

-- name: answers_over
-- Answers of the voter roll that have expired, unless an open upload relies on them.
FROM voter_roll_answers AS a
WHERE asked_at < %(before)s
  AND NOT EXISTS (SELECT FROM verifications AS v JOIN uploads ON uploads.id = v.upload_id
                  WHERE v.id_number = a.id_number
                    AND (uploads.verification = 'pending'
                         OR uploads.status IN ('pending', 'processing')));

-- name: end_undo
-- Mark uploads that can't be undone any more: their former values are deleted. A later change of the
-- settings has no effect on them.
UPDATE uploads SET changes_forgotten_at = %(now)s
WHERE status = 'completed' AND NOT dry_run AND finished_at < %(before)s
  AND changes_forgotten_at IS NULL;

-- name: before_values_over
-- Former values of members, of uploads that can't be undone any more or whose record is gone; also
-- those that a later edit by hand has added to such an upload.
FROM member_changes AS c
WHERE NOT EXISTS (SELECT FROM uploads WHERE uploads.id = c.upload_id
                    AND changes_forgotten_at IS NULL
                    AND COALESCE(finished_at, 'infinity') >= %(before)s);

-- name: before_values_of
-- The uploads whose former values these are, by a step in the index for each upload that has some.
WITH RECURSIVE held AS (
    (SELECT upload_id FROM member_changes ORDER BY upload_id LIMIT 1)
    UNION ALL
    SELECT (SELECT upload_id FROM member_changes WHERE upload_id > held.upload_id
            ORDER BY upload_id LIMIT 1)
    FROM held WHERE upload_id IS NOT NULL
)
SELECT upload_id FROM held
WHERE upload_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM uploads WHERE uploads.id = held.upload_id
                    AND changes_forgotten_at IS NULL
                    AND COALESCE(finished_at, 'infinity') >= %(before)s);

-- name: forget_before_values
-- Remove those of some uploads.
DELETE FROM member_changes WHERE upload_id = ANY(%(ids)s);

-- name: claims_over
-- The members in an upload's file. They are needed to undo earlier uploads, which can't be undone any
-- more either.
FROM upload_claims AS c
WHERE c.created_at < %(before)s
  AND NOT EXISTS (SELECT FROM uploads WHERE uploads.id = c.upload_id AND finished_at >= %(before)s);

-- name: kept_members_over
-- Old lists of members whom undoing left unchanged.
FROM undo_kept AS k
WHERE NOT EXISTS (SELECT FROM uploads WHERE uploads.id = k.upload_id AND undone_at >= %(before)s);

-- name: corrections_over
-- Old corrections by hand of people who are no members, and whose record nothing can bring back: neither
-- undoing a removal nor taking back a join.
FROM member_corrections AS c
WHERE c.at < %(before)s
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = c.id_number)
  AND NOT EXISTS (SELECT FROM member_changes AS b JOIN uploads ON uploads.id = b.upload_id
                  WHERE b.id_number = c.id_number AND changes_forgotten_at IS NULL
                    AND COALESCE(finished_at, 'infinity') >= %(undoable)s)
  AND NOT EXISTS (SELECT FROM member_joins AS j WHERE j.gone = c.id_number AND j.at >= %(undoable)s);

-- name: notifications_over
-- Old notifications: delivered, given up, or without a configured channel.
FROM notifications WHERE created_at < %(before)s;

-- name: owned
-- The stored files that are still needed: every file of an upload that hasn't ended or whose report may
-- be written again, and the files that the other uploads' records name.
SELECT id, COALESCE(verification = 'pending' OR status IN ('pending', 'processing')
                    OR finished_at > %(before)s, true) AS is_open,
       array_remove(ARRAY[source_key, report_key, refused_key, report_tables_key], NULL) AS keys
FROM uploads WHERE id = ANY(%(ids)s)
UNION ALL
-- A checked file, which may become an upload.
SELECT id, true, '{}' FROM file_checks WHERE id = ANY(%(ids)s);
