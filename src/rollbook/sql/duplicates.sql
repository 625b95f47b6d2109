-- Possible duplicates: finding pairs after merges (members/duplicates.py), and what becomes of them.

-- name: due
-- The next groups of members to look at; null: there are none.
SELECT array_agg(id) AS groups FROM (SELECT id FROM duplicates_due ORDER BY id LIMIT %(most)s) AS d;

-- name: done
-- They were looked at.
DELETE FROM duplicates_due WHERE id = ANY(%(groups)s);

-- name: bound
-- For this transaction: room to hash, and no loop over all members.
SELECT set_config('work_mem', '64MB', true), set_config('enable_nestloop', 'off', true);

-- name: candidates
-- Pairs of one of these people with any member that share a birth date and the beginning of a name; or
-- the name, and an ID number but for the birth date; or a phone number. A block of many says nothing
-- of one of them and is left out, so that their pairs can't be as many as their square. Members are
-- read once for each of the three kinds, however many are due; what is joined may be on disk.
WITH due AS MATERIALIZED (
    SELECT id_number, firstname, surname, date_of_birth, cell_number FROM members
    WHERE id_number IN (
        SELECT lpad(person::text, GREATEST(13, length(person::text)), '0')
        FROM duplicates_due AS d CROSS JOIN unnest(d.people) AS person WHERE d.id = ANY(%(groups)s))
), same_day AS MATERIALIZED (
    SELECT m.id_number, m.date_of_birth, m.firstname, m.surname,
           left(search_folded(m.firstname), 3) AS first, left(search_folded(m.surname), 3) AS last,
           due.id_number IS NOT NULL AS is_due
    FROM members AS m LEFT JOIN due USING (id_number)
    WHERE m.date_of_birth IN (SELECT date_of_birth FROM due)
), beginnings AS MATERIALIZED (
    SELECT id_number, date_of_birth, first AS beginning, firstname, surname, is_due FROM same_day
    UNION ALL
    SELECT id_number, date_of_birth, last, firstname, surname, is_due FROM same_day
    WHERE last IS DISTINCT FROM first
), blocks AS MATERIALIZED (
    SELECT date_of_birth, beginning FROM beginnings GROUP BY date_of_birth, beginning
    HAVING bool_or(is_due) AND count(*) BETWEEN 2 AND %(most_per_block)s
), same_phone AS MATERIALIZED (
    SELECT id_number, firstname, surname, cell_number,
           count(*) OVER (PARTITION BY cell_number) AS members
    FROM members WHERE cell_number IN (SELECT cell_number FROM due)
)
SELECT LEAST(one.id_number, other.id_number) AS one, GREATEST(one.id_number, other.id_number) AS other,
       'birth' AS block, concat_ws(' ', one.firstname, one.surname) AS one_name,
       concat_ws(' ', other.firstname, other.surname) AS other_name
FROM blocks JOIN beginnings AS one USING (date_of_birth, beginning)
JOIN beginnings AS other USING (date_of_birth, beginning)
-- Of two who are due, one is enough.
WHERE one.is_due AND one.id_number <> other.id_number
  AND (one.id_number < other.id_number OR NOT other.is_due)
UNION ALL
SELECT LEAST(due.id_number, m.id_number), GREATEST(due.id_number, m.id_number), 'number',
       concat_ws(' ', due.firstname, due.surname), concat_ws(' ', m.firstname, m.surname)
FROM due JOIN members AS m
  ON substr(due.id_number, 7, 6) = substr(m.id_number, 7, 6)
 AND lower(due.surname) = lower(m.surname) AND lower(due.firstname) = lower(m.firstname)
WHERE due.id_number <> m.id_number AND length(due.id_number) = 13
  AND due.date_of_birth <> m.date_of_birth
UNION ALL
SELECT LEAST(due.id_number, m.id_number), GREATEST(due.id_number, m.id_number), 'phone',
       concat_ws(' ', due.firstname, due.surname), concat_ws(' ', m.firstname, m.surname)
FROM due JOIN same_phone AS m USING (cell_number)
WHERE due.id_number <> m.id_number AND m.members <= %(most_per_phone)s;

-- name: close_joined
-- Open pairs of these people that were joined before are joined again, as far as they aren't found
-- again: the record that went stays, and comes back by hand if the file that has created the person
-- again is undone.
WITH due AS MATERIALIZED (
    SELECT lpad(person::text, GREATEST(13, length(person::text)), '0') AS id_number
    FROM duplicates_due AS d CROSS JOIN unnest(d.people) AS person WHERE d.id = ANY(%(groups)s)
)
UPDATE member_duplicates AS d SET status = 'joined', decided_at = j.at
FROM member_joins AS j
WHERE j.id = d.id AND d.status = 'open'
  AND (d.one IN (SELECT id_number FROM due) OR d.other IN (SELECT id_number FROM due));

