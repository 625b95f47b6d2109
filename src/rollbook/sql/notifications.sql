-- name: add
-- In the transaction that ends the upload. An account without an address, and a closed one, gets no
-- mail. What has been added for the same end stays as it is.
INSERT INTO notifications (upload_id, attempt, kind, channel)
SELECT uploads.id, uploads.attempt, %(kind)s, channel
FROM uploads JOIN users ON users.id = owner_id
CROSS JOIN unnest(%(channels)s::text[]) AS channel
WHERE uploads.id = %(upload_id)s
  AND (channel <> 'email' OR strpos(users.email, '@') > 1 AND users.disabled_at IS NULL)
ON CONFLICT DO NOTHING;

-- name: lock
-- One process at a time looks for what the queue lacks; given back with the transaction.
SELECT pg_try_advisory_xact_lock(%(lock)s) AS locked;

-- name: due
-- What is to be sent now, oldest first: of one upload, or of all.
SELECT id FROM notifications
WHERE delivered_at IS NULL AND given_up_at IS NULL AND due_at <= now()
  AND channel = ANY(%(channels)s)
  AND (%(upload_id)s::uuid IS NULL OR upload_id = %(upload_id)s)
ORDER BY due_at LIMIT 1000;

-- name: get
-- A notification that is still to be delivered, with what it tells of; the upload as it was when it
-- ended, unless it has been retried since.
SELECT n.id, n.kind, n.channel, n.created_at, n.tries,
       GREATEST(extract(epoch FROM n.due_at - now()), 0)::float8 AS due_in_s,
       users.email, uploads.id AS upload_id, uploads.dry_run, uploads.created_at AS sent_at,
       uploads.rows_total, uploads.error_code, uploads.verification,
       uploads.inserted, uploads.updated, uploads.unchanged, uploads.invalid, uploads.duplicate,
       uploads.out_of_scope, uploads.roll_registered, uploads.roll_other_ward,
       uploads.roll_without_district, uploads.roll_not_registered, uploads.roll_deceased,
       uploads.roll_international, uploads.roll_pending, uploads.roll_error,
       n.kind = 'verified' OR (uploads.status = n.kind AND uploads.attempt = n.attempt) AS is_current
FROM notifications AS n JOIN uploads ON uploads.id = n.upload_id JOIN users ON users.id = owner_id
WHERE n.id = %(id)s AND n.delivered_at IS NULL AND n.given_up_at IS NULL;

-- name: delivered
-- The receiver has taken it.
UPDATE notifications
SET delivered_at = clock_timestamp(), tries = tries + 1, error_code = NULL, error = NULL
WHERE id = %(id)s;

-- name: postpone
-- It is sent again later. Not where somebody else has delivered it meanwhile.
UPDATE notifications
SET tries = tries + 1, due_at = clock_timestamp() + make_interval(secs => %(wait_s)s),
    error_code = %(error_code)s, error = %(error)s
WHERE id = %(id)s AND delivered_at IS NULL AND given_up_at IS NULL;

-- name: give_up
-- It isn't sent again.
UPDATE notifications
SET tries = tries + 1, given_up_at = clock_timestamp(), error_code = %(error_code)s,
    error = %(error)s
WHERE id = %(id)s AND delivered_at IS NULL AND given_up_at IS NULL;

-- name: forget
-- Those that are due and whose upload is gone; ``retention`` forgets those of long ago.
DELETE FROM notifications AS n
WHERE delivered_at IS NULL AND given_up_at IS NULL AND due_at <= now()
  AND NOT EXISTS (SELECT FROM uploads WHERE uploads.id = n.upload_id);
