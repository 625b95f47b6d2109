"""Keys for programs."""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Create the tables; an older version of Rollbook refuses keys."""
    op.execute("""
    CREATE TABLE access_keys (
        id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        -- The key's own account: the owner of its uploads, with its role and place.
        user_id        uuid NOT NULL UNIQUE REFERENCES users (id),
        made_by        uuid NOT NULL REFERENCES users (id),
        name           text NOT NULL,
        -- SHA-256 of the key, which is 256 random bits.
        hash           bytea NOT NULL UNIQUE,
        -- The key's first characters, by which its owner recognises it.
        hint           text NOT NULL,
        scopes         text[] NOT NULL,
        created_at     timestamptz NOT NULL DEFAULT now(),
        expires_at     timestamptz NOT NULL,
        last_used_at   timestamptz,
        last_used_from text,
        revoked_at     timestamptz
    );
    CREATE INDEX access_keys_by_maker ON access_keys (made_by);

    -- From where each key was used: the first use from an address is in the audit trail.
    CREATE TABLE access_key_addresses (
        key_id   uuid NOT NULL REFERENCES access_keys (id) ON DELETE CASCADE,
        address  text NOT NULL,
        first_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (key_id, address)
    );
    """)


def downgrade() -> None:
    """Drop them: no key is good any more; the uploads that were sent with them stay."""
    op.execute("""
    DROP TABLE access_key_addresses;
    DROP TABLE access_keys;
    """)
