"""Corrections of members by hand, for their history."""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Create the table; an older version of Rollbook has no corrections."""
    op.execute("""
    CREATE TABLE member_corrections (
        id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id_number text COLLATE "C" NOT NULL,
        at        timestamptz NOT NULL,
        -- Who, as the account was then.
        user_id   uuid,
        email     text,
        reason    text NOT NULL,
        -- {"field": [before, after], ...}
        changes   jsonb NOT NULL
    );
    CREATE INDEX member_corrections_by_member ON member_corrections (id_number, id);
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE member_corrections;")
