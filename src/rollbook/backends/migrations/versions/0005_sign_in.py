"""Failed sign-ins, and sessions that were signed out."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
    op.execute("""
    -- How many sign-ins have failed, of an account or from an address; until when the next waits.
    CREATE TABLE sign_in_failures (
        key          text PRIMARY KEY,
        failures     integer NOT NULL,
        last_at      timestamptz NOT NULL,
        locked_until timestamptz NOT NULL,
        -- Does the audit trail know of this wait?
        is_noted     boolean NOT NULL DEFAULT false
    );
    CREATE INDEX sign_in_failures_by_time ON sign_in_failures (last_at);

    -- Sessions that were signed out, until they would have ended.
    CREATE TABLE ended_sessions (
        id    uuid PRIMARY KEY,
        until timestamptz NOT NULL
    );
    CREATE INDEX ended_sessions_by_time ON ended_sessions (until);
    """)


def downgrade() -> None:
    """Drop them: nobody waits, and who had signed out and kept a token is signed in again."""
    op.execute("""
    DROP TABLE ended_sessions;
    DROP TABLE sign_in_failures;
    """)
