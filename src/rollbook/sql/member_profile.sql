-- One member, always within the reader's scope.

-- name: by_index
-- The member of this id.
SELECT m.* FROM member_index AS i JOIN members AS m USING (id_number)
WHERE i.member_id = %(member_id)s AND m.member_id = %(member_id)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: by_due
-- The same among the members who are to be indexed.
SELECT m.* FROM member_index_due AS d CROSS JOIN LATERAL unnest(d.people) AS person
JOIN members AS m ON m.id_number = lpad(person::text, GREATEST(13, length(person::text)), '0')
WHERE m.member_id = %(member_id)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
LIMIT 1;

-- name: by_reading_all
-- The same without an index, while it is being filled.
SELECT m.* FROM members AS m
WHERE m.member_id = %(member_id)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: one_moment
-- All statements of this transaction see the same.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: uploads_of
-- The uploads of the reader's scope that held the member and how, the latest first: they created or
-- changed the member, or their file held the member's row and nothing of it was new.
WITH changed AS MATERIALIZED (
    SELECT c.upload_id, c.before FROM uploads AS u
    JOIN member_changes AS c ON c.upload_id = u.id AND c.id_number = %(id_number)s
    WHERE u.status = 'completed' AND u.changes_forgotten_at IS NULL
), places AS MATERIALIZED (
    -- Where the member is and was. A correction of the place by hand leaves open where that was.
    SELECT province, municipality FROM members WHERE id_number = %(id_number)s
    UNION SELECT before ->> 'province', before ->> 'municipality' FROM changed
    UNION SELECT NULL, NULL FROM member_corrections
    WHERE id_number = %(id_number)s AND changes ?| ARRAY['province', 'municipality']
), able AS MATERIALIZED (
    -- The uploads that could hold the member, as a merge decides it. The people of all others, some
    -- hundred megabytes in a large organisation, aren't looked at.
    SELECT u.id FROM upload_claims AS k JOIN uploads AS u ON u.id = k.upload_id
    WHERE in_scope(u.province, u.municipality, %(scope_province)s, %(scope_municipality)s)
      AND EXISTS (SELECT FROM places AS p
                  WHERE takes_from_nobody(p.province, p.municipality, u.province, u.municipality))
), held AS (
    SELECT %(created_by_upload)s::uuid AS upload_id, 'created' AS how
    UNION ALL SELECT upload_id, 'changed' FROM changed
    UNION ALL SELECT upload_id, 'confirmed' FROM able JOIN upload_claims ON upload_id = able.id
    WHERE %(id_number)s::bigint = ANY(people)
), first AS (
    SELECT DISTINCT ON (upload_id) upload_id, how FROM held
    ORDER BY upload_id, array_position(ARRAY['created', 'changed', 'confirmed'], how)
)
SELECT u.id AS job_id, u.file_name, u.finished_at, u.undone_at, first.how,
       CASE first.how WHEN 'created' THEN %(created_by_row)s::int
            ELSE (SELECT min(row_number) FROM upload_rows AS r
                  WHERE r.upload_id = u.id AND r.member_id = %(member_id)s) END AS row_number
FROM first JOIN uploads AS u ON u.id = first.upload_id
WHERE in_scope(u.province, u.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY u.ordinal DESC LIMIT 500;

-- name: state
-- The member as a document, in the form of the former values of member_changes.
SELECT jsonb_strip_nulls(to_jsonb(m)) AS state FROM members AS m
WHERE m.id_number = %(id_number)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: changes_of
-- What the member was before each upload that changed the member, and the upload's row; of a member
-- whom `by_index` has found. What is no upload of the reader's scope has no id.
SELECT c.changed_at AS at, c.before,
       u.id = %(created_by_upload)s AND NOT c.is_removed AS is_edit,
       CASE WHEN shown.it THEN u.id END AS job_id,
       CASE WHEN shown.it THEN (
           SELECT min(row_number) FROM upload_rows AS r
           WHERE r.upload_id = u.id AND r.member_id = %(member_id)s) END AS row_number
FROM uploads AS u JOIN member_changes AS c ON c.upload_id = u.id AND c.id_number = %(id_number)s
CROSS JOIN LATERAL (SELECT in_scope(u.province, u.municipality, %(scope_province)s,
                                    %(scope_municipality)s) AS it) AS shown
WHERE u.status = 'completed' AND u.changes_forgotten_at IS NULL
ORDER BY c.changed_at;

-- name: shown
-- Those of these uploads that are of the reader's scope.
SELECT id FROM uploads
WHERE id = ANY(%(ids)s)
  AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s);

-- name: corrections_of
-- The member's corrections by hand. Who made one is said where the account is of the reader's scope.
SELECT c.at, c.reason, c.changes,
       CASE WHEN in_scope(u.province, u.municipality, %(scope_province)s, %(scope_municipality)s)
            THEN c.email END AS by
FROM member_corrections AS c LEFT JOIN users AS u ON u.id = c.user_id
WHERE c.id_number = %(id_number)s ORDER BY c.id;

-- name: bound_lock
-- For this transaction: how long it waits for a member whom a merge has locked.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true);

-- name: lock
-- The member as a document, locked; no row where somebody else has changed it since it was read.
SELECT jsonb_strip_nulls(to_jsonb(m)) AS state FROM members AS m
WHERE m.id_number = %(id_number)s AND m.changed_at = %(changed_at)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
FOR UPDATE;

-- name: correct
-- Write fields that were corrected or filled by hand. The upload that changed the member last stays
-- named: the trigger notes the edit with it, and undoing it leaves the member alone.
UPDATE members AS m SET ({fields}) = ROW({values}),
       changed_at = GREATEST(clock_timestamp(), m.changed_at + interval '1 microsecond')
WHERE m.id_number = {id_number}
  AND in_scope(m.province, m.municipality, {scope_province}, {scope_municipality})
RETURNING m.*, jsonb_strip_nulls(to_jsonb(m)) AS state;

-- name: note_correction
-- What was corrected, by whom and why; former and new values by field.
INSERT INTO member_corrections (id_number, at, user_id, email, reason, changes)
VALUES (%(id_number)s, %(at)s, %(user_id)s, %(email)s, %(reason)s, %(changes)s);
