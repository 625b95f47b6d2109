-- name: lock_maker
-- Keys of one maker are made one after the other, so that their number is right.
SELECT FROM users WHERE id = %(made_by)s FOR UPDATE;

-- name: count
-- The maker's keys that are good.
SELECT count(*) AS keys FROM access_keys
WHERE made_by = %(made_by)s AND revoked_at IS NULL AND expires_at > now();

-- name: add_account
-- The key's own account. Nobody signs in to it, and its password hash matches no password.
INSERT INTO users (id, email, name, role, province, municipality, password_hash, is_system)
VALUES (%(user_id)s, %(account)s, %(name)s, %(role)s, %(province)s, %(municipality)s, '', true);

-- name: add
-- Add a key, valid for a number of days or until a time, at most as long as the settings allow.
INSERT INTO access_keys (user_id, made_by, name, hash, hint, scopes, expires_at)
SELECT %(user_id)s, %(made_by)s, %(name)s, %(hash)s, %(hint)s, %(scopes)s, until
FROM COALESCE(%(expires_at)s::timestamptz, now() + make_interval(days => %(days)s)) AS until
WHERE until > now() AND until <= now() + make_interval(days => %(most_days)s)
RETURNING id;

-- name: by_hash
-- A good key's account and its maker's as they are now, and what is to be recorded of this use.
SELECT users.id, users.email, users.name, users.role, users.province, users.municipality,
       k.id AS key_id, k.scopes, k.created_at AS made_at, k.expires_at,
       maker.role AS maker_role, maker.province AS maker_province,
       maker.municipality AS maker_municipality,
       COALESCE(k.last_used_at < now() - interval '1 minute', true) AS is_use_due,
       NOT EXISTS (SELECT FROM access_key_addresses AS a
                   WHERE a.key_id = k.id AND a.address = %(address)s) AS is_from_elsewhere
FROM access_keys AS k JOIN users ON users.id = k.user_id JOIN users AS maker ON maker.id = k.made_by
WHERE k.hash = %(hash)s AND k.revoked_at IS NULL AND k.expires_at > now()
  AND users.disabled_at IS NULL AND maker.disabled_at IS NULL;

-- name: by_ids
-- The accounts of these keys and of their makers as they are now, where both are open.
SELECT users.id, users.email, users.name, users.role, users.province, users.municipality,
       k.id AS key_id, k.scopes,
       maker.role AS maker_role, maker.province AS maker_province,
       maker.municipality AS maker_municipality
FROM access_keys AS k JOIN users ON users.id = k.user_id JOIN users AS maker ON maker.id = k.made_by
WHERE k.id = ANY(%(ids)s) AND k.revoked_at IS NULL AND k.expires_at > now()
  AND users.disabled_at IS NULL AND maker.disabled_at IS NULL;

-- name: note_use
-- When and from where a key was used last; written at most once a minute.
UPDATE access_keys SET last_used_at = now(), last_used_from = %(address)s
WHERE id = %(id)s AND COALESCE(last_used_at < now() - interval '1 minute', true);

-- name: note_address
-- The first use from an address; returns no row if it is known.
INSERT INTO access_key_addresses (key_id, address) VALUES (%(id)s, %(address)s)
ON CONFLICT DO NOTHING RETURNING address;

-- name: list
-- A page of the keys of the reader's scope: the good ones first, then the newest.
SELECT k.id AS key_id, k.name, k.hint, k.scopes, k.created_at, k.expires_at, k.last_used_at,
       k.last_used_from, k.revoked_at, users.role, users.province, users.municipality,
       maker.email AS made_by, maker.role AS maker_role, maker.province AS maker_province,
       maker.municipality AS maker_municipality, k.expires_at <= now() AS is_expired,
       users.disabled_at IS NULL AND maker.disabled_at IS NULL AS is_open,
       count(*) OVER () AS found
FROM access_keys AS k JOIN users ON users.id = k.user_id JOIN users AS maker ON maker.id = k.made_by
WHERE in_scope(users.province, users.municipality, %(scope_province)s, %(scope_municipality)s)
  AND (%(id)s::uuid IS NULL OR k.id = %(id)s)
ORDER BY k.revoked_at IS NOT NULL, k.expires_at <= now(), k.created_at DESC, k.id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: in_reach
-- A key of the reader's scope, with the account that made it.
SELECT k.id, k.user_id, k.made_by, k.name, k.hint
FROM access_keys AS k JOIN users ON users.id = k.user_id
WHERE k.id = %(id)s
  AND in_scope(users.province, users.municipality, %(scope_province)s, %(scope_municipality)s);

-- name: revoke
-- The key is no longer valid; its account is closed, so that its waiting uploads are an operator's
-- decision. Returns no row if it was revoked before.
WITH gone AS (
    UPDATE access_keys SET revoked_at = now() WHERE id = %(id)s AND revoked_at IS NULL
    RETURNING user_id)
UPDATE users SET disabled_at = COALESCE(disabled_at, now()) FROM gone
WHERE users.id = gone.user_id RETURNING users.id;
