-- name: count
-- The webhooks of an office.
SELECT count(*) AS webhooks FROM webhooks
WHERE province IS NOT DISTINCT FROM %(province)s
  AND municipality IS NOT DISTINCT FROM %(municipality)s;

-- name: add
-- Add a webhook of the maker's office.
INSERT INTO webhooks (province, municipality, made_by, url, events, secret)
VALUES (%(province)s, %(municipality)s, %(made_by)s, %(url)s, %(events)s, %(secret)s)
RETURNING id;

-- name: list
-- A page of the webhooks in the reader's scope, without secrets, the newest first.
SELECT w.id, w.province, w.municipality, w.url, w.events, w.is_active, w.created_at, w.changed_at,
       w.former_until, users.email AS made_by, count(*) OVER () AS found
FROM webhooks AS w JOIN users ON users.id = w.made_by
WHERE in_scope(w.province, w.municipality, %(scope_province)s, %(scope_municipality)s)
  AND (%(id)s::uuid IS NULL OR w.id = %(id)s)
ORDER BY w.created_at DESC, w.id LIMIT %(limit)s OFFSET %(offset)s;

-- name: change
-- Change what is given; null leaves it. A new secret lets the present one sign for a while longer.
UPDATE webhooks
SET url = COALESCE(%(url)s, url), events = COALESCE(%(events)s, events),
    is_active = COALESCE(%(is_active)s, is_active),
    secret = COALESCE(%(secret)s, secret),
    former_secret = CASE WHEN %(secret)s::bytea IS NULL THEN former_secret ELSE secret END,
    former_until = CASE WHEN %(secret)s::bytea IS NULL THEN former_until
                        ELSE now() + make_interval(hours => %(former_hours)s) END,
    changed_at = now()
WHERE id = %(id)s
  AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s)
RETURNING id, url;

-- name: remove
-- Delete a webhook, with its deliveries.
DELETE FROM webhooks
WHERE id = %(id)s
  AND in_scope(province, municipality, %(scope_province)s, %(scope_municipality)s)
RETURNING id, url;

-- name: target
-- Where a claimed notification goes and what signs it; no row if the webhook was removed or stopped.
SELECT url, secret, CASE WHEN former_until > now() THEN former_secret END AS former_secret,
       province IS NULL AS is_national
FROM webhooks WHERE id = %(id)s AND is_active;

-- name: deliveries
-- A page of a webhook's deliveries, the newest first.
SELECT n.id, n.upload_id, n.kind, n.created_at, n.tries, n.tried_at, n.due_at, n.answer_status,
       n.error_code, n.error, n.delivered_at, n.given_up_at
FROM notifications AS n JOIN webhooks AS w ON w.id = n.webhook_id
WHERE w.id = %(id)s
  AND in_scope(w.province, w.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY n.created_at DESC, n.id LIMIT %(limit)s OFFSET %(offset)s;

-- name: deliveries_counted
-- Those of all pages.
SELECT FROM notifications AS n JOIN webhooks AS w ON w.id = n.webhook_id
WHERE w.id = %(id)s
  AND in_scope(w.province, w.municipality, %(scope_province)s, %(scope_municipality)s)
LIMIT %(most)s

-- name: deliver_again
-- Make a delivery due now, as if it had not been tried; its id stays. One that a worker delivers at
-- this moment is left to it.
UPDATE notifications AS n
SET delivered_at = NULL, given_up_at = NULL, tries = 0, due_at = now(), error_code = NULL,
    error = NULL
FROM webhooks AS w
WHERE w.id = n.webhook_id AND w.id = %(id)s AND n.id = %(delivery_id)s
  AND in_scope(w.province, w.municipality, %(scope_province)s, %(scope_municipality)s)
  AND w.is_active AND (n.claimed_until IS NULL OR n.claimed_until < now())
RETURNING n.id, n.upload_id;

-- name: delivery
-- A delivery of a webhook in the reader's scope.
SELECT n.id, n.upload_id, n.kind, n.created_at, n.tries, n.tried_at, n.due_at, n.answer_status,
       n.error_code, n.error, n.delivered_at, n.given_up_at, w.is_active
FROM notifications AS n JOIN webhooks AS w ON w.id = n.webhook_id
WHERE w.id = %(id)s AND n.id = %(delivery_id)s
  AND in_scope(w.province, w.municipality, %(scope_province)s, %(scope_municipality)s);