-- name: forget_open
-- Other open pairs of these people are found again, or aren't pairs any more.
WITH due AS MATERIALIZED (
    SELECT lpad(person::text, GREATEST(13, length(person::text)), '0') AS id_number
    FROM duplicates_due AS d CROSS JOIN unnest(d.people) AS person WHERE d.id = ANY(%(groups)s)
)
DELETE FROM member_duplicates
WHERE status = 'open'
  AND (one IN (SELECT id_number FROM due) OR other IN (SELECT id_number FROM due));

-- name: note
-- The pairs that were found. A decision stays, but a person who was joined and is a member again is a
-- new question.
INSERT INTO member_duplicates AS d (one, other, why, score)
SELECT * FROM unnest(%(one)s::text[], %(other)s::text[], %(why)s::text[], %(score)s::real[])
ON CONFLICT (one, other) DO UPDATE
SET status = 'open', why = excluded.why, score = excluded.score, found_at = now(), decided_at = NULL,
    decided_by = NULL
WHERE d.status = 'joined';

-- name: place_again
-- Pairs that were decided keep that, and are in the list of where both members are now: a person who
-- went may be a member again elsewhere. Who only moves is seen to by a trigger.
UPDATE member_duplicates AS d SET status = d.status
FROM unnest(%(one)s::text[], %(other)s::text[]) AS found (one, other)
WHERE (d.one, d.other) = (found.one, found.other) AND d.status = 'different';

-- name: page
-- A page of the open or different pairs of the reader's scope, the likeliest first. The place finds
-- them by an index; the members themselves decide.
SELECT d.*, to_jsonb(a) AS one_member, to_jsonb(b) AS other_member,
       NULL::uuid AS kept
FROM member_duplicates AS d
JOIN members AS a ON a.id_number = d.one JOIN members AS b ON b.id_number = d.other
WHERE d.status = %(status)s AND {why} AND {place}
  AND in_scope(a.province, a.municipality, %(scope_province)s, %(scope_municipality)s)
  AND in_scope(b.province, b.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY d.score DESC, d.id LIMIT %(limit)s OFFSET %(offset)s;

-- name: any_why
true

-- name: this_why
d.why = %(why)s

-- name: any_place
true

-- name: this_province
d.province = %(scope_province)s

-- name: this_municipality
d.province = %(scope_province)s AND d.municipality = lower(%(scope_municipality)s)

-- name: page_counted
-- Those of all pages.
SELECT FROM member_duplicates AS d
JOIN members AS a ON a.id_number = d.one JOIN members AS b ON b.id_number = d.other
WHERE d.status = %(status)s AND {why} AND {place}
  AND in_scope(a.province, a.municipality, %(scope_province)s, %(scope_municipality)s)
  AND in_scope(b.province, b.municipality, %(scope_province)s, %(scope_municipality)s)
LIMIT %(most)s

-- name: joined_page
-- A page of the joins of the reader's scope that can be taken back, the latest first. The record that
-- went is the stored one; the member who was kept may be gone since. The pair may have been listed and
-- decided again, while another file held the person.
SELECT d.id, d.one, d.other, d.why, d.score, d.found_at, 'joined' AS status, j.at AS decided_at,
       m.member_id AS kept,
       CASE WHEN j.gone = d.one THEN to_jsonb(was) ELSE to_jsonb(m) END AS one_member,
       CASE WHEN j.gone = d.one THEN to_jsonb(m) ELSE to_jsonb(was) END AS other_member
FROM member_joins AS j JOIN member_duplicates AS d ON d.id = j.id
CROSS JOIN LATERAL jsonb_populate_record(NULL::members, j.record) AS was
LEFT JOIN members AS m ON m.id_number = j.kept
WHERE {why}
  AND NOT EXISTS (SELECT FROM members AS back WHERE back.id_number = j.gone)
  AND in_scope(was.province, was.municipality, %(scope_province)s, %(scope_municipality)s)
  AND (m.id_number IS NULL
       OR in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s))
ORDER BY j.at DESC, d.id LIMIT %(limit)s OFFSET %(offset)s;

