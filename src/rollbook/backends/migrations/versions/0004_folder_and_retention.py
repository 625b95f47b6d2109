"""The watched folder, its account, and what retention has carried out."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables, the columns and the account ``folder``."""
    op.execute("""
    -- An account in whose name the system acts: nobody signs in with it.
    ALTER TABLE users ADD is_system boolean NOT NULL DEFAULT false;
    INSERT INTO users (id, email, name, role, password_hash, is_system)
    VALUES (gen_random_uuid(), 'folder', 'Watched folder', 'national_admin', '', true)
    -- A downgrade has left the account because uploads are its own.
    ON CONFLICT (lower(email)) DO UPDATE SET is_system = true, disabled_at = NULL;

    ALTER TABLE uploads
        -- When its files and the cells kept with its rows were removed.
        ADD purged_at timestamptz,
        -- When its before-values were: from then on it can't be undone.
        ADD changes_forgotten_at timestamptz;
    CREATE INDEX uploads_unpurged ON uploads (finished_at)
        WHERE purged_at IS NULL AND finished_at IS NOT NULL;

    -- Do the watchers take files? One row, for all processes and over restarts.
    CREATE TABLE folder_state (
        the_one    boolean PRIMARY KEY DEFAULT true CHECK (the_one),
        is_running boolean NOT NULL DEFAULT true,
        changed_at timestamptz NOT NULL DEFAULT now(),
        -- The address of whoever started or stopped it last.
        changed_by text
    );
    INSERT INTO folder_state DEFAULT VALUES;

    -- The upload of a claimed file, see ``intake``.
    CREATE INDEX uploads_by_claim ON uploads (idempotency_key)
        WHERE idempotency_key LIKE 'folder:%';

    -- A process that watches a folder; it says that it lives every few seconds.
    CREATE TABLE watchers (
        name         text PRIMARY KEY,
        host         text NOT NULL,
        pid          integer NOT NULL,
        folder       text NOT NULL,
        has_events   boolean NOT NULL,
        -- Files of its last look that aren't taken yet, and what it has done since its start.
        waiting      integer NOT NULL DEFAULT 0,
        taken        integer NOT NULL DEFAULT 0,
        refused      integer NOT NULL DEFAULT 0,
        -- What keeps it from working, as a sentence.
        problem      text,
        swept_at     timestamptz,
        started_at   timestamptz NOT NULL DEFAULT now(),
        heartbeat_at timestamptz NOT NULL
    );

    -- Each round of retention and what it removed, by kind.
    CREATE TABLE purges (
        id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        ran_at  timestamptz NOT NULL,
        removed json NOT NULL
    );
    CREATE INDEX purges_by_time ON purges (ran_at);
    """)


def downgrade() -> None:
    """Drop them; an account that has uploads stays, closed, because they are its own."""
    op.execute("""
    DROP TABLE purges;
    DROP TABLE watchers;
    DROP TABLE folder_state;
    DROP INDEX uploads_by_claim;
    DROP INDEX uploads_unpurged;
    ALTER TABLE uploads DROP purged_at, DROP changes_forgotten_at;
    DELETE FROM users
    WHERE is_system AND NOT EXISTS (SELECT FROM uploads WHERE owner_id = users.id);
    UPDATE users SET disabled_at = COALESCE(disabled_at, now()) WHERE is_system;
    ALTER TABLE users DROP is_system;
    """)
