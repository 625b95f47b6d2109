-- name: records
-- The uploads of events, from all senders; each listener's scope is applied afterwards.
SELECT uploads.*, users.email AS owner_email FROM uploads JOIN users ON users.id = owner_id
WHERE uploads.id = ANY(%(ids)s);

-- name: open
-- For a snapshot: the uploads of a scope that haven't ended, newest first.
SELECT uploads.*, users.email AS owner_email FROM uploads JOIN users ON users.id = owner_id
WHERE status IN ('pending', 'processing')
  AND in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY ordinal DESC LIMIT %(limit)s;

-- name: ended
-- For a snapshot: the latest uploads of a scope that have ended.
SELECT uploads.*, users.email AS owner_email FROM uploads JOIN users ON users.id = owner_id
WHERE status IN ('completed', 'failed', 'cancelled')
  AND in_scope(uploads.province, uploads.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY ordinal DESC LIMIT %(limit)s;
