-- Removing members whom a list names, or changing their status; pipeline/removal.py.

-- name: analyze_staged
-- As for a merge.
ANALYZE staged (id_number);

-- name: unstage_unknown
-- Take out the rows that name no member.
DELETE FROM staged WHERE NOT EXISTS (SELECT FROM members AS m WHERE m.id_number = staged.id_number)
RETURNING row_number;

-- name: existing
-- The same columns as for a merge (members.sql). A member without a place, or with another office's,
-- is not the office's to remove.
COPY (
    SELECT staged.row_number, m.firstname, m.surname, m.ward, m.voting_district,
           CASE WHEN is_changed THEN m.member_id END,
           CASE WHEN is_changed AND NOT {removes}
                THEN jsonb_build_object('status', jsonb_build_array(m.status, {status}::text)) END,
           NULL, NULL, NULL, NULL,
           is_taken::text, is_changed::text,
           CASE WHEN is_changed THEN {version} END,
           NULL
    FROM members AS m JOIN staged USING (id_number)
    CROSS JOIN LATERAL (SELECT
        NOT in_scope(m.province, m.municipality, {province}, {municipality}) AS is_taken
    ) AS place
    CROSS JOIN LATERAL (SELECT
        NOT is_taken AND ({removes} OR m.status IS DISTINCT FROM {status}::text) AS is_changed
    ) AS difference
    ORDER BY staged.row_number
) TO STDOUT (FORMAT csv);

-- name: lock_members
-- In the order of the key, as merges lock them.
SELECT count(*) AS members FROM (
    SELECT FROM members AS m JOIN staged USING (id_number)
    WHERE in_scope(m.province, m.municipality, {province}, {municipality})
    ORDER BY m.id_number FOR UPDATE OF m
) AS locked;

-- name: set_status
-- Change the status; the trigger stores the former values.
COPY (
    UPDATE members AS m
    SET status = {status}, changed_by_upload = {upload_id}, changed_at = now()
    FROM staged WHERE m.id_number = staged.id_number
      AND in_scope(m.province, m.municipality, {province}, {municipality})
      AND m.status IS DISTINCT FROM {status}::text
    RETURNING m.id_number::bigint, 'false'
) TO STDOUT (FORMAT csv);

-- name: remove
-- Remove the members, and store the whole record so that undoing can bring it back.
COPY (
    WITH gone AS (
        DELETE FROM members AS m USING staged
        WHERE m.id_number = staged.id_number
          AND in_scope(m.province, m.municipality, {province}, {municipality})
        RETURNING m.*
    ), noted AS (
        INSERT INTO member_changes (upload_id, id_number, former_changed_at, before, is_removed)
        SELECT {upload_id}, id_number, changed_at, jsonb_strip_nulls(to_jsonb(gone)), true FROM gone
    )
    SELECT id_number::bigint, 'false' FROM gone
) TO STDOUT (FORMAT csv);

-- name: claim
-- The members who have the list's status now, for undoing earlier uploads; of those who were removed
-- nobody.
INSERT INTO upload_claims (upload_id, fields, people, filled)
SELECT {upload_id}, ARRAY['status'], COALESCE(array_agg(m.id_number::bigint), '{{}}'),
       COALESCE(array_agg(1::bigint), '{{}}')
FROM members AS m JOIN staged USING (id_number)
WHERE in_scope(m.province, m.municipality, {province}, {municipality})
  AND m.status = {status}::text;

-- name: of_others
-- Staged members of other offices.
COPY (
    SELECT m.id_number::bigint FROM members AS m JOIN staged USING (id_number)
    WHERE NOT in_scope(m.province, m.municipality, {province}, {municipality})
) TO STDOUT (FORMAT csv);

-- name: to_remove
-- The members in the reader's scope that fit filters, as a list of removals names them.
SELECT CASE WHEN m.identity_kind IS NULL THEN m.id_number END AS id_number,
       m.identity_number, m.identity_country
FROM {source}
WHERE in_scope(m.province, m.municipality, {scope_province}, {scope_municipality}) AND {filters}
ORDER BY m.id_number LIMIT {most};
