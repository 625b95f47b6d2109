-- name: list
-- A page of people's accounts in the reader's scope: the open ones first.
SELECT u.id AS user_id, u.email, u.name, u.role, u.province, u.municipality, u.version,
       u.created_at, u.disabled_at AS closed_at, u.oidc_issuer IS NOT NULL AS is_of_provider,
       EXISTS (SELECT FROM second_factors AS f WHERE f.user_id = u.id AND f.secret IS NOT NULL)
           AS has_second_factor,
       s.state, l.kind AS link_kind, l.expires_at AS link_expires_at, count(*) OVER () AS found
FROM users AS u LEFT JOIN account_links AS l ON l.user_id = u.id,
    LATERAL (SELECT CASE WHEN u.disabled_at IS NOT NULL THEN 'closed'
                         WHEN l.kind = 'invitation' THEN 'invited' ELSE 'active' END AS state) AS s
WHERE NOT u.is_system
  AND in_scope(u.province, u.municipality, %(scope_province)s, %(scope_municipality)s)
  AND (%(id)s::uuid IS NULL OR u.id = %(id)s)
  AND (%(role)s::text IS NULL OR u.role = %(role)s)
  AND (%(state)s::text IS NULL OR s.state = %(state)s)
  AND (%(province)s::text IS NULL OR u.province = %(province)s)
  AND (%(municipality)s::text IS NULL OR lower(u.municipality) = lower(%(municipality)s))
  AND (%(search)s::text IS NULL OR position(lower(%(search)s) IN lower(u.email)) > 0
       OR position(lower(%(search)s) IN lower(u.name)) > 0)
ORDER BY u.disabled_at IS NOT NULL, lower(u.email)
LIMIT %(limit)s OFFSET %(offset)s;

-- name: acting
-- The administrator who changes an account, locked: nobody closes theirs at the same moment.
SELECT * FROM users WHERE id = %(id)s FOR UPDATE;

-- name: in_reach
-- A person's account in the reader's scope, locked, with the kind of its link.
SELECT u.*, (SELECT kind FROM account_links WHERE user_id = u.id) AS link_kind
FROM users AS u
WHERE u.id = %(id)s AND NOT u.is_system
  AND in_scope(u.province, u.municipality, %(scope_province)s, %(scope_municipality)s)
FOR UPDATE OF u;

-- name: open
-- Open a closed account again.
UPDATE users SET disabled_at = NULL WHERE id = %(id)s;

-- name: offices
-- People with an open account in the reader's scope, by office.
SELECT u.id AS user_id, u.email, u.name, u.role, u.province, u.municipality,
       CASE WHEN l.kind = 'invitation' THEN 'invited' ELSE 'active' END AS state
FROM users AS u LEFT JOIN account_links AS l ON l.user_id = u.id
WHERE NOT u.is_system AND u.disabled_at IS NULL
  AND in_scope(u.province, u.municipality, %(scope_province)s, %(scope_municipality)s)
ORDER BY lower(u.email);

-- name: taken
-- The places, from 1, of those of these addresses for which there is an account. No scope applies: an
-- address is taken also by another office.
SELECT wanted.place::int FROM unnest(%(emails)s::text[]) WITH ORDINALITY AS wanted(email, place)
JOIN users AS u ON lower(u.email) = lower(wanted.email);
