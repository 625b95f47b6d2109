-- name: capacity
-- The present time, whether the queue is paused, and the jobs that the workers which take jobs run at a
-- time. A worker is one with a recent heartbeat (workers.living).
SELECT now() AS now, (SELECT is_paused FROM queue_state) AS is_paused,
       COALESCE(sum(slots), 0)::int AS slots, array_agg(name) AS workers
FROM workers WHERE heartbeat_at > now() - interval '30 seconds' AND problems = '{}';

-- name: running
-- The uploads that are being processed, with the seconds since their attempt began. An attempt without a
-- recent heartbeat has lost its worker, and runs again soon.
SELECT id, worker, priority, file_kind, file_bytes, progress, waiting_since,
       extract(epoch FROM now() - started_at)::float8 AS seconds,
       heartbeat_at > now() - interval '30 seconds' AS is_alive
FROM uploads WHERE status = 'processing' ORDER BY priority, ordinal LIMIT %(limit)s;

-- name: waiting
-- The waiting uploads in the order of their priorities.
SELECT id, priority, file_kind, file_bytes, waiting_since, retry_at,
       verify = 'before_merge' AND roll_pending > 0 AS waits_for_roll,
       waits_for_closed_account(uploads) AS is_closed
FROM uploads WHERE status = 'pending' ORDER BY priority, ordinal LIMIT %(limit)s;

-- name: durations
-- How long the latest uploads took that have completed within some days, from claim to end.
SELECT file_kind, file_bytes, extract(epoch FROM finished_at - started_at)::float8 AS seconds
FROM (SELECT * FROM uploads ORDER BY ordinal DESC LIMIT %(latest)s) AS latest
WHERE status = 'completed' AND started_at IS NOT NULL
  AND finished_at > now() - make_interval(days => %(days)s)
ORDER BY ordinal DESC LIMIT %(limit)s;
