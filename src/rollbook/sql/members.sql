-- name: plan_for_many
-- For this transaction: memory to sort and to hash a file's rows, because the default of 4 MB spills
-- to disk; and cheap random access, so that the planner uses the index of a large table instead of
-- reading all rows. Four times as fast with a million members.
SET LOCAL work_mem = '64MB';
SET LOCAL random_page_cost = 1.1;

-- name: stage
-- The rows of the file that may be merged; dropped at the end of the transaction.
CREATE TEMPORARY TABLE staged (
    row_number integer NOT NULL, id_number text COLLATE "C" NOT NULL, firstname text, surname text, date_of_birth date,
    gender text, citizenship text, race text, language text, cell_number text,
    landline_number text, email text, residential_address text, occupation text,
    qualification text, province text, region text, municipality text, ward text,
    voting_station text, voting_district text, date_joined date, last_payment date,
    expiry_date date, subscription text, membership_amount numeric(12, 2), status text,
    expiry_is_derived boolean, filled bigint NOT NULL, document text, {own_fields} member_id uuid NOT NULL
) ON COMMIT DROP;

-- name: fill_staged
-- The rows, as CSV in the order of the columns above; an unquoted empty value is null.
COPY staged FROM STDIN (FORMAT csv);

-- name: unstage
-- A batch that is read again; see pipeline/staged.py.
DELETE FROM staged WHERE row_number BETWEEN %(first)s AND %(last)s;

-- name: analyze_staged
-- Without statistics the planner assumes few staged rows and loops over them. Joins use only the key.
ANALYZE staged (id_number);

-- name: note_emptied
-- The rows that empty fields on purpose, by the only column that both a staged row and an upsert's
-- proposed row have of their own. Few rows do, so most fields' new values don't ask.
CREATE TEMPORARY TABLE emptied ON COMMIT DROP AS
SELECT member_id, filled FROM staged WHERE {empties};
ALTER TABLE emptied ADD PRIMARY KEY (member_id);
ANALYZE emptied;

-- name: same_key
-- The number of keys that belong to more than one document, in the file or the record.
SELECT count(*) AS keys FROM (
    SELECT s.id_number FROM staged AS s LEFT JOIN members AS m USING (id_number)
    WHERE s.document IS NOT NULL
    GROUP BY s.id_number
    HAVING min(s.document) <> max(s.document)
        OR min(s.document) <> max(m.identity_kind || ':' || m.identity_country || ':' || m.identity_number)
) AS shared;

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
-- The members of the file's rows before the merge, and each row's outcome in the merge; in the order of
-- the file, so that it can be processed in batches. Another office's members aren't compared.
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
           CASE WHEN is_changed THEN {version} END,
           {dates}
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
-- Insert new members and update changed ones; returns for each of these whether it is new. In the
-- order of the key, so that two merges can't deadlock and the index is written from left to right. An
-- empty cell never erases a stored value. A member of another office isn't touched, even if the member
-- moved there a moment ago. {{after}} is each field's new value, by the upload's policy for existing
-- members.
COPY (
    INSERT INTO members AS m (id_number, member_id, {fields}, created_by_upload, changed_by_upload,
                              created_by_row {identity})
    SELECT id_number, member_id, {fields}, {upload_id}, {upload_id}, row_number {identity_of}
    FROM staged ORDER BY id_number
    ON CONFLICT (id_number) DO UPDATE
    SET ({fields}) = ROW({after}), changed_by_upload = excluded.changed_by_upload,
        changed_at = now()
    WHERE {existing} <> 'skip'
      AND takes_from_nobody(m.province, m.municipality, {province}, {municipality})
      AND ({before}) IS DISTINCT FROM ({after})
    RETURNING m.id_number::bigint, (m.xmax = 0)::text
) TO STDOUT (FORMAT csv);

-- name: former_versions
-- A hash of the changed members' former values: if it differs from the one that ``existing`` saw,
-- another merge came in between.
SELECT COALESCE(sum((extract(epoch FROM former_changed_at) * 1000000)::bigint), 0)::text AS versions
FROM member_changes WHERE upload_id = %(upload_id)s;

-- name: changes_made
-- The same columns as ``existing`` for each changed row, read after the merge.
COPY (
    SELECT staged.row_number, now_.member_id, '{{' || {made} || '}}'
    FROM member_changes AS c
    JOIN members AS now_ USING (id_number) JOIN staged USING (id_number)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::members, c.before) AS m
    WHERE c.upload_id = {upload_id}
    ORDER BY staged.row_number
) TO STDOUT (FORMAT csv);

-- name: taken
-- Staged rows that the merge refused because the member belongs to another office by now.
COPY (
    SELECT m.id_number::bigint FROM members AS m JOIN staged USING (id_number)
    WHERE NOT takes_from_nobody(m.province, m.municipality, {province}, {municipality})
) TO STDOUT (FORMAT csv);

-- name: claim
-- The members in the file and their fields, for undoing earlier uploads. If the file's values win and
-- no row was refused, each filled cell equals the record now.
INSERT INTO upload_claims (upload_id, fields, people, filled)
SELECT {upload_id}, {names}, COALESCE(array_agg(id_number::bigint), '{{}}'),
       COALESCE(array_agg(filled), '{{}}')
FROM staged;

-- name: claim_compared
-- The same where the record may differ from the file: only the fields that agree are noted.
INSERT INTO upload_claims (upload_id, fields, people, filled)
SELECT {upload_id}, {names}, COALESCE(array_agg(m.id_number::bigint), '{{}}'),
       COALESCE(array_agg({agreed}), '{{}}')
FROM members AS m JOIN staged AS excluded USING (id_number)
WHERE takes_from_nobody(m.province, m.municipality, {province}, {municipality});

-- name: claim_nobody
-- The same where the upload wrote all members in the file: their own rows refer to the upload.
INSERT INTO upload_claims (upload_id, fields, people, filled)
VALUES ({upload_id}, {names}, '{{}}', '{{}}');

-- name: erased
-- The keyed hashes of people who were erased on request.
SELECT hash, key_id FROM erased_people;

-- name: note_written
-- Members whom the merge wrote, for their index (members/index.py). {{people}} are ID numbers as numbers.
INSERT INTO member_index_due (upload_id, people) VALUES ({upload_id}, {people}::bigint[]);

-- name: keep_rows
-- The outcome of each row of the file.
COPY upload_rows (upload_id, row_number, outcome, duplicate_of, problems, member_id, changes)
FROM STDIN (FORMAT csv);

-- name: forget_rows
-- Delete the rows of an earlier attempt: a dry run's has left some, a merge's that broke off none.
DELETE FROM upload_rows WHERE upload_id = %(upload_id)s;
