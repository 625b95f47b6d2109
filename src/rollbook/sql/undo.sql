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

-- name: makers
-- The uploads whose undoing decides whether and with which values this one's removed members come back,
-- and this one.
SELECT (before ->> maker)::uuid AS id
FROM member_changes, unnest(ARRAY['created_by_upload', 'changed_by_upload']) AS maker
WHERE upload_id = %(id)s AND is_removed
UNION SELECT %(id)s::uuid ORDER BY id;

-- name: find_records
-- The records that this upload has created: of members, and stored ones of people whom a list has
-- removed or a join has taken away. ``place_id`` is this upload, the list or the pair; claims up to
-- ``until`` are about the record, and later ones about a person who was created again.
CREATE TEMPORARY TABLE records ON COMMIT DROP AS
SELECT created_by_upload AS place_id, id_number, changed_by_upload AS changed_by,
       NULL::bigint AS until
FROM members WHERE created_by_upload = %(id)s
UNION ALL
SELECT c.upload_id, c.id_number, (c.before ->> 'changed_by_upload')::uuid, l.ordinal
FROM member_changes AS c LEFT JOIN upload_claims AS l USING (upload_id)
WHERE c.is_removed AND c.before ->> 'created_by_upload' = %(id)s::text
UNION ALL
SELECT id, gone, (record ->> 'changed_by_upload')::uuid, NULL
FROM member_joins WHERE record ->> 'created_by_upload' = %(id)s::text;

-- name: analyze_records
-- Without statistics the planner assumes few rows.
ANALYZE records;

-- name: find_stored
-- The stored records of people whom this upload has changed, and whom a list has removed or a join has
-- taken away since, with what they were before. ``kept_because``: the record stays as it is stored.
CREATE TEMPORARY TABLE stored ON COMMIT DROP AS
WITH own AS MATERIALIZED (
    SELECT * FROM member_changes
    WHERE upload_id = %(id)s AND NOT is_removed AND before ->> 'created_by_upload' <> %(id)s::text
), records_of AS (
    SELECT upload_id AS place_id, id_number, before AS record, ordinal AS until
    FROM member_changes LEFT JOIN upload_claims USING (upload_id)
    WHERE is_removed AND is_unwanted IS NOT TRUE
    UNION ALL
    SELECT id, gone, record, NULL FROM member_joins WHERE is_unwanted IS NOT TRUE
)
SELECT r.*, own.before,
       -- Ids and the voter roll's results, which former values lack, stay.
       own.before || jsonb_strip_nulls(jsonb_build_object(
           'member_id', r.record -> 'member_id', 'roll_status', r.record -> 'roll_status',
           'roll_ward', r.record -> 'roll_ward', 'roll_asked_at', r.record -> 'roll_asked_at',
           'roll_voting_district', r.record -> 'roll_voting_district')) AS restored,
       CASE WHEN later.id IS NOT NULL THEN 'later_upload'
            WHEN own.edited_at IS NOT NULL THEN 'edited' END AS kept_because,
       later.id AS later_upload
FROM own JOIN records_of AS r USING (id_number)
CROSS JOIN LATERAL (
    SELECT NULLIF((r.record ->> 'changed_by_upload')::uuid, %(id)s::uuid) AS id) AS later
-- A person who was created again since has another record.
WHERE r.record ->> 'created_by_upload' = own.before ->> 'created_by_upload';

