-- name: plan_for_many
-- For this transaction: room to sort and to hash a file's rows in memory, where the default of 4 MB
-- goes to disk in pieces; and the index of a large table rather than all of its rows, which are
-- mostly in memory or on a disk that has no head to move. Four times as quick with a million members.
SET LOCAL work_mem = '64MB';
SET LOCAL random_page_cost = 1.1;

-- name: stage
-- The rows of the file that may be merged; gone with the transaction.
CREATE TEMPORARY TABLE staged (
    row_number integer NOT NULL, id_number text COLLATE "C" NOT NULL, firstname text, surname text, date_of_birth date,
    gender text, citizenship text, race text, language text, cell_number text,
    landline_number text, email text, residential_address text, occupation text,
    qualification text, province text, region text, municipality text, ward text,
    voting_station text, voting_district text, date_joined date, last_payment date,
    expiry_date date, subscription text, membership_amount numeric(12, 2), status text,
    expiry_is_derived boolean, filled bigint NOT NULL, member_id uuid NOT NULL
) ON COMMIT DROP;

-- name: fill_staged
-- The rows, as CSV in the order of the columns above; an unquoted nothing is null.
COPY staged FROM STDIN (FORMAT csv);

-- name: unstage
-- A batch that is read again; see pipeline/staged.py.
DELETE FROM staged WHERE row_number BETWEEN %(first)s AND %(last)s;

-- name: analyze_staged
-- Without statistics the planner takes the staged rows for a handful and loops over them. Only the
-- key is joined by.
ANALYZE staged (id_number);

-- name: repeats
-- The rows of the file that repeat an earlier one.
CREATE TEMPORARY TABLE repeats (row_number integer NOT NULL) ON COMMIT DROP;

-- name: fill_repeats
-- As lines of one number.
COPY repeats FROM STDIN (FORMAT csv);

-- name: leave_out_repeats
-- Only the first row of a person is merged.
DELETE FROM staged USING repeats WHERE staged.row_number = repeats.row_number;

-- name: differing
-- The rows that repeat an earlier one with other values, and the earlier values by field, as JSON. An
-- empty cell of the repeat says nothing, and an expiry date that follows from the payment nothing more.
COPY (
    SELECT later.row_number, '{{' || differing.fields || '}}'
    FROM staged AS later JOIN repeats USING (row_number)
    JOIN staged AS earlier USING (id_number)
    CROSS JOIN LATERAL (SELECT {differing} AS fields) AS differing
    WHERE earlier.row_number NOT IN (SELECT row_number FROM repeats) AND differing.fields <> ''
    ORDER BY later.row_number
) TO STDOUT (FORMAT csv);

-- name: existing
-- What the record says of the people of the file's rows before the merge, and what the merge will
-- make of them; in the order of the file, so that nobody has to hold more of it than a piece. Of
-- another office's member, nothing is compared.
COPY (
    SELECT excluded.row_number, m.firstname, m.surname, m.ward, m.voting_district,
           CASE WHEN is_changed THEN m.member_id END,
           CASE WHEN is_changed THEN '{{' || {changed} || '}}' END,
           CASE WHEN NOT is_taken AND {after_payment} > {after_expiry}
                     AND (is_changed OR excluded.last_payment = m.last_payment)
                     AND (excluded.last_payment <= excluded.expiry_date) IS NOT FALSE
                THEN {after_expiry} END,
           CASE WHEN is_changed AND {existing} = 'update'
                     AND excluded.last_payment < m.last_payment
                THEN m.last_payment END,
           CASE WHEN NOT is_taken THEN excluded.last_payment END,
           CASE WHEN NOT is_taken AND m.firstname <> excluded.firstname
                     AND m.surname <> excluded.surname
                THEN excluded.firstname || ' ' || excluded.surname END,
           is_taken::text, is_changed::text,
           CASE WHEN is_changed THEN {version} END
    FROM members AS m JOIN staged AS excluded USING (id_number)
    CROSS JOIN LATERAL (SELECT
        NOT takes_from_nobody(m.province, m.municipality, {province}, {municipality}) AS is_taken
    ) AS place
    CROSS JOIN LATERAL (SELECT
        {existing} <> 'skip' AND NOT is_taken AND ({before}) IS DISTINCT FROM ({after})
        AS is_changed
    ) AS difference
    ORDER BY excluded.row_number
) TO STDOUT (FORMAT csv);

