-- name: open
-- Uploads that should be in the queue, in the order in which to add them. Not those that began to wait
-- a moment ago, which another process is adding, nor those whose attempt has a heartbeat.
SELECT id, priority, attempt, status, source_key, waits_for_closed_account(uploads) AS is_closed
FROM uploads
WHERE waits_for_closed_account(uploads)
   OR (status = 'pending' AND waiting_since < now() - interval '2 seconds')
   OR (status = 'processing' AND heartbeat_at < now() - make_interval(secs => %(lock_s)s))
ORDER BY priority, ordinal;

-- name: ended_of
-- The uploads with waiting jobs that have already ended: those jobs are leftovers.
SELECT id, status, attempt, error_code FROM uploads
WHERE id = ANY(%(ids)s) AND status IN ('completed', 'failed', 'cancelled');

-- name: sources_left
-- Source files that are no longer needed and whose removal was cut off.
SELECT id, source_key FROM uploads
WHERE source_key IS NOT NULL AND finished_at < now() - interval '1 minute'
  AND (status = 'cancelled' OR (status = 'completed' AND NOT dry_run))
ORDER BY finished_at LIMIT 100;

-- name: fail
-- The upload can never run.
UPDATE uploads
SET status = 'failed', finished_at = now(), error_code = %(error_code)s, error = %(error)s
WHERE id = %(id)s AND attempt = %(attempt)s AND status IN ('pending', 'processing')
RETURNING id, status, attempt, error_code;
