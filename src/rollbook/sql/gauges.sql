-- name: oldest_waiting
-- The waiting time of the longest waiting upload, in seconds; 0 when none waits.
SELECT COALESCE(extract(epoch FROM now() - min(waiting_since)), 0)::float8 AS seconds
FROM uploads WHERE status = 'pending';

-- name: workers
-- The living workers, their concurrency in all, and the number of running attempts.
SELECT count(*) AS workers, COALESCE(sum(slots), 0)::int AS slots,
       COALESCE(sum(cardinality(jobs)), 0)::int AS in_use
FROM workers WHERE heartbeat_at > now() - interval '30 seconds';

-- name: lock_waits
-- Our own sessions that wait for a lock, and for how long the first has, in seconds.
SELECT count(*)::int AS waits,
       COALESCE(extract(epoch FROM clock_timestamp() - min(state_change)), 0)::float8 AS seconds
FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND wait_event <> 'advisory' AND usename = current_user
      AND datname = current_database() AND application_name LIKE 'rollbook%';
