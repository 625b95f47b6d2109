-- name: upload
-- The upload, if it lies in the reader's scope.
SELECT uploads.*, users.email AS owner_email FROM uploads JOIN users ON users.id = owner_id
WHERE uploads.id = %(id)s
  AND in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: lock_upload
-- The same, locked; after its members, as merges and the voter roll's answers lock them.
SELECT uploads.*, users.email AS owner_email FROM uploads JOIN users ON users.id = owner_id
WHERE uploads.id = %(id)s
  AND in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s)
FOR UPDATE OF uploads;

-- name: plan_for_sets
-- As for a merge: room to sort and hash, and no loop over what has just been written.
SET LOCAL work_mem = '64MB';
SET LOCAL enable_nestloop = off;

-- name: lock_members
-- Lock every member whom the upload created or changed, in the order of the key, as merges do. This
-- waits for running merges, and later ones wait for this transaction.
SELECT count(*) AS members FROM (
    SELECT FROM members AS m
    WHERE created_by_upload = %(id)s
       OR m.id_number IN (SELECT id_number FROM member_changes WHERE upload_id = %(id)s)
    ORDER BY m.id_number FOR UPDATE
) AS locked;

-- name: unrecorded
-- Later uploads whose members weren't recorded: an older version of Rollbook merged them.
SELECT count(*)::int AS uploads FROM uploads AS later, uploads AS own
WHERE own.id = %(id)s AND later.id <> own.id AND later.finished_at >= own.finished_at
  AND later.status = 'completed' AND NOT later.dry_run AND later.undone_at IS NULL
  AND later.unchanged > 0
  AND (own.province IS NULL OR later.province IS NULL OR own.province = later.province)
  AND NOT EXISTS (SELECT FROM upload_claims WHERE upload_id = later.id);

-- name: find_claims
-- The members that later uploads claim. A created member is claimed by any row about the member, and a
-- changed one by a row that agrees with a changed field. An undone upload claims no members.
CREATE TEMPORARY TABLE claimed ON COMMIT DROP AS
WITH own AS (
    SELECT m.id_number, m.id_number::bigint AS person, c.before, jsonb_strip_nulls(to_jsonb(m)) AS after,
           m.created_by_upload = %(id)s AS is_created
    FROM members AS m
    LEFT JOIN member_changes AS c ON c.upload_id = %(id)s AND c.id_number = m.id_number
    WHERE m.changed_by_upload = %(id)s
), later AS (
    SELECT l.upload_id, l.ordinal, l.fields, claim.person, claim.filled
    FROM upload_claims AS l JOIN uploads AS u ON u.id = l.upload_id AND u.undone_at IS NULL,
         unnest(l.people, l.filled) AS claim(person, filled)
    WHERE l.upload_id <> %(id)s
      AND l.ordinal > COALESCE((SELECT ordinal FROM upload_claims WHERE upload_id = %(id)s), 0)
)
SELECT DISTINCT ON (own.id_number) own.id_number, later.upload_id
FROM own JOIN later USING (person)
WHERE own.is_created OR EXISTS (
    SELECT FROM unnest(later.fields) WITH ORDINALITY AS field(name, place)
    -- An own field is "own." and its name in the document of them.
    WHERE later.filled & (1::bigint << (place - 1)::int) <> 0
      AND CASE WHEN starts_with(name, 'own.')
               THEN own.before -> 'own_fields' -> substr(name, 5)
                    IS DISTINCT FROM own.after -> 'own_fields' -> substr(name, 5)
               ELSE own.before -> name IS DISTINCT FROM own.after -> name END
)
ORDER BY own.id_number, later.ordinal DESC;

