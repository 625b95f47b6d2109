-- name: enter
-- Reserve an attempt; returns no row while it must wait. Failures and running attempts together stay
-- within the number of free attempts; after that only one attempt at a time is let through.
INSERT INTO sign_in_failures AS f (key, account, failures, under_way, last_at, locked_until)
VALUES (%(key)s, %(account)s, 0, 1, %(now)s, 'epoch')
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN f.last_at < %(now)s - make_interval(secs => %(forget_s)s)
        THEN 0 ELSE f.failures END,
    under_way = 1 + CASE WHEN f.last_at < %(now)s - make_interval(secs => %(lost_s)s)
        THEN 0 ELSE f.under_way END,
    last_at = %(now)s,
    is_noted = false
-- A wait beyond the longest was noted by a process with a wrong clock.
WHERE (f.locked_until <= %(now)s OR f.locked_until > %(now)s + make_interval(secs => %(longest_s)s + 1))
    AND CASE WHEN f.last_at < %(now)s - make_interval(secs => %(lost_s)s) THEN 0
             ELSE f.under_way END
        < GREATEST(1, %(free)s - CASE
            WHEN f.last_at < %(now)s - make_interval(secs => %(forget_s)s) THEN 0
            ELSE f.failures END)
RETURNING failures;

-- name: fail
-- Count a failure, and set the time until which the next attempt must wait: one second after the last
-- free attempt, and twice as long after each further failure. The exponent is capped at 30, so that
-- the wait stays bounded.
INSERT INTO sign_in_failures AS f (key, account, failures, under_way, last_at, locked_until)
VALUES (%(key)s, %(account)s, 1, 0, %(now)s,
        CASE WHEN %(free)s > 1 THEN 'epoch' ELSE %(now)s + interval '1 second' END)
ON CONFLICT (key) DO UPDATE SET
    failures = 1 + CASE WHEN f.last_at < %(now)s - make_interval(secs => %(forget_s)s)
        THEN 0 ELSE f.failures END,
    under_way = GREATEST(f.under_way - %(held)s, 0),
    last_at = %(now)s,
    locked_until = CASE
        WHEN f.last_at < %(now)s - make_interval(secs => %(forget_s)s)
            OR f.failures + 1 < %(free)s THEN 'epoch'
        ELSE %(now)s + make_interval(secs => LEAST(
            power(2, LEAST(f.failures + 1 - %(free)s, 30)), %(longest_s)s)) END;

-- name: release
-- An attempt that was not a failure has ended.
UPDATE sign_in_failures SET under_way = GREATEST(under_way - 1, 0) WHERE key = %(key)s;

-- name: reset
-- An attempt that succeeded has ended: the count begins again.
UPDATE sign_in_failures
SET under_way = GREATEST(under_way - 1, 0), failures = 0, locked_until = 'epoch'
WHERE key = %(key)s;

-- name: locked
-- The time until which the next attempt must wait, if it must.
SELECT locked_until FROM sign_in_failures
WHERE key = %(key)s AND locked_until > %(now)s
  AND locked_until <= %(now)s + make_interval(secs => %(longest_s)s + 1);

-- name: note
-- Note a refusal; returns a row only for the first one of this wait.
UPDATE sign_in_failures AS f SET is_noted = true
FROM (SELECT key, is_noted FROM sign_in_failures WHERE key = %(key)s FOR UPDATE) AS before
WHERE f.key = before.key
RETURNING NOT before.is_noted AS is_first;

-- name: clear
-- All counts of an account.
DELETE FROM sign_in_failures WHERE account = %(account)s;

-- name: is_known
-- Has the account signed in at this address?
SELECT FROM sign_in_known
WHERE key = %(key)s AND last_at > %(now)s - make_interval(days => %(days)s);

-- name: remember
-- The account has signed in at this address.
INSERT INTO sign_in_known (key, account, last_at) VALUES (%(key)s, %(account)s, %(now)s)
ON CONFLICT (key) DO UPDATE SET last_at = %(now)s;

-- name: forget_known
-- Delete addresses without a recent sign-in.
DELETE FROM sign_in_known WHERE key IN (
    SELECT key FROM sign_in_known WHERE last_at < %(now)s - make_interval(days => %(days)s)
    LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: forget_old
-- Delete counts that have expired, except those that another transaction has locked.
DELETE FROM sign_in_failures WHERE key IN (
    SELECT key FROM sign_in_failures
    WHERE last_at < %(now)s - make_interval(secs => %(forget_s)s) LIMIT 100 FOR UPDATE SKIP LOCKED);
