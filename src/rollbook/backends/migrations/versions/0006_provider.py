"""Whose account at an outside provider an account is, and what of a sign-in there is used up."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns and the table."""
    op.execute("""
    ALTER TABLE users
        ADD oidc_issuer text,
        -- The provider's own name of the person, which unlike an address is nobody else's later.
        ADD oidc_subject text,
        ADD CONSTRAINT issuer_and_subject
            CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL));
    CREATE UNIQUE INDEX users_oidc_key ON users (oidc_issuer, oidc_subject);

    CREATE TABLE used_once (
        -- Of a sign-in's state, or of what its end is exchanged with for a token.
        id    uuid PRIMARY KEY,
        -- It is over by then, used or not.
        until timestamptz NOT NULL
    );
    CREATE INDEX used_once_until ON used_once (until);
    """)


def downgrade() -> None:
    """Drop them; accounts that the provider's people had stay, and have no password."""
    op.execute("""
    DROP TABLE used_once;
    DROP INDEX users_oidc_key;
    ALTER TABLE users DROP CONSTRAINT issuer_and_subject, DROP oidc_issuer, DROP oidc_subject;
    """)
