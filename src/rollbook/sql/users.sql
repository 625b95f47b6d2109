-- name: add
-- Add an account; returns no row if the e-mail address is taken.
INSERT INTO users (id, email, name, role, province, municipality, password_hash)
VALUES (%(id)s, %(email)s, %(name)s, %(role)s, %(province)s, %(municipality)s, %(password_hash)s)
ON CONFLICT (lower(email)) DO NOTHING
RETURNING id;

-- name: by_email
-- For signing in: the account with this address, disabled ones too.
SELECT * FROM users WHERE lower(email) = lower(%(email)s);

-- name: by_id
-- The account of a token as it is now; the token's own role doesn't count.
SELECT * FROM users WHERE id = %(id)s;

-- name: by_session
-- The account of a token, unless the token's session was signed out.
SELECT users.*, EXISTS (SELECT FROM second_factors
        WHERE user_id = users.id AND secret IS NOT NULL) AS has_second_factor
FROM users
WHERE id = %(id)s AND NOT EXISTS (SELECT FROM ended_sessions WHERE id = %(session)s);

-- name: by_ids
-- The accounts of connected users as they are now.
SELECT * FROM users WHERE id = ANY(%(ids)s);

-- name: ended
-- Those of these sessions that were signed out.
SELECT id FROM ended_sessions WHERE id = ANY(%(ids)s);

-- name: end_session
-- Sign out this session only; repeating it has no effect.
INSERT INTO ended_sessions (id, until) VALUES (%(id)s, %(until)s)
ON CONFLICT DO NOTHING;

-- name: forget_ended
-- Delete signed-out sessions whose tokens have expired.
DELETE FROM ended_sessions WHERE id IN (
    SELECT id FROM ended_sessions WHERE until < LEAST(%(now)s, now()) LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: any
-- Whether there is any account; the first start creates one.
SELECT EXISTS (SELECT FROM users WHERE NOT is_system) AS found;

-- name: all
-- Every account, for the operator's list.
SELECT email, name, role, province, municipality, created_at, disabled_at, is_system
FROM users ORDER BY lower(email);

-- name: set_password
-- A new password; it ends a one-time link for another one.
WITH changed AS (
    UPDATE users SET password_hash = %(password_hash)s
    WHERE lower(email) = lower(%(email)s) AND NOT is_system
    RETURNING id),
ended AS (DELETE FROM account_links USING changed WHERE user_id = changed.id)
SELECT id FROM changed;

-- name: end_sessions
-- Sign a person out everywhere: no session of theirs began as late as this, by any clock.
UPDATE users SET tokens_from = GREATEST(
    %(now)s, clock_timestamp(), tokens_from + interval '1 millisecond',
    (SELECT max(begun_at) + interval '1 millisecond' FROM sessions WHERE user_id = users.id))
WHERE id = %(id)s
RETURNING tokens_from;

-- name: rehash
-- Store the same password's hash with newer argon2 settings; sessions stay valid.
UPDATE users SET password_hash = %(password_hash)s WHERE id = %(id)s;

-- name: set_language
-- The language that the person has chosen; null: none.
UPDATE users SET language = %(language)s WHERE id = %(id)s;

-- name: set_role
-- Another role or place.
UPDATE users SET role = %(role)s, province = %(province)s, municipality = %(municipality)s
WHERE lower(email) = lower(%(email)s) AND NOT is_system
RETURNING id;

-- name: disable
-- The account may not sign in any more; its one-time link is no longer good.
WITH closed AS (
    UPDATE users SET disabled_at = COALESCE(disabled_at, now())
    WHERE lower(email) = lower(%(email)s)
    RETURNING id),
ended AS (DELETE FROM account_links USING closed WHERE user_id = closed.id)
SELECT id FROM closed;

-- name: first_super_admin
-- The account in whose name the command line acts by default.
SELECT * FROM users WHERE role = 'super_admin' AND disabled_at IS NULL AND NOT is_system
ORDER BY created_at LIMIT 1;

-- name: by_subject
-- The user of a provider's account; locked, so that two sign-ins at once take turns.
SELECT * FROM users WHERE oidc_issuer = %(issuer)s AND oidc_subject = %(subject)s FOR UPDATE;

-- name: add_of_provider
-- Add an account from the provider's data; returns no row if the address is taken.
INSERT INTO users (id, email, name, role, province, municipality, password_hash, oidc_issuer,
    oidc_subject)
VALUES (%(id)s, %(email)s, %(name)s, %(role)s, %(province)s, %(municipality)s, %(password_hash)s,
    %(issuer)s, %(subject)s)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: address_taken
-- Whether another account has this address.
SELECT FROM users WHERE lower(email) = lower(%(email)s) AND id <> %(id)s;

-- name: set_of_provider
-- Update the account from the provider's data.
UPDATE users SET email = %(email)s, name = %(name)s, role = %(role)s, province = %(province)s,
    municipality = %(municipality)s
WHERE id = %(id)s;

-- name: use_once
-- Use a one-time token; returns no row the second time.
INSERT INTO used_once (id, until) VALUES (%(id)s, %(until)s)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: forget_used
-- Delete what has expired.
DELETE FROM used_once WHERE id IN (
    SELECT id FROM used_once WHERE until < LEAST(%(now)s, now()) LIMIT 100 FOR UPDATE SKIP LOCKED);
