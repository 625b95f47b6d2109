-- name: add
-- A file of which nothing has come in yet.
INSERT INTO partial_files (id, owner_id, file_name, file_kind, file_bytes)
VALUES (%(id)s, %(owner_id)s, %(file_name)s, %(file_kind)s, %(file_bytes)s)
RETURNING *;

-- name: find
-- The sender's own file: still partial, or complete and thus a check.
SELECT id, file_name, file_kind, file_bytes, file_bytes AS received, used_at AS created_at
FROM file_checks WHERE id = %(id)s AND owner_id = %(owner_id)s
UNION ALL
SELECT id, file_name, file_kind, file_bytes, received, created_at
FROM partial_files WHERE id = %(id)s AND owner_id = %(owner_id)s
LIMIT 1;

-- name: extend
-- Record stored parts, unless another request has recorded some meanwhile.
UPDATE partial_files SET received = %(until)s, parts = parts || %(keys)s::text[]
WHERE id = %(id)s AND owner_id = %(owner_id)s AND received = %(offset)s
  AND (joining_until IS NULL OR joining_until < now())
RETURNING *;

-- name: claim
-- The parts, to join them; no other request does so meanwhile.
UPDATE partial_files SET joining_until = now() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND owner_id = %(owner_id)s AND received = %(offset)s
  AND (joining_until IS NULL OR joining_until < now())
RETURNING parts;

-- name: renew
-- The parts are still being joined.
UPDATE partial_files SET joining_until = now() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s;

-- name: release
-- The parts could not be joined.
UPDATE partial_files SET joining_until = NULL WHERE id = %(id)s;

-- name: withdraw
-- A file that its sender doesn't want any more, unless its parts are being joined.
DELETE FROM partial_files
WHERE id = %(id)s AND owner_id = %(owner_id)s AND (joining_until IS NULL OR joining_until < now())
RETURNING parts;

-- name: is_partial
-- Whether not all of it is there.
SELECT EXISTS (SELECT FROM partial_files WHERE id = %(id)s AND owner_id = %(owner_id)s) AS found;

-- name: forget
-- A file that is complete or refused.
DELETE FROM partial_files WHERE id = %(id)s AND owner_id = %(owner_id)s RETURNING parts;

-- name: expired
-- Files that were begun too long ago and whose parts nobody joins, at most a thousand. No scope applies:
-- the system removes them.
DELETE FROM partial_files
WHERE id IN (SELECT id FROM partial_files
             WHERE created_at < now() - make_interval(hours => %(hours)s)
               AND (joining_until IS NULL OR joining_until < now())
             ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING parts;