-- name: find_claims
-- The records that later uploads claim. A created one is claimed by any row about the person, and a
-- changed one by a row that agrees with a changed field. An undone upload claims no members.
CREATE TEMPORARY TABLE claimed ON COMMIT DROP AS
WITH own AS (
    SELECT r.place_id, r.id_number, r.id_number::bigint AS person, NULL::jsonb AS before,
           NULL::jsonb AS after, true AS is_created, r.until
    FROM records AS r
    UNION ALL
    SELECT %(id)s::uuid, m.id_number, m.id_number::bigint, c.before,
           jsonb_strip_nulls(to_jsonb(m)), false, NULL
    FROM members AS m JOIN member_changes AS c ON c.upload_id = %(id)s AND c.id_number = m.id_number
    WHERE m.changed_by_upload = %(id)s AND m.created_by_upload <> %(id)s
    UNION ALL
    SELECT place_id, id_number, id_number::bigint, before, record, false, until
    FROM stored WHERE later_upload IS NULL
), later AS (
    SELECT l.upload_id, l.ordinal, l.fields, claim.person, claim.filled
    FROM upload_claims AS l JOIN uploads AS u ON u.id = l.upload_id AND u.undone_at IS NULL,
         unnest(l.people, l.filled) AS claim(person, filled)
    WHERE l.upload_id <> %(id)s
      AND l.ordinal > COALESCE((SELECT ordinal FROM upload_claims WHERE upload_id = %(id)s), 0)
)
SELECT DISTINCT ON (own.place_id, own.id_number) own.place_id, own.id_number, later.upload_id
FROM own JOIN later USING (person)
WHERE (own.until IS NULL OR later.ordinal < own.until) AND (own.is_created OR EXISTS (
    SELECT FROM unnest(later.fields) WITH ORDINALITY AS field(name, place)
    -- An own field is "own." and its name in the document of them.
    WHERE later.filled & (1::bigint << (place - 1)::int) <> 0
      AND CASE WHEN starts_with(name, 'own.')
               THEN own.before -> 'own_fields' -> substr(name, 5)
                    IS DISTINCT FROM own.after -> 'own_fields' -> substr(name, 5)
               ELSE own.before -> name IS DISTINCT FROM own.after -> name END
))
ORDER BY own.place_id, own.id_number, later.ordinal DESC;

-- name: keep_claimed
-- The stored records that a later upload claims stay as they are.
UPDATE stored AS s SET kept_because = 'later_upload', later_upload = l.upload_id
FROM claimed AS l WHERE l.place_id = s.place_id AND l.id_number = s.id_number;

-- name: find_held
-- Why each record stays that this upload has created; null: nothing else holds it. It is one rule for
-- members and stored records, so that the order in which uploads are undone loses nobody. The rule in
-- words: docs/how-to/undo.md.
CREATE TEMPORARY TABLE held ON COMMIT DROP AS
WITH unclear AS MATERIALIZED (
    -- The last upload that changed these is undone; an earlier one may stand.
    SELECT r.place_id, r.id_number
    FROM records AS r JOIN uploads AS u ON u.id = r.changed_by AND u.undone_at IS NOT NULL
    WHERE r.changed_by <> %(id)s
), changes AS MATERIALIZED (
    SELECT r.place_id, r.id_number, bool_or(c.edited_at IS NOT NULL) AS is_edited,
           (array_agg(c.upload_id ORDER BY c.changed_at DESC)
            FILTER (WHERE u.undone_at IS NULL))[1] AS upload_id
    FROM unclear AS r JOIN member_changes AS c USING (id_number)
    LEFT JOIN uploads AS u ON u.id = c.upload_id
    WHERE c.upload_id <> %(id)s AND NOT c.is_removed
      AND c.before ->> 'created_by_upload' = %(id)s::text
    GROUP BY r.place_id, r.id_number
), reasons AS (
    SELECT r.place_id, r.id_number,
           CASE WHEN r.changed_by <> %(id)s AND un.id_number IS NULL THEN r.changed_by
                ELSE COALESCE(l.upload_id, ch.upload_id) END AS later_upload,
           -- Only an edit leaves a change of a member whom the same upload created.
           (NOT own.is_removed OR own.edited_at IS NOT NULL OR ch.is_edited) IS TRUE AS is_edited,
           -- Somebody else's record was joined to this one: the person would be gone with it.
           EXISTS (SELECT FROM member_joins AS j WHERE j.kept = r.id_number) AS is_joined
    FROM records AS r
    LEFT JOIN unclear AS un USING (place_id, id_number)
    LEFT JOIN changes AS ch USING (place_id, id_number)
    LEFT JOIN claimed AS l USING (place_id, id_number)
    LEFT JOIN member_changes AS own ON own.upload_id = %(id)s AND own.id_number = r.id_number
)
SELECT place_id, id_number, later_upload,
       CASE WHEN later_upload IS NOT NULL THEN 'later_upload' WHEN is_edited THEN 'edited'
            WHEN is_joined THEN 'joined' END AS kept_because
FROM reasons;

