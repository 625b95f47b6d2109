-- name: add
-- A stored file that is to be checked.
INSERT INTO file_checks (id, owner_id, file_name, file_kind, file_bytes, file_sha256, sheet, columns,
                         empty_text)
VALUES (%(id)s, %(owner_id)s, %(file_name)s, %(file_kind)s, %(file_bytes)s, %(file_sha256)s,
        %(sheet)s, %(columns)s, %(empty_text)s);

-- name: use
-- The sender's own check, which now stays for as long as a new one. One with the wanted options.
UPDATE file_checks SET used_at = now() WHERE id = %(id)s AND owner_id = %(owner_id)s RETURNING *;

-- name: change
-- Other choices for the sender's own check, which now stays for as long as a new one.
UPDATE file_checks
SET sheet = %(sheet)s, columns = %(columns)s, empty_text = %(empty_text)s, used_at = now()
WHERE id = %(id)s AND owner_id = %(owner_id)s
  AND NOT EXISTS (SELECT FROM uploads WHERE uploads.id = file_checks.id)
RETURNING *;

-- name: unsent
-- How many files of the sender are checked and not sent, or still coming in; without this one.
SELECT (SELECT count(*) FROM partial_files WHERE owner_id = %(owner_id)s AND id <> %(id)s)
     + (SELECT count(*) FROM file_checks WHERE owner_id = %(owner_id)s AND id <> %(id)s
          AND NOT EXISTS (SELECT FROM uploads WHERE uploads.id = file_checks.id)) AS files;

-- name: by_id
-- For the process that reads the file: the check, and the office of its sender. No scope applies: the
-- id is one that the same system has made.
SELECT file_checks.*, users.province, users.municipality
FROM file_checks JOIN users ON users.id = file_checks.owner_id WHERE file_checks.id = %(id)s;

-- name: forget
-- A check whose file can't be read, or isn't accepted.
DELETE FROM file_checks WHERE id = %(id)s;

-- name: unused
-- Checks that nobody has used for so long, at most a thousand. No scope applies: the system removes them.
DELETE FROM file_checks
WHERE id IN (SELECT id FROM file_checks WHERE used_at < now() - make_interval(hours => %(hours)s)
             ORDER BY used_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING id, file_kind, EXISTS (SELECT FROM uploads WHERE uploads.id = file_checks.id) AS is_upload;
