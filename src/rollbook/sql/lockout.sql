-- name: take
-- Count an attempt and note until when the next must wait: nothing comes back while one must.
INSERT INTO sign_in_failures AS f (key, failures, last_at, locked_until)
VALUES (%(key)s, 1, %(now)s, CASE WHEN %(free)s > 1 THEN 'epoch'
    ELSE %(now)s + interval '1 second' END)
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN f.last_at < %(now)s - make_interval(secs => %(forget_s)s)
        THEN 1 ELSE f.failures + 1 END,
    last_at = %(now)s,
    -- 'epoch' where none must, as what comes at the same moment may be written down later.
    -- Two to the power of at most 30: the exponent grows without an end, the wait doesn't.
    locked_until = CASE
        WHEN f.last_at < %(now)s - make_interval(secs => %(forget_s)s)
            OR f.failures + 1 < %(free)s THEN 'epoch'
        ELSE %(now)s + make_interval(secs => LEAST(
            power(2, LEAST(f.failures + 1 - %(free)s, 30)), %(longest_s)s)) END,
    is_noted = false
WHERE f.locked_until <= %(now)s
RETURNING failures;

-- name: refuse
-- Until when one must wait, and is this the first who hears so?
UPDATE sign_in_failures AS f SET is_noted = true
FROM (SELECT key, is_noted FROM sign_in_failures WHERE key = %(key)s FOR UPDATE) AS before
WHERE f.key = before.key
RETURNING f.locked_until, NOT before.is_noted AS is_first;

-- name: succeed
-- The account's own count begins anew.
DELETE FROM sign_in_failures WHERE key = %(key)s;

-- name: give_back
-- An attempt that wasn't a failure.
UPDATE sign_in_failures
SET failures = GREATEST(failures - 1, 0), locked_until = 'epoch'
WHERE key = %(key)s;

-- name: forget_old
-- Counts whose time is over; those that others hold just now can wait.
DELETE FROM sign_in_failures WHERE key IN (
    SELECT key FROM sign_in_failures
    WHERE last_at < %(now)s - make_interval(secs => %(forget_s)s) LIMIT 100 FOR UPDATE SKIP LOCKED);
