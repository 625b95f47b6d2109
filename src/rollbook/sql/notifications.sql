-- name: add
-- Record notifications in the transaction that ends the upload. No mail goes to a closed account or
-- one without an address. An office's webhook hears the uploads of its own place. A notification that
-- was recorded for the same end before stays as it is.
INSERT INTO notifications (upload_id, attempt, kind, channel, webhook_id)
SELECT uploads.id, uploads.attempt, %(kind)s, channel, NULL
FROM uploads JOIN users ON users.id = owner_id
CROSS JOIN unnest(%(channels)s::text[]) AS channel
WHERE uploads.id = %(upload_id)s AND channel <> 'office_webhook'
  AND (channel <> 'email' OR strpos(users.email, '@') > 1 AND users.disabled_at IS NULL)
UNION ALL
SELECT uploads.id, uploads.attempt, %(kind)s, 'office_webhook', webhooks.id
FROM uploads JOIN webhooks
  ON in_scope(uploads.province, uploads.municipality, webhooks.province, webhooks.municipality)
WHERE uploads.id = %(upload_id)s AND 'office_webhook' = ANY(%(channels)s)
  AND webhooks.is_active AND %(kind)s = ANY(webhooks.events)
ON CONFLICT DO NOTHING;

-- name: claim
-- Claim the notification that has been due longest, and read the upload that it reports. Its due time
-- becomes the end of the lease: if the worker dies, it is due again then. A webhook of an office gets
-- one at a time, so that a slow receiver holds up nobody else; other_delivery finds what is claimed at
-- the same moment.
WITH next AS (
    SELECT n.id FROM notifications AS n JOIN uploads ON uploads.id = n.upload_id
    WHERE n.delivered_at IS NULL AND n.given_up_at IS NULL AND n.due_at <= now()
      AND n.channel = ANY(%(channels)s)
      AND (n.webhook_id IS NULL OR NOT EXISTS (
          SELECT FROM notifications AS other
          WHERE other.webhook_id = n.webhook_id AND other.claimed_until > now()))
    ORDER BY n.due_at LIMIT 1 FOR UPDATE OF n SKIP LOCKED
)
UPDATE notifications AS n
SET due_at = clock_timestamp() + make_interval(secs => %(lease_s)s),
    claimed_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM next, uploads JOIN users ON users.id = owner_id
WHERE n.id = next.id AND uploads.id = n.upload_id
RETURNING n.id, n.kind, n.channel, n.created_at, n.tries, n.webhook_id,
       users.email, COALESCE(users.language, uploads.language) AS language, uploads.id AS upload_id, uploads.dry_run, uploads.created_at AS sent_at,
       uploads.file_name, uploads.rows_with_warnings, uploads.rows_total, uploads.error_code, uploads.verification,
       uploads.inserted, uploads.updated, uploads.unchanged, uploads.invalid, uploads.duplicate,
       uploads.out_of_scope, uploads.roll_registered, uploads.roll_other_ward,
       uploads.roll_without_district, uploads.roll_not_registered, uploads.roll_deceased,
       uploads.roll_international, uploads.roll_pending, uploads.roll_error,
       n.kind = 'verified' OR (uploads.status = n.kind AND uploads.attempt = n.attempt)
           AS is_current;

-- name: other_delivery
-- Another notification that is delivered to the same webhook now. It is read under the webhook's lock.
SELECT id FROM notifications
WHERE webhook_id = %(webhook_id)s AND id <> %(id)s AND claimed_until > clock_timestamp() LIMIT 1;

-- name: next_due
-- Seconds until the next notification becomes due; null when none does. One that is due already is
-- being claimed by another worker. is_awaited: whether the next end of an upload may record one.
SELECT extract(epoch FROM min(due_at) - now())::float8 AS due_in_s,
       %(channels)s::text[] <> '{office_webhook}' OR EXISTS (SELECT FROM webhooks WHERE is_active)
           AS is_awaited
FROM notifications
WHERE delivered_at IS NULL AND given_up_at IS NULL AND due_at > now()
  AND channel = ANY(%(channels)s);

-- name: delivered
-- The receiver accepted it.
UPDATE notifications
SET delivered_at = clock_timestamp(), tries = tries + 1, error_code = NULL, error = NULL,
    answer_status = %(answer_status)s, tried_at = clock_timestamp(), claimed_until = NULL
WHERE id = %(id)s;

-- name: postpone
-- A try failed; the next one is due later.
UPDATE notifications
SET tries = tries + 1, due_at = clock_timestamp() + make_interval(secs => %(wait_s)s),
    error_code = %(error_code)s, error = %(error)s,
    answer_status = %(answer_status)s, tried_at = clock_timestamp(), claimed_until = NULL
WHERE id = %(id)s AND delivered_at IS NULL AND given_up_at IS NULL;

-- name: give_up
-- The last try failed, or the receiver refused for good.
UPDATE notifications
SET tries = tries + 1, given_up_at = clock_timestamp(), error_code = %(error_code)s,
    error = %(error)s,
    answer_status = %(answer_status)s, tried_at = clock_timestamp(), claimed_until = NULL
WHERE id = %(id)s AND delivered_at IS NULL AND given_up_at IS NULL;
