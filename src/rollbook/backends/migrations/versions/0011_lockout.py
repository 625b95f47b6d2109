"""Failed sign-ins by account and address, attempts under way, and addresses that are known."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns and the table; an older version counts by account and address alone."""
    op.execute("""
    ALTER TABLE sign_in_failures
        -- The hash of the account; null for an address.
        ADD account text,
        -- Attempts whose password is being checked.
        ADD under_way integer NOT NULL DEFAULT 0;
    CREATE INDEX sign_in_failures_by_account ON sign_in_failures (account);

    -- The addresses at which accounts have signed in, as a hash of both.
    CREATE TABLE sign_in_known (
        key     text PRIMARY KEY,
        account text NOT NULL,
        last_at timestamptz NOT NULL
    );
    CREATE INDEX sign_in_known_by_time ON sign_in_known (last_at);
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    DROP TABLE sign_in_known;
    ALTER TABLE sign_in_failures DROP account, DROP under_way;
    """)
