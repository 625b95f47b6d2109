-- Files of members that somebody asked for. Each is its owner's alone; a worker makes it with the
-- owner's scope.

-- name: ask
-- Record a file to be made.
INSERT INTO member_files (id, kind, owner_id, province, municipality, format, filters, member_id)
VALUES (%(id)s, %(kind)s, %(owner_id)s, %(scope_province)s, %(scope_municipality)s, %(format)s,
        %(filters)s, %(member_id)s)
RETURNING *;

-- name: waiting
-- How many files of this owner are to be made.
SELECT count(*)::int AS files FROM member_files
WHERE owner_id = %(owner_id)s AND status = 'pending';

-- name: of_owner
-- The owner's file, if the owner still has the scope with which it was made.
SELECT * FROM member_files
WHERE id = %(id)s AND owner_id = %(owner_id)s
  AND province IS NOT DISTINCT FROM %(scope_province)s
  AND municipality IS NOT DISTINCT FROM %(scope_municipality)s;

-- name: claim
-- Claim the file that has been due longest. Its due time becomes the end of the lease.
UPDATE member_files
SET due_at = clock_timestamp() + make_interval(secs => %(lease_s)s), tries = tries + 1
WHERE id = (SELECT id FROM member_files WHERE status = 'pending' AND due_at <= now()
            ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, kind, tries;

-- name: next_due
-- Seconds until the next one becomes due; null when none does.
SELECT extract(epoch FROM min(due_at) - now())::float8 AS due_in_s FROM member_files
WHERE status = 'pending' AND due_at > now();

-- name: renew
-- Note how far it is, and renew the lease.
UPDATE member_files
SET due_at = clock_timestamp() + make_interval(secs => %(lease_s)s),
    rows_done = GREATEST(rows_done, %(rows_done)s), rows_total = %(rows_total)s
WHERE id = %(id)s AND tries = %(tries)s AND status = 'pending';

-- name: postpone
-- Try again later: a part was away.
UPDATE member_files SET due_at = clock_timestamp() + make_interval(secs => %(wait_s)s)
WHERE id = %(id)s AND tries = %(tries)s AND status = 'pending';

-- name: fail
-- It can't be made.
UPDATE member_files
SET status = 'failed', filters = '{}', error = %(error)s, finished_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(hours => %(hours)s)
WHERE id = %(id)s AND tries = %(tries)s AND status = 'pending';

-- name: by_id
-- The file that a worker makes. Another claim of it, or an erasure, fences this one.
SELECT * FROM member_files WHERE id = %(id)s AND tries = %(tries)s AND status = 'pending';

-- name: complete
-- It is in the store. What was searched for, perhaps a name, isn't needed any more.
UPDATE member_files
SET status = 'completed', filters = '{}', rows_done = %(rows)s, rows_total = %(rows)s, file_bytes = %(bytes)s,
    finished_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(hours => %(hours)s)
WHERE id = %(id)s AND tries = %(tries)s AND status = 'pending';

-- name: over
-- Forget the files whose time has ended, before they are removed from the store.
DELETE FROM member_files WHERE expires_at < now() RETURNING id;

-- name: count_members
-- How many members an export will hold.
SELECT count(*)::int AS members FROM {source}
WHERE in_scope(m.province, m.municipality, {scope_province}, {scope_municipality}) AND {filters};

-- name: export
-- The members of an export in the template's columns. An expiry date that follows from the last
-- payment is left empty, so that it still does when the file is sent back.
COPY (
    SELECT {columns} FROM {source}
    WHERE in_scope(m.province, m.municipality, {scope_province}, {scope_municipality}) AND {filters}
    ORDER BY m.surname, m.firstname, m.id_number
) TO STDOUT (FORMAT csv);

-- name: all_members
-- What an export reads without a text to search for; see `found_members`.
members AS m

-- name: found_members
-- What it reads with one.
member_index AS entry JOIN members AS m USING (id_number)