-- name: joined_page_counted
-- Those of all pages.
SELECT FROM member_joins AS j JOIN member_duplicates AS d ON d.id = j.id
CROSS JOIN LATERAL jsonb_populate_record(NULL::members, j.record) AS was
LEFT JOIN members AS m ON m.id_number = j.kept
WHERE {why}
  AND NOT EXISTS (SELECT FROM members AS back WHERE back.id_number = j.gone)
  AND in_scope(was.province, was.municipality, %(scope_province)s, %(scope_municipality)s)
  AND (m.id_number IS NULL
       OR in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s))
LIMIT %(most)s

-- name: behind
-- Groups of members that are still to be looked at.
SELECT count(*)::int AS groups FROM duplicates_due;

-- name: lock_pair
-- An open pair of the reader's scope, with both members, locked in the order of the key.
SELECT d.*, m.id_number, m.changed_at, jsonb_strip_nulls(to_jsonb(m)) AS record
FROM member_duplicates AS d JOIN members AS m ON m.id_number IN (d.one, d.other)
WHERE d.id = %(id)s AND d.status = 'open'
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY m.id_number FOR UPDATE;

-- name: decide
-- What somebody has decided of a pair.
UPDATE member_duplicates
SET status = %(status)s, decided_at = clock_timestamp(), decided_by = %(by)s WHERE id = %(id)s;

-- name: hand_over
-- A pair that is joined again: the record of before is what was there before the upload that created
-- the person again, and undoing that one brings it back.
INSERT INTO member_changes (upload_id, id_number, former_changed_at, before, is_removed)
SELECT m.created_by_upload, j.gone, (j.record ->> 'changed_at')::timestamptz, j.record, true
FROM member_joins AS j JOIN members AS m ON m.id_number = j.gone
WHERE j.id = %(id)s AND j.is_unwanted IS NOT TRUE
ON CONFLICT DO NOTHING;

-- name: note_join
-- What is needed to take a join back.
INSERT INTO member_joins (id, kept, gone, record, filled)
VALUES (%(id)s, %(kept)s, %(gone)s, %(record)s, %(filled)s)
ON CONFLICT (id) DO UPDATE
SET (kept, gone, record, filled, at, is_unwanted)
  = ROW(excluded.kept, excluded.gone, excluded.record, excluded.filled, now(), NULL);

-- name: remove_gone
-- The record of the one who is joined to the other.
DELETE FROM members AS m
WHERE m.id_number = %(gone)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: lock_kept
-- Lock the member who was kept, if there still is one.
SELECT FROM members AS m
WHERE m.id_number = (SELECT kept FROM member_joins WHERE id = %(id)s)
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
FOR UPDATE;

-- name: makers
-- The uploads that created the record which went, and changed it last.
SELECT DISTINCT (record ->> maker)::uuid AS id
FROM member_joins, unnest(ARRAY['created_by_upload', 'changed_by_upload']) AS maker
WHERE member_joins.id = %(id)s ORDER BY id;

-- name: lock_join
-- A join of the reader's scope that can be taken back, locked, with the member who was kept. That one
-- may be gone since, by a list of removals; the record that went comes back all the same.
SELECT j.*, d.status, jsonb_strip_nulls(to_jsonb(m)) AS now_,
       COALESCE(m.member_id, (j.record ->> 'member_id')::uuid) AS member_id
FROM member_joins AS j JOIN member_duplicates AS d ON d.id = j.id
LEFT JOIN members AS m ON m.id_number = j.kept
WHERE j.id = %(id)s
  AND (d.status = 'joined' OR NOT EXISTS (SELECT FROM members AS b WHERE b.id_number = j.gone))
  AND in_scope(j.record ->> 'province', j.record ->> 'municipality', %(scope_province)s,
               %(scope_municipality)s)
  AND (m.id_number IS NULL
       OR in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s))
FOR UPDATE OF j, d;

-- name: bring_back
-- The record as it was; none where the person is a member again.
INSERT INTO members
SELECT b.* FROM member_joins AS j CROSS JOIN LATERAL jsonb_populate_record(NULL::members, j.record) AS b
WHERE j.id = %(id)s AND in_scope(b.province, b.municipality, %(scope_province)s, %(scope_municipality)s)
ON CONFLICT (id_number) DO NOTHING;

-- name: forget_join
-- It was taken back.
DELETE FROM member_joins WHERE id = %(id)s;

-- name: forget_old_joins
-- Joins that are too old to be taken back: their records go.
DELETE FROM member_joins WHERE at < now() - make_interval(days => %(days)s);