-- name: decide
-- What happens to each of these members. It is a separate statement after the locks, so that it sees
-- the changes of the transactions it waited for. The rules in words: docs/how-to/undo.md.
CREATE TEMPORARY TABLE undoing ON COMMIT DROP AS
WITH orphans AS (
    -- Members whom the upload removed, and whose creation was undone since.
    SELECT c.id_number, c.id_number::bigint AS person, maker.finished_at
    FROM member_changes AS c
    JOIN uploads AS maker
      ON maker.id = (c.before ->> 'created_by_upload')::uuid AND maker.undone_at IS NOT NULL
    WHERE c.upload_id = %(id)s AND c.is_removed
), claims AS (
    SELECT claim.person, u.finished_at
    FROM upload_claims AS l JOIN uploads AS u ON u.id = l.upload_id AND u.undone_at IS NULL,
         unnest(l.people) AS claim(person)
    WHERE l.upload_id <> %(id)s AND EXISTS (SELECT FROM orphans)
), unwanted AS (
    -- Those of them whom no other file has confirmed after their creation.
    SELECT o.id_number FROM orphans AS o
    WHERE NOT EXISTS (SELECT FROM claims AS l
                      WHERE l.person = o.person AND l.finished_at > o.finished_at)
)
SELECT m.id_number, c.before,
       CASE WHEN m.changed_by_upload <> %(id)s OR l.id_number IS NOT NULL THEN 'later_upload'
            -- Only an edit leaves a change of a member whom the same upload created.
            WHEN m.created_by_upload = %(id)s AND c.id_number IS NOT NULL THEN 'edited'
            WHEN c.edited_at IS NOT NULL THEN 'edited'
            -- Somebody else's record was joined to this one: the person would be gone with it.
            WHEN m.created_by_upload = %(id)s
                 AND EXISTS (SELECT FROM member_joins AS j WHERE j.kept = m.id_number)
            THEN 'joined' END AS kept_because,
       CASE WHEN m.changed_by_upload <> %(id)s THEN m.changed_by_upload
            ELSE l.upload_id END AS later_upload,
       m.created_by_upload = %(id)s AS is_created, false AS is_removed, m.identity_country,
       m.identity_number
FROM members AS m
LEFT JOIN member_changes AS c ON c.upload_id = %(id)s AND c.id_number = m.id_number
LEFT JOIN claimed AS l ON l.id_number = m.id_number
WHERE m.created_by_upload = %(id)s OR c.id_number IS NOT NULL
UNION ALL
-- Members whom the upload removed, and who aren't back.
SELECT c.id_number, c.before, CASE WHEN w.id_number IS NOT NULL THEN 'creation_undone' END, NULL,
       false, true, c.before ->> 'identity_country', c.before ->> 'identity_number'
FROM member_changes AS c LEFT JOIN unwanted AS w ON w.id_number = c.id_number
WHERE c.upload_id = %(id)s AND c.is_removed
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = c.id_number);

-- name: analyze
-- Without statistics the planner assumes few rows.
ANALYZE undoing;

-- name: count
-- The number of each; ``gone`` are members whom the upload created or changed and who were deleted
-- since. A created member has no change of its own; the merge has counted them.
SELECT count(*) FILTER (WHERE kept_because IS NULL AND is_created) AS removed,
       count(*) FILTER (WHERE kept_because IS NULL AND NOT is_created) AS restored,
       count(*) FILTER (WHERE kept_because = 'later_upload') AS later_upload,
       count(*) FILTER (WHERE kept_because = 'edited') AS edited,
       count(*) FILTER (WHERE kept_because = 'joined') AS joined,
       count(*) FILTER (WHERE kept_because = 'creation_undone') AS creation_undone,
       (SELECT count(*) FROM member_changes AS c
        WHERE c.upload_id = %(id)s AND NOT c.is_removed
          AND c.before ->> 'created_by_upload' IS DISTINCT FROM %(id)s::text
          AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = c.id_number))
       + (SELECT GREATEST(0, u.inserted - (SELECT count(*) FROM members
                                           WHERE created_by_upload = u.id))
          FROM uploads AS u WHERE u.id = %(id)s) AS gone
FROM undoing;

-- name: say_that_we_undo
-- For this transaction: the following writes are no edits, and record no former values.
SET LOCAL rollbook.undoing = 'on';

-- name: remove
-- Delete members that exist only because of this upload.
DELETE FROM members AS m USING undoing AS u
WHERE u.id_number = m.id_number AND u.kept_because IS NULL AND u.is_created;

