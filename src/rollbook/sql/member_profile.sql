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
