-- name: note
-- A sign-in, or the renewal of its token.
INSERT INTO sessions (id, user_id, begun_at, until, used_at, via, address, agent)
VALUES (%(id)s, %(user_id)s, %(begun_at)s, %(until)s, %(now)s, %(via)s, %(address)s, %(agent)s)
ON CONFLICT (id) DO UPDATE SET used_at = EXCLUDED.used_at, address = EXCLUDED.address,
    agent = EXCLUDED.agent;

-- name: forget_old
-- Delete sessions that have ended by themselves.
DELETE FROM sessions WHERE id IN (
    SELECT id FROM sessions WHERE until < LEAST(%(now)s, now()) LIMIT 100 FOR UPDATE SKIP LOCKED);

-- name: open
-- An account's sessions that are good, the last used first.
SELECT s.* FROM sessions AS s JOIN users ON users.id = s.user_id
WHERE s.user_id = %(user_id)s AND s.until > %(now)s AND s.begun_at >= users.tokens_from
  AND (%(id)s::uuid IS NULL OR s.id = %(id)s)
  AND NOT EXISTS (SELECT FROM ended_sessions AS e WHERE e.id = s.id)
ORDER BY s.used_at DESC, s.id LIMIT 200;
