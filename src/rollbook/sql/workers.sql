-- name: beat
-- Write a worker's heartbeat, its jobs, and the reasons why it takes none.
INSERT INTO workers (name, host, pid, slots, jobs, problems, heartbeat_at)
VALUES (%(name)s, %(host)s, %(pid)s, %(slots)s, %(jobs)s, %(problems)s, now())
ON CONFLICT (name) DO UPDATE
SET jobs = excluded.jobs, problems = excluded.problems, heartbeat_at = now();

-- name: leave
-- Remove a worker that has stopped cleanly.
DELETE FROM workers WHERE name = %(name)s;

-- name: living
-- Workers with a recent heartbeat; a worker that died drops out after a while.
SELECT name, host, pid, slots, jobs, problems, started_at, heartbeat_at FROM workers
WHERE heartbeat_at > now() - interval '30 seconds' ORDER BY started_at, name;

-- name: taking
-- Count the living workers that nothing keeps from taking jobs.
SELECT count(*) AS workers FROM workers
WHERE heartbeat_at > now() - interval '30 seconds' AND problems = '{}';

-- name: bury
-- Delete workers without a heartbeat for a day.
DELETE FROM workers WHERE heartbeat_at < now() - interval '1 day';
