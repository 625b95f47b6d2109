-- name: waiting_too_long
-- Uploads that have waited longer than the bound, the longest waiting first.
SELECT id FROM uploads
WHERE status = 'pending' AND waiting_since < now() - make_interval(secs => %(minutes)s * 60)
ORDER BY waiting_since LIMIT 1000;
