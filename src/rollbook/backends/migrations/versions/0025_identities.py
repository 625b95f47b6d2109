"""Members whom a passport names in place of a South African ID number."""

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add the identity; an older version of Rollbook inserts members by ID number only.

    ``id_number`` stays the key of a member everywhere. For a passport it is a key of its own, with
    more digits than an ID number has; the identity is in the three columns.
    """
    op.execute("""
    ALTER TABLE members
        -- Null: a South African ID number.
        ADD identity_kind text,
        ADD identity_country text,
        ADD identity_number text,
        ALTER date_of_birth DROP NOT NULL,
        DROP CONSTRAINT IF EXISTS members_id_number_check,
        ADD CONSTRAINT member_identity CHECK (
            CASE WHEN identity_kind IS NULL
                 THEN id_number ~ '^[0-9]{13}$' AND date_of_birth IS NOT NULL
                      AND identity_country IS NULL AND identity_number IS NULL
                 ELSE id_number ~ '^[1-9][0-9]{13,18}$' AND identity_kind = 'passport'
                      AND COALESCE(identity_country ~ '^[A-Z]{3}$', false)
                      AND COALESCE(identity_number ~ '^[A-Z0-9]{5,15}$', false) END) NOT VALID;
    CREATE UNIQUE INDEX members_by_identity
        ON members (identity_kind, identity_country, identity_number)
        WHERE identity_kind IS NOT NULL;
    """)


def downgrade() -> None:
    """Drop it. Members by passport can't be in the older schema, so they stop the downgrade."""
    op.execute("""
    ALTER TABLE members DROP CONSTRAINT member_identity,
        ADD CONSTRAINT members_id_number_check CHECK (id_number ~ '^[0-9]{13}$'),
        ALTER date_of_birth SET NOT NULL;
    DROP INDEX members_by_identity;
    ALTER TABLE members DROP identity_kind, DROP identity_country, DROP identity_number;
    """)
