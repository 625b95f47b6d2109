-- name: by_claim
-- The upload that was made from a claimed file, regardless of its owner.
SELECT * FROM uploads WHERE idempotency_key = %(key)s AND idempotency_key LIKE 'folder:%%';

-- name: state
-- Whether the watchers take files.
SELECT is_running, changed_at, changed_by FROM folder_state;

-- name: change
-- Start or stop all watchers; a repeated call doesn't change the recorded user.
UPDATE folder_state
SET is_running = %(is_running)s, changed_at = now(), changed_by = %(changed_by)s
WHERE is_running <> %(is_running)s;

-- name: beat
-- Write a watcher's heartbeat and state.
INSERT INTO watchers (name, host, pid, folder, has_events, waiting, taken, refused, problem,
                      left_alone, left_alone_total, swept_at, heartbeat_at)
VALUES (%(name)s, %(host)s, %(pid)s, %(folder)s, %(has_events)s, %(waiting)s, %(taken)s,
        %(refused)s, %(problem)s, %(left_alone)s, %(left_alone_total)s, %(swept_at)s, now())
ON CONFLICT (name) DO UPDATE
SET waiting = excluded.waiting, taken = excluded.taken, refused = excluded.refused,
    problem = excluded.problem, left_alone = excluded.left_alone,
    left_alone_total = excluded.left_alone_total, swept_at = excluded.swept_at, heartbeat_at = now();

-- name: leave
-- Remove a watcher that has stopped cleanly.
DELETE FROM watchers WHERE name = %(name)s;

-- name: living
-- Watchers with a recent heartbeat.
SELECT name, host, pid, folder, has_events, waiting, taken, refused, problem, left_alone,
       left_alone_total, swept_at, started_at, heartbeat_at
FROM watchers WHERE heartbeat_at > now() - interval '30 seconds' ORDER BY started_at, name;

-- name: bury
-- Delete watchers without a heartbeat for a day.
DELETE FROM watchers WHERE heartbeat_at < now() - interval '1 day';
