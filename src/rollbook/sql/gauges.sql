-- name: uploads
-- How many uploads there are in each status, over all offices: a number, and nothing of any of them.
SELECT status, count(*) AS uploads FROM uploads GROUP BY status;

-- name: oldest_waiting
-- For how many seconds the upload that has waited longest has been waiting; 0 when none waits.
SELECT COALESCE(extract(epoch FROM now() - min(waiting_since)), 0)::float8 AS seconds
FROM uploads WHERE status = 'pending';

-- name: workers
-- The living workers, the attempts that they make at a time, and the ones under way.
SELECT count(*) AS workers, COALESCE(sum(slots), 0)::int AS slots,
       COALESCE(sum(cardinality(jobs)), 0)::int AS in_use
FROM workers WHERE heartbeat_at > now() - interval '30 seconds';
