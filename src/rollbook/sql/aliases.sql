-- name: of_office
-- What an office means by texts, by field.
SELECT field, text, value FROM value_aliases
WHERE province IS NOT DISTINCT FROM %(province)s
  AND municipality IS NOT DISTINCT FROM %(municipality)s;

-- name: keep
-- The office's newest meaning of a text replaces an earlier one, under another id.
INSERT INTO value_aliases (province, municipality, field, text, value, upload_id, created_by)
VALUES (%(province)s, %(municipality)s, %(field)s, %(text)s, %(value)s, %(upload_id)s, %(by)s)
ON CONFLICT (province, municipality, field, text)
DO UPDATE SET value = excluded.value, upload_id = excluded.upload_id, id = excluded.id,
              created_at = excluded.created_at, created_by = excluded.created_by;

-- name: list
-- A page of the aliases in the reader's scope, the newest first.
SELECT a.*, u.file_name, count(*) OVER () AS found
FROM value_aliases AS a LEFT JOIN uploads AS u ON u.id = a.upload_id
WHERE in_scope(a.province, a.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY a.created_at DESC, a.id LIMIT %(limit)s OFFSET %(offset)s;

-- name: forget
-- Delete an alias: later files with this text are read without it.
DELETE FROM value_aliases
WHERE id = %(id)s
  AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s)
RETURNING *;
