-- name: by_claim
-- The upload that was made of a claimed file, whoever's the file was by then.
SELECT * FROM uploads WHERE idempotency_key = %(key)s AND idempotency_key LIKE 'folder:%%';

-- name: state
-- Do the watchers take files?
SELECT is_running, changed_at, changed_by FROM folder_state;

-- name: change
-- Start or stop them, wherever they run; who did it first stays named.
UPDATE folder_state
SET is_running = %(is_running)s, changed_at = now(), changed_by = %(changed_by)s
WHERE is_running <> %(is_running)s;

-- name: beat
-- A watcher lives; this is how it fares.
INSERT INTO watchers (name, host, pid, folder, has_events, waiting, taken, refused, problem,
                      swept_at, heartbeat_at)
VALUES (%(name)s, %(host)s, %(pid)s, %(folder)s, %(has_events)s, %(waiting)s, %(taken)s,
        %(refused)s, %(problem)s, %(swept_at)s, now())
ON CONFLICT (name) DO UPDATE
SET waiting = excluded.waiting, taken = excluded.taken, refused = excluded.refused,
    problem = excluded.problem, swept_at = excluded.swept_at, heartbeat_at = now();

-- name: leave
-- A watcher has stopped in order.
DELETE FROM watchers WHERE name = %(name)s;

-- name: living
-- Watchers that were heard of lately.
SELECT name, host, pid, folder, has_events, waiting, taken, refused, problem, swept_at, started_at,
       heartbeat_at
FROM watchers WHERE heartbeat_at > now() - interval '30 seconds' ORDER BY started_at, name;

-- name: bury
-- Watchers that were not heard of for a day.
DELETE FROM watchers WHERE heartbeat_at < now() - interval '1 day';
