-- name: beat
-- A worker lives, holds these jobs, and may be kept from taking more.
INSERT INTO workers (name, host, pid, slots, jobs, problems, heartbeat_at)
VALUES (%(name)s, %(host)s, %(pid)s, %(slots)s, %(jobs)s, %(problems)s, now())
ON CONFLICT (name) DO UPDATE
SET jobs = excluded.jobs, problems = excluded.problems, heartbeat_at = now();

-- name: leave
-- A worker has stopped in order.
DELETE FROM workers WHERE name = %(name)s;

-- name: living
-- Workers that were heard of lately; those that died without a word drop out by themselves.
SELECT name, host, pid, slots, jobs, problems, started_at, heartbeat_at FROM workers
WHERE heartbeat_at > now() - interval '30 seconds' ORDER BY started_at, name;

-- name: bury
-- Workers that were not heard of for a day.
DELETE FROM workers WHERE heartbeat_at < now() - interval '1 day';
