-- name: make
-- The account's link; it replaces a former one.
INSERT INTO account_links (user_id, hash, kind, made_by, expires_at)
VALUES (%(user_id)s, %(hash)s, %(kind)s, %(made_by)s, now() + make_interval(hours => %(hours)s))
ON CONFLICT (user_id) DO UPDATE SET hash = EXCLUDED.hash, kind = EXCLUDED.kind,
    made_by = EXCLUDED.made_by, created_at = now(), expires_at = EXCLUDED.expires_at
RETURNING expires_at, (SELECT language FROM users WHERE users.id = user_id) AS language;

-- name: by_hash
-- The open account of a good link.
SELECT users.*, l.kind AS link_kind, l.expires_at AS link_expires_at
FROM account_links AS l JOIN users ON users.id = l.user_id
WHERE l.hash = %(hash)s AND l.expires_at > now() AND users.disabled_at IS NULL;

-- name: lock
-- The account before its link, in the order in which closing an account locks both.
SELECT FROM users WHERE id = %(id)s FOR UPDATE;

-- name: use
-- Use a link: the account has this password. Returns no row the second time.
WITH used AS (
    DELETE FROM account_links WHERE hash = %(hash)s AND expires_at > now() RETURNING user_id)
UPDATE users SET password_hash = %(password_hash)s FROM used
WHERE users.id = used.user_id AND users.disabled_at IS NULL
RETURNING users.*;
