-- Everything that is held about one person, for the person. The first query finds the member in the
-- scope of who asked; the others read what belongs to the found member.

-- name: member
-- The member's record.
SELECT m.* FROM members AS m
WHERE m.id_number = (SELECT id_number FROM member_index WHERE member_id = %(member_id)s)
  AND m.member_id = %(member_id)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: changes
-- What the record was before uploads changed it.
SELECT changed_at, upload_id, edited_at, before FROM member_changes
WHERE id_number = %(id_number)s AND upload_id IN (SELECT id FROM uploads)
ORDER BY changed_at;

-- name: corrections
-- Corrections by hand.
SELECT at, reason, changes FROM member_corrections WHERE id_number = %(id_number)s ORDER BY id;

-- name: uploads
-- The uploads whose files are known to have held the person, and when they were sent by which office.
SELECT u.id AS upload_id, u.created_at AS sent_at, u.finished_at, u.province, u.municipality,
       u.dry_run, u.undone_at
FROM uploads AS u
WHERE u.id = %(created_by_upload)s
   OR EXISTS (SELECT FROM member_changes AS c
              WHERE c.upload_id = u.id AND c.id_number = %(id_number)s)
   OR EXISTS (SELECT FROM verifications AS v
              WHERE v.upload_id = u.id AND v.id_number = %(id_number)s)
   OR u.id IN (SELECT upload_id FROM upload_claims WHERE %(id_number)s::bigint = ANY(people))
ORDER BY u.ordinal;

-- name: rows
-- The rows of uploads that changed the record, or would have, with what is stored of their cells. They
-- are found first, each way by its index: with OR every row of every upload would be read.
SELECT r.upload_id, r.row_number, r.outcome, r.changes, r.problems
FROM upload_rows AS r
WHERE (r.upload_id, r.row_number) IN (
    SELECT upload_id, row_number FROM upload_rows WHERE member_id = %(member_id)s
    UNION SELECT upload_id, row_number FROM verifications WHERE id_number = %(id_number)s
    UNION SELECT %(created_by_upload)s::uuid, %(created_by_row)s::int)
ORDER BY r.upload_id, r.row_number;

-- name: roll
-- What the voter roll answered.
SELECT status, ward, voting_district, voting_station, municipality, province, asked_at
FROM voter_roll_answers WHERE id_number = %(id_number)s;

-- name: verifications
-- The result of each row that was compared with the voter roll.
SELECT upload_id, row_number, file_ward, result FROM verifications
WHERE id_number = %(id_number)s ORDER BY upload_id, row_number;

-- name: questions
-- Whether the voter roll is still to be asked.
SELECT due_at, failures, error FROM voter_roll_questions WHERE id_number = %(id_number)s;

-- name: kept
-- Undone uploads that left the record as it was.
SELECT upload_id, reason FROM undo_kept WHERE id_number = %(id_number)s ORDER BY upload_id;

-- name: notifications
-- Notifications about these uploads. They name the upload and its counts, and nobody.
SELECT n.upload_id, n.kind, n.channel, n.created_at, n.delivered_at FROM notifications AS n
WHERE n.upload_id = ANY(%(uploads)s) ORDER BY n.created_at;

-- name: audit
-- Acts on this member. The acting accounts are named by their role and place.
SELECT at, act, outcome, role, province, municipality, about FROM audit_entries
WHERE member_id = %(member_id)s ORDER BY id;

-- name: files
-- Exports that may hold the person and are still stored.
SELECT kind, format, created_at, expires_at FROM member_files
WHERE status = 'completed'
  AND (member_id = %(member_id)s
       OR kind = 'export' AND in_scope(%(province)s, %(municipality)s, province, municipality))
ORDER BY created_at;
