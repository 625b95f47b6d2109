-- Sessions of PostgreSQL.

-- name: is_at_work
-- Whether a session works on a statement. One that waits for its client has answered it, or hasn't got
-- all of it.
SELECT state = 'active' AND wait_event_type IS DISTINCT FROM 'Client' AS is_at_work
FROM pg_stat_activity WHERE pid = %(pid)s;

-- name: is_read_only
-- Whether PostgreSQL takes no changes: it is a standby, or an operator has set it so.
SELECT current_setting('transaction_read_only')::boolean AS is_read_only;