-- name: merge
-- Insert the new, update the changed, leave the others alone; whether each of the first two is new
-- is what comes back. In the order of the key, so that two merges can't lock each other out
-- and the index is written from left to right. An empty cell never erases a stored value. A member
-- of another office isn't touched, even if it became that a moment ago. {{after}} is what each field
-- would be, by the upload's policy for members that exist.
COPY (
    INSERT INTO members AS m (id_number, member_id, {fields}, created_by_upload, changed_by_upload)
    SELECT id_number, member_id, {fields}, {upload_id}, {upload_id} FROM staged ORDER BY id_number
    ON CONFLICT (id_number) DO UPDATE
    SET ({fields}) = ROW({after}), changed_by_upload = excluded.changed_by_upload,
        changed_at = now()
    WHERE {existing} <> 'skip'
      AND takes_from_nobody(m.province, m.municipality, {province}, {municipality})
      AND ({before}) IS DISTINCT FROM ({after})
    RETURNING m.id_number::bigint, (m.xmax = 0)::text
) TO STDOUT (FORMAT csv);

-- name: former_versions
-- What the members whom the merge changed were, as one number: another one than ``existing`` saw means
-- that another merge came in between.
SELECT COALESCE(sum((extract(epoch FROM former_changed_at) * 1000000)::bigint), 0)::text AS versions
FROM member_changes WHERE upload_id = %(upload_id)s;

-- name: changes_made
-- The same as ``existing`` says of each changed row, from what the merge has done.
COPY (
    SELECT staged.row_number, now_.member_id, '{{' || {made} || '}}'
    FROM member_changes AS c
    JOIN members AS now_ USING (id_number) JOIN staged USING (id_number)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::members, c.before) AS m
    WHERE c.upload_id = {upload_id}
    ORDER BY staged.row_number
) TO STDOUT (FORMAT csv);

-- name: taken
-- Staged rows that the merge refused because the member is another office's by now.
COPY (
    SELECT m.id_number::bigint FROM members AS m JOIN staged USING (id_number)
    WHERE NOT takes_from_nobody(m.province, m.municipality, {province}, {municipality})
) TO STDOUT (FORMAT csv);

-- name: claim
-- Whom the file holds, and with which fields, for undoing earlier uploads. Where the file's values
-- win and nobody was refused, each filled cell is now what the record says.
INSERT INTO upload_claims (upload_id, fields, people, filled)
SELECT {upload_id}, {names}, COALESCE(array_agg(id_number::bigint), '{{}}'),
       COALESCE(array_agg(filled), '{{}}')
FROM staged;

-- name: claim_compared
-- The same where the record may say something else than the file: what they agree on is compared.
INSERT INTO upload_claims (upload_id, fields, people, filled)
SELECT {upload_id}, {names}, COALESCE(array_agg(m.id_number::bigint), '{{}}'),
       COALESCE(array_agg({agreed}), '{{}}')
FROM members AS m JOIN staged AS excluded USING (id_number)
WHERE takes_from_nobody(m.province, m.municipality, {province}, {municipality});

-- name: claim_nobody
-- The same where all members that the file holds were written by the upload, which they say themselves.
INSERT INTO upload_claims (upload_id, fields, people, filled)
VALUES ({upload_id}, {names}, '{{}}', '{{}}');

-- name: keep_rows
-- What became of each row of the file.
COPY upload_rows (upload_id, row_number, outcome, duplicate_of, problems, member_id, changes)
FROM STDIN (FORMAT csv);

-- name: forget_rows
-- An earlier attempt of this upload that ended in the middle left none; a dry run did.
DELETE FROM upload_rows WHERE upload_id = %(upload_id)s;
