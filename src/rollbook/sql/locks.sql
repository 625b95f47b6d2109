-- Advisory locks; each is held until its transaction ends, but for those that a session holds.

-- name: wait
-- Wait for the lock of this name.
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0));

-- name: share
-- Wait for the lock of this name, which many transactions may share.
SELECT pg_advisory_xact_lock_shared(hashtextextended(%(name)s, 0));

-- name: try_name
-- Take the lock of this name unless another transaction holds it.
SELECT pg_try_advisory_xact_lock(hashtextextended(%(lock)s, 0)) AS locked;

-- name: exclusive_name
-- The same, and let this transaction do nothing for so long; longer than that, and PostgreSQL ends
-- it.
SELECT set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true),
    pg_try_advisory_xact_lock(hashtextextended(%(lock)s, 0)) AS locked;

-- name: exclusive_number
-- The same for the lock of this number.
SELECT set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true),
    pg_try_advisory_xact_lock(%(lock)s) AS locked;

-- name: hold
-- Wait for the lock of this name; this session holds it until it lets go or ends.
SELECT pg_advisory_lock(hashtextextended(%(name)s, 0)), true AS locked;

-- name: try_to_hold
-- The same unless another session or transaction has the lock.
SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 0)) AS locked;

-- name: try_to_hold_number
-- The same for the lock of this number.
SELECT pg_try_advisory_lock(%(lock)s) AS locked;

-- name: let_go
-- This session holds it no longer.
SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0));

-- name: holder_of_number
-- The session that holds the lock of this number, which has no more than 31 bits.
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND classid = 0 AND objid = %(lock)s::oid AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
