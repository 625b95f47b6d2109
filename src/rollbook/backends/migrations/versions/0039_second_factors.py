"""Second factors of accounts, and the list of their sessions."""

from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Create the tables; an older version of Rollbook asks for no second factor."""
    op.execute("""
    CREATE TABLE second_factors (
        user_id      uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
        -- In base32; null until the first one is confirmed. Codes are computed from it, so it can't
        -- be hashed.
        secret       text,
        -- One that was shown and isn't confirmed yet.
        new_secret   text,
        confirmed_at timestamptz,
        -- The period of the last code that was accepted: no code is accepted twice.
        last_step    bigint NOT NULL DEFAULT 0,
        -- Wrong codes since the last right one.
        failures     integer NOT NULL DEFAULT 0,
        locked_until timestamptz
    );
    CREATE TABLE recovery_codes (
        user_id uuid NOT NULL REFERENCES second_factors ON DELETE CASCADE,
        -- SHA-256 of the code, which is 80 random bits.
        hash    bytea NOT NULL,
        PRIMARY KEY (user_id, hash)
    );

    -- For the list of sessions. What ends a session is in ended_sessions and users.tokens_from, as
    -- before: a session of an older version isn't listed, and is good all the same.
    CREATE TABLE sessions (
        id         uuid PRIMARY KEY,
        user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        begun_at   timestamptz NOT NULL,
        until      timestamptz NOT NULL,
        used_at    timestamptz NOT NULL,
        via        text NOT NULL,
        address    text,
        agent      text
    );
    CREATE INDEX sessions_of_user ON sessions (user_id);
    CREATE INDEX sessions_until ON sessions (until);
    """)


def downgrade() -> None:
    """Drop them: accounts sign in with their passwords only."""
    op.execute("""
    DROP TABLE sessions;
    DROP TABLE recovery_codes;
    DROP TABLE second_factors;
    """)
