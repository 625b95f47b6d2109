"""What survives faults: the store's mark, the queue's pause, hand-backs, and workers' problems."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create the tables and columns; an older version of Rollbook leaves them as they are."""
    op.execute("""
    -- The file store holds the installation's id since then; see service/store_proof.py. One row.
    CREATE TABLE store_mark (
        the_one   boolean PRIMARY KEY DEFAULT true CHECK (the_one),
        marked_at timestamptz NOT NULL DEFAULT now()
    );

    -- Is the queue paused? Redis may forget it. One row.
    CREATE TABLE queue_state (
        the_one    boolean PRIMARY KEY DEFAULT true CHECK (the_one),
        is_paused  boolean NOT NULL DEFAULT false,
        changed_at timestamptz NOT NULL DEFAULT now(),
        -- The address of whoever paused or resumed it last.
        changed_by text
    );
    INSERT INTO queue_state DEFAULT VALUES;

    ALTER TABLE uploads
        -- Attempts in a row that were handed back because a part was away, full or locked.
        ADD hand_backs integer NOT NULL DEFAULT 0,
        -- When the next one is due.
        ADD retry_at timestamptz;

    -- What keeps a worker from taking jobs, as sentences.
    ALTER TABLE workers ADD problems text[] NOT NULL DEFAULT '{}';
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    ALTER TABLE workers DROP problems;
    ALTER TABLE uploads DROP hand_backs, DROP retry_at;
    DROP TABLE queue_state;
    DROP TABLE store_mark;
    """)
