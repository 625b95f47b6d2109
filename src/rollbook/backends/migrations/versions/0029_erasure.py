"""Erasing a person: what stays is a keyed hash, and a receipt that says nothing of the person."""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Create them; an older version of Rollbook takes erased people in again."""
    op.execute("""
    CREATE TABLE erased_people (
        hash      bytea PRIMARY KEY,
        -- Of the secret key under which the hash was made.
        key_id    text NOT NULL,
        erased_at timestamptz NOT NULL DEFAULT now()
    );

    CREATE TABLE erasures (
        id           uuid PRIMARY KEY,
        -- Who asked for it, as the account was then, and why.
        user_id      uuid NOT NULL,
        email        text NOT NULL,
        reason       text NOT NULL,
        -- What to look for in files, until the last was looked through; null from then on.
        person       jsonb,
        -- The upload up to which files were looked through, by its ordinal.
        looked_to    bigint NOT NULL DEFAULT 0,
        status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed')),
        -- How much was removed, by kind.
        counts       jsonb NOT NULL DEFAULT '{}',
        tries        integer NOT NULL DEFAULT 0,
        created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        due_at       timestamptz NOT NULL DEFAULT now(),
        finished_at  timestamptz,
        CONSTRAINT completed_knows_nobody CHECK (status <> 'completed' OR person IS NULL)
    );
    CREATE INDEX erasures_due ON erasures (due_at) WHERE status = 'pending';
    """)


def downgrade() -> None:
    """Drop them: erased people who are in a later file become members again."""
    op.execute("""
    DROP TABLE erasures;
    DROP TABLE erased_people;
    """)
