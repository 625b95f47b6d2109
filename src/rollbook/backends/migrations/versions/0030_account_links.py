"""One-time links by which people choose a password, and versions of accounts."""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Create the table and the column; an older version of Rollbook knows no links."""
    op.execute("""
    -- An account has one link at most: a new one replaces it, and a new password ends it.
    CREATE TABLE account_links (
        user_id    uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
        -- SHA-256 of the link's token, which is 256 random bits.
        hash       bytea NOT NULL UNIQUE,
        -- With an invitation the account gets its first password.
        kind       text NOT NULL CHECK (kind IN ('invitation', 'reset')),
        made_by    uuid REFERENCES users (id),
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL
    );

    -- An administrator's change is refused when the account has changed since it was read. A
    -- trigger counts, because the command line, the provider and older versions make changes too.
    ALTER TABLE users ADD version integer NOT NULL DEFAULT 1;
    CREATE FUNCTION count_account_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.version := OLD.version + 1;
        RETURN NEW;
    END $$;
    CREATE TRIGGER count_account_changes BEFORE UPDATE ON users FOR EACH ROW
    WHEN ((OLD.email, OLD.name, OLD.role, OLD.province, OLD.municipality, OLD.disabled_at)
          IS DISTINCT FROM
          (NEW.email, NEW.name, NEW.role, NEW.province, NEW.municipality, NEW.disabled_at))
    EXECUTE FUNCTION count_account_changes();
    """)


def downgrade() -> None:
    """Drop them: no link is good any more; an operator can set passwords."""
    op.execute("""
    DROP TRIGGER count_account_changes ON users;
    DROP FUNCTION count_account_changes;
    ALTER TABLE users DROP version;
    DROP TABLE account_links;
    """)
