-- name: read
-- The state of an account's second factor; no row where none was ever begun.
SELECT secret IS NOT NULL AS is_on, confirmed_at,
       (SELECT count(*) FROM recovery_codes AS r WHERE r.user_id = f.user_id) AS recovery_codes_left
FROM second_factors AS f WHERE user_id = %(user_id)s;

-- name: lock
-- The second factor while a code is checked: guesses at the same moment take turns.
SELECT * FROM second_factors WHERE user_id = %(user_id)s FOR UPDATE;

-- name: begin
-- Store a secret that is to be confirmed; the present one stays good.
INSERT INTO second_factors (user_id, new_secret, new_secret_at)
VALUES (%(user_id)s, %(secret)s, %(now)s)
ON CONFLICT (user_id) DO UPDATE SET new_secret = EXCLUDED.new_secret,
    new_secret_at = EXCLUDED.new_secret_at, new_failures = 0, new_locked_until = NULL;

-- name: forget_begun
-- Delete secrets whose time to be confirmed is over.
UPDATE second_factors SET new_secret = NULL WHERE user_id IN (
    SELECT user_id FROM second_factors
    WHERE new_secret IS NOT NULL AND new_secret_at < %(now)s - make_interval(secs => %(good_s)s)
    LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: confirm
-- The new secret is the second factor from now on.
UPDATE second_factors SET secret = new_secret, new_secret = NULL, confirmed_at = %(now)s,
    last_step = %(step)s, failures = 0, locked_until = NULL,
    new_failures = 0, new_locked_until = NULL
WHERE user_id = %(user_id)s;

-- name: accept
-- A right code: it is not accepted again.
UPDATE second_factors SET last_step = GREATEST(last_step, %(step)s), failures = 0, locked_until = NULL
WHERE user_id = %(user_id)s;

-- name: fail
-- Count a wrong code; after some, the next one has to wait, each time twice as long.
UPDATE second_factors SET failures = failures + 1,
    locked_until = CASE WHEN failures + 1 < %(free)s THEN NULL
        ELSE %(now)s::timestamptz + make_interval(secs => LEAST(
            power(2, LEAST(failures + 1 - %(free)s, 30)), %(longest_s)s)) END
WHERE user_id = %(user_id)s;

-- name: fail_new
-- The same for the first code of a new secret: it doesn't delay the codes of a sign-in.
UPDATE second_factors SET new_failures = new_failures + 1,
    new_locked_until = CASE WHEN new_failures + 1 < %(free)s THEN NULL
        ELSE %(now)s::timestamptz + make_interval(secs => LEAST(
            power(2, LEAST(new_failures + 1 - %(free)s, 30)), %(longest_s)s)) END
WHERE user_id = %(user_id)s;

-- name: use_recovery
-- Use a recovery code; returns no row the second time.
DELETE FROM recovery_codes WHERE user_id = %(user_id)s AND hash = %(hash)s RETURNING user_id;

-- name: forget_recovery
-- Former recovery codes are no longer good.
DELETE FROM recovery_codes WHERE user_id = %(user_id)s;

-- name: add_recovery
INSERT INTO recovery_codes (user_id, hash) SELECT %(user_id)s, unnest(%(hashes)s::bytea[]);

-- name: remove
-- Switch the second factor off; returns no row where it isn't on.
WITH gone AS (
    DELETE FROM second_factors WHERE user_id = %(user_id)s RETURNING secret)
SELECT FROM gone WHERE secret IS NOT NULL;
