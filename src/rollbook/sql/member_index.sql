-- The index of members: which are due, and writing their lines. Only the background round of
-- members/index.py and acts on one member run these.

-- name: state
-- Up to which ID number the index is filled; null: it is complete.
SELECT filled_to FROM member_index_state;

-- name: behind
-- The number of completed uploads whose members aren't indexed yet, and whether the index is being
-- filled.
SELECT (SELECT count(*)::int FROM uploads
        WHERE status = 'completed' AND NOT dry_run
          AND (indexed_at IS NULL OR undone_at > indexed_at)) AS uploads,
       (SELECT filled_to IS NOT NULL FROM member_index_state) AS is_filling;

-- name: next
-- The next members by ID number, to be indexed when the index is filled.
SELECT id_number FROM members WHERE id_number > %(after)s ORDER BY id_number LIMIT %(rows)s;

-- name: delete_gone_between
-- Delete the lines of those who are no members, from one ID number to another; null: to the last.
DELETE FROM member_index AS i
WHERE id_number > %(after)s AND id_number <= COALESCE(%(until)s, '~')
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = i.id_number);

-- name: filled
-- The index is filled up to an ID number; null: it is complete.
UPDATE member_index_state SET filled_to = %(until)s;

-- name: take_due
-- The next members who are to be indexed, and whether this was the last line of their upload.
WITH taken AS (
    DELETE FROM member_index_due WHERE id = (SELECT min(id) FROM member_index_due)
    RETURNING id, upload_id, people
)
SELECT upload_id, people,
       NOT EXISTS (SELECT FROM member_index_due AS d
                   WHERE d.upload_id = taken.upload_id AND d.id <> taken.id) AS is_last
FROM taken;

-- name: delete_gone
-- Delete the lines of those of these people who are no members.
DELETE FROM member_index AS i
WHERE id_number = ANY (%(id_numbers)s)
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = i.id_number);

-- name: write
-- Write the lines of these people; those that are right stay as they are.
INSERT INTO member_index AS i (id_number, member_id, province, municipality, name, lexemes)
SELECT id_number, member_id, province, lower(municipality), member_name(firstname, surname),
       search_lexemes(firstname, surname, cell_number, landline_number, email, province,
                      municipality, ward)
FROM members WHERE id_number = ANY (%(id_numbers)s)
ON CONFLICT (id_number) DO UPDATE
SET (member_id, province, municipality, name, lexemes)
  = ROW(excluded.member_id, excluded.province, excluded.municipality, excluded.name,
        excluded.lexemes)
WHERE (i.member_id, i.province, i.municipality, i.name, i.lexemes)
      IS DISTINCT FROM (excluded.member_id, excluded.province, excluded.municipality,
                        excluded.name, excluded.lexemes);

-- name: look_for_duplicates
-- Members among whom duplicates are to be looked for (members/duplicates.py).
INSERT INTO duplicates_due (people) VALUES (%(people)s::bigint[]);

-- name: mark
-- The upload's members are indexed. Undoing it afterwards makes it due again.
UPDATE uploads SET indexed_at = GREATEST(clock_timestamp(), undone_at) WHERE id = %(upload_id)s;

-- name: unnoted
-- Completed uploads that noted nobody: an older version of Rollbook merged or undid them. Their
-- members are found by filling the index from the beginning.
UPDATE uploads SET indexed_at = GREATEST(clock_timestamp(), undone_at)
WHERE status = 'completed' AND NOT dry_run AND (indexed_at IS NULL OR undone_at > indexed_at)
  AND NOT EXISTS (SELECT FROM member_index_due AS d WHERE d.upload_id = uploads.id);

-- name: refill
-- Fill the index from the beginning.
UPDATE member_index_state SET filled_to = '';
