-- Sessions of PostgreSQL.

-- name: is_at_work
-- Whether a session works on a statement. One that waits for its client has answered it, or hasn't got
-- all of it.
SELECT state = 'active' AND wait_event_type IS DISTINCT FROM 'Client' AS is_at_work
FROM pg_stat_activity WHERE pid = %(pid)s;