-- name: restore
-- Restore changed members, including the time of their last change; the voter roll's results stay.
UPDATE members AS m
SET (firstname, surname, date_of_birth, gender, citizenship, race, language, cell_number,
     landline_number, email, residential_address, occupation, qualification, province, region,
     municipality, ward, voting_station, voting_district, date_joined, last_payment, expiry_date,
     subscription, membership_amount, status, expiry_is_derived, own_fields, created_by_upload,
     changed_by_upload, created_at, changed_at)
  = ROW(b.firstname, b.surname, b.date_of_birth, b.gender, b.citizenship, b.race, b.language,
        b.cell_number, b.landline_number, b.email, b.residential_address, b.occupation,
        b.qualification, b.province, b.region, b.municipality, b.ward, b.voting_station,
        b.voting_district, b.date_joined, b.last_payment, b.expiry_date, b.subscription,
        b.membership_amount, b.status, b.expiry_is_derived, b.own_fields, b.created_by_upload,
        b.changed_by_upload, b.created_at, b.changed_at)
FROM undoing AS u CROSS JOIN LATERAL jsonb_populate_record(NULL::members, u.before) AS b
WHERE u.id_number = m.id_number AND u.kept_because IS NULL AND NOT u.is_created;

-- name: bring_back
-- Bring back the members whom the upload removed, with their whole record.
INSERT INTO members
SELECT b.* FROM undoing AS u
CROSS JOIN LATERAL jsonb_populate_record(NULL::members, u.before) AS b
WHERE u.is_removed AND u.kept_because IS NULL
ORDER BY u.id_number
ON CONFLICT (id_number) DO NOTHING;

-- name: forget_changes
-- Delete the upload's changes that were restored.
DELETE FROM member_changes AS c USING undoing AS u
WHERE c.upload_id = %(id)s AND c.id_number = u.id_number AND u.kept_because IS NULL;

-- name: withdraw_claim
-- An undone upload claims no members.
DELETE FROM upload_claims WHERE upload_id = %(id)s;

-- name: keep_list
-- Store the members left unchanged, with the reason and their passports: they may have changed, or be
-- gone, when the list is read.
INSERT INTO undo_kept (upload_id, id_number, reason, later_upload, identity_country, identity_number)
SELECT %(id)s, id_number, kept_because, later_upload, identity_country, identity_number
FROM undoing WHERE kept_because IS NOT NULL;

-- name: note_written
-- The members whom undoing has written, for their index (members/index.py).
INSERT INTO member_index_due (upload_id, people)
SELECT %(id)s, COALESCE(array_agg(id_number::bigint), '{}') FROM (
    SELECT id_number, (row_number() OVER () - 1) / 20000 AS line FROM undoing
    WHERE kept_because IS NULL) AS written
GROUP BY line;

-- name: mark
-- The upload is undone. No row means that it isn't completed, or that it was undone before.
UPDATE uploads SET undone_at = clock_timestamp(), undone_by = %(undone_by)s, undo_counts = %(counts)s,
                   indexed_at = NULL
WHERE id = %(id)s AND status = 'completed' AND NOT dry_run AND undone_at IS NULL
RETURNING *;

-- name: kept
-- A page of the members whom undoing the upload left unchanged.
SELECT id_number, reason, later_upload, identity_country, identity_number FROM undo_kept
WHERE upload_id = %(id)s ORDER BY id_number LIMIT %(limit)s OFFSET %(offset)s;

-- name: kept_counted
-- The members to count for it.
SELECT FROM undo_kept WHERE upload_id = %(id)s LIMIT %(most)s

-- name: would_keep
-- The same for an upload that isn't undone, computed now.
SELECT id_number, kept_because AS reason, later_upload, identity_country, identity_number
FROM undoing WHERE kept_because IS NOT NULL
ORDER BY id_number LIMIT %(limit)s OFFSET %(offset)s;

-- name: would_keep_counted
-- The members to count for it.
SELECT FROM undoing WHERE kept_because IS NOT NULL LIMIT %(most)s

-- name: kept_csv
-- All of them, as a file. The key of a member by passport is no ID number.
COPY (
    SELECT CASE WHEN length(id_number) = 13 THEN id_number END AS id_number, reason, later_upload,
           identity_number AS passport_number, identity_country AS passport_country
    FROM undo_kept WHERE upload_id = {upload_id} ORDER BY id_number
) TO STDOUT (FORMAT csv, HEADER);

-- name: would_keep_csv
-- The same for an upload that isn't undone.
COPY (
    SELECT CASE WHEN length(id_number) = 13 THEN id_number END AS id_number,
           kept_because AS reason, later_upload,
           identity_number AS passport_number, identity_country AS passport_country
    FROM undoing WHERE kept_because IS NOT NULL ORDER BY id_number
) TO STDOUT (FORMAT csv, HEADER);
