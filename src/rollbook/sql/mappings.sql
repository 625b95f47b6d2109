-- name: remembered
-- An office's column mappings, by the fingerprint of the headers.
SELECT fingerprint, columns FROM column_mappings
WHERE province IS NOT DISTINCT FROM %(province)s
  AND municipality IS NOT DISTINCT FROM %(municipality)s;

-- name: remember
-- The office's newest mapping for these headers replaces an earlier one. It gets a new id, so that a
-- user who sees the earlier one can't delete this one by mistake.
INSERT INTO column_mappings (province, municipality, fingerprint, columns, upload_id)
VALUES (%(province)s, %(municipality)s, %(fingerprint)s, %(columns)s, %(upload_id)s)
ON CONFLICT (province, municipality, fingerprint)
DO UPDATE SET columns = excluded.columns, upload_id = excluded.upload_id, id = excluded.id,
              changed_at = NULL, changed_by = NULL;

-- name: list
-- A page of the mappings in the reader's scope, the newest first, each with the file it comes from.
SELECT m.id, m.province, m.municipality, m.columns, m.upload_id, m.changed_at, m.changed_by,
       u.file_name, u.finished_at AS remembered_at, count(*) OVER () AS found
FROM column_mappings AS m LEFT JOIN uploads AS u ON u.id = m.upload_id
WHERE in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY u.finished_at DESC NULLS LAST, m.id LIMIT %(limit)s OFFSET %(offset)s;

-- name: lock
-- A mapping in the reader's scope, locked.
SELECT m.*, u.file_name, u.finished_at AS remembered_at
FROM column_mappings AS m LEFT JOIN uploads AS u ON u.id = m.upload_id
WHERE m.id = %(id)s
  AND in_scope(m.province, m.municipality, %(scope_province)s, %(scope_municipality)s)
FOR UPDATE OF m;

-- name: change
-- Change what its headers mean. It gets a new id, as a newer one would.
UPDATE column_mappings
SET columns = %(columns)s, id = gen_random_uuid(), changed_at = now(), changed_by = %(changed_by)s
WHERE id = %(id)s
RETURNING *;

-- name: forget
-- Delete a mapping: later files with these headers are read by their headers again.
DELETE FROM column_mappings
WHERE id = %(id)s
  AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s)
RETURNING *;