-- name: find_successors
-- The first later record of each person whom this list has removed and a later file has created again:
-- that of the member, or one that a later list has removed or a later join has taken away.
CREATE TEMPORARY TABLE successors ON COMMIT DROP AS
WITH removed AS MATERIALIZED (
    SELECT id_number FROM member_changes WHERE upload_id = %(id)s AND is_removed
), records_of AS (
    SELECT m.id_number, NULL::uuid AS place_id, m.created_by_upload AS created_by,
           m.changed_by_upload AS changed_by, NULL::bigint AS ordinal, false AS is_unwanted
    FROM members AS m JOIN removed USING (id_number)
    UNION ALL
    SELECT c.id_number, c.upload_id, (c.before ->> 'created_by_upload')::uuid,
           c.upload_id, l.ordinal, c.is_unwanted IS TRUE
    FROM member_changes AS c JOIN removed USING (id_number)
    JOIN upload_claims AS l ON l.upload_id = c.upload_id
    WHERE c.is_removed AND c.upload_id <> %(id)s
    UNION ALL
    SELECT j.gone, j.id, l.upload_id, l.upload_id, l.ordinal, false
    FROM member_joins AS j JOIN removed ON removed.id_number = j.gone
    JOIN upload_claims AS l ON l.upload_id = (j.record ->> 'created_by_upload')::uuid
)
SELECT DISTINCT ON (id_number) * FROM records_of
WHERE ordinal IS NULL
   OR ordinal > COALESCE((SELECT ordinal FROM upload_claims WHERE upload_id = %(id)s), 0)
ORDER BY id_number, ordinal NULLS LAST;

-- name: decide
-- What happens to each of these members. It is a separate statement after the locks, so that it sees
-- the changes of the transactions it waited for. ``comes_back``: the stored record becomes a member's
-- again, also in the place of one that this upload has created.
CREATE TEMPORARY TABLE undoing ON COMMIT DROP AS
SELECT m.id_number, c.before,
       CASE WHEN m.created_by_upload = %(id)s THEN h.kept_because
            WHEN m.changed_by_upload <> %(id)s OR l.id_number IS NOT NULL THEN 'later_upload'
            WHEN c.edited_at IS NOT NULL THEN 'edited' END AS kept_because,
       CASE WHEN m.created_by_upload = %(id)s THEN h.later_upload
            WHEN m.changed_by_upload <> %(id)s THEN m.changed_by_upload
            ELSE l.upload_id END AS later_upload,
       m.created_by_upload = %(id)s AS is_created,
       (c.is_removed AND c.is_unwanted IS NOT TRUE) IS TRUE AS comes_back, m.identity_country,
       m.identity_number
FROM members AS m
LEFT JOIN member_changes AS c ON c.upload_id = %(id)s AND c.id_number = m.id_number
LEFT JOIN claimed AS l ON l.place_id = %(id)s AND l.id_number = m.id_number
LEFT JOIN held AS h ON h.place_id = %(id)s AND h.id_number = m.id_number
WHERE m.created_by_upload = %(id)s OR c.id_number IS NOT NULL
UNION ALL
-- Members whom the upload removed, and who aren't back.
SELECT c.id_number, c.before,
       CASE WHEN c.is_unwanted THEN 'creation_undone'
            WHEN s.id_number IS NOT NULL THEN 'later_upload' END,
       CASE WHEN c.is_unwanted IS NOT TRUE THEN s.changed_by END,
       false, true, c.before ->> 'identity_country', c.before ->> 'identity_number'
FROM member_changes AS c LEFT JOIN successors AS s ON s.id_number = c.id_number
WHERE c.upload_id = %(id)s AND c.is_removed
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = c.id_number)
  AND NOT EXISTS (SELECT FROM records AS r WHERE r.id_number = c.id_number)
UNION ALL
-- Members whom it changed, and who aren't members any more.
(SELECT DISTINCT ON (s.id_number) s.id_number, s.before, s.kept_because, s.later_upload, false, false,
        s.before ->> 'identity_country', s.before ->> 'identity_number'
 FROM stored AS s
 WHERE NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = s.id_number)
 ORDER BY s.id_number, s.kept_because NULLS FIRST);

-- name: analyze
-- Without statistics the planner assumes few rows.
ANALYZE undoing;

-- name: count
-- The number of each; ``gone`` are members whom the upload created or changed and who were deleted
-- since. A created member has no change of its own; the merge has counted them.
SELECT count(*) FILTER (WHERE kept_because IS NULL AND is_created AND NOT comes_back) AS removed,
       count(*) FILTER (WHERE kept_because IS NULL AND (comes_back OR NOT is_created)) AS restored,
       count(*) FILTER (WHERE kept_because = 'later_upload') AS later_upload,
       count(*) FILTER (WHERE kept_because = 'edited') AS edited,
       count(*) FILTER (WHERE kept_because = 'joined') AS joined,
       count(*) FILTER (WHERE kept_because = 'creation_undone') AS creation_undone,
       (SELECT count(*) FROM member_changes AS c
        WHERE c.upload_id = %(id)s AND NOT c.is_removed
          AND c.before ->> 'created_by_upload' IS DISTINCT FROM %(id)s::text
          AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = c.id_number)
          AND NOT EXISTS (SELECT FROM stored AS s WHERE s.id_number = c.id_number))
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
WHERE u.id_number = m.id_number AND u.kept_because IS NULL AND NOT u.is_created AND NOT u.comes_back;

-- name: restore_stored
-- Likewise the stored records of those who aren't members any more.
UPDATE member_changes AS c SET before = s.restored
FROM stored AS s
WHERE s.kept_because IS NULL AND c.is_removed AND c.upload_id = s.place_id
  AND c.id_number = s.id_number;

-- name: restore_joined
-- The same of joins.
UPDATE member_joins AS j SET record = s.restored
FROM stored AS s WHERE s.kept_because IS NULL AND j.id = s.place_id;

-- name: bring_back
-- Bring back the members whom the upload removed or created again, with their whole record.
INSERT INTO members
SELECT b.* FROM undoing AS u
CROSS JOIN LATERAL jsonb_populate_record(NULL::members, u.before) AS b
WHERE u.comes_back AND u.kept_because IS NULL
ORDER BY u.id_number
ON CONFLICT (id_number) DO NOTHING;

-- name: note_unwanted
-- Of the stored records that this upload has created and nothing else holds: the record that was there
-- before takes the place, or none comes back. Undoing the list, and taking the join back, only read it.
UPDATE member_changes AS c
SET before = COALESCE(former.before, c.before),
    is_unwanted = CASE WHEN former.before IS NULL THEN true END
FROM held AS h
LEFT JOIN member_changes AS former ON former.upload_id = %(id)s AND former.id_number = h.id_number
     AND former.is_removed AND former.is_unwanted IS NOT TRUE
WHERE h.kept_because IS NULL AND c.is_removed AND c.upload_id = h.place_id
  AND c.id_number = h.id_number;

-- name: note_unwanted_joins
-- The same of joins.
UPDATE member_joins AS j
SET record = COALESCE(former.before, j.record),
    is_unwanted = CASE WHEN former.before IS NULL THEN true END
FROM held AS h
LEFT JOIN member_changes AS former ON former.upload_id = %(id)s AND former.id_number = h.id_number
     AND former.is_removed AND former.is_unwanted IS NOT TRUE
WHERE h.kept_because IS NULL AND j.id = h.place_id;

-- name: replace_unwanted
-- A later list has removed a record that doesn't come back: it gets this list's in its place.
UPDATE member_changes AS c SET before = own.before, is_unwanted = NULL
FROM member_changes AS own JOIN successors AS s USING (id_number)
WHERE own.upload_id = %(id)s AND own.is_removed AND own.is_unwanted IS NOT TRUE
  AND s.is_unwanted AND c.is_removed AND c.upload_id = s.place_id AND c.id_number = s.id_number;

-- name: hand_over
-- The records of people whom a later upload has created again are what was there before that upload:
-- undoing it brings them back.
UPDATE member_changes AS c SET upload_id = s.created_by
FROM successors AS s
WHERE c.upload_id = %(id)s AND c.is_removed AND c.is_unwanted IS NOT TRUE
  AND c.id_number = s.id_number AND NOT s.is_unwanted
  AND NOT EXISTS (SELECT FROM member_changes AS other
                  WHERE other.upload_id = s.created_by AND other.id_number = c.id_number);

-- name: forget_changes
-- Delete the upload's changes that were restored.
DELETE FROM member_changes AS c
WHERE c.upload_id = %(id)s
  AND c.id_number IN (SELECT id_number FROM undoing WHERE kept_because IS NULL
                      UNION SELECT id_number FROM held WHERE kept_because IS NULL);

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
