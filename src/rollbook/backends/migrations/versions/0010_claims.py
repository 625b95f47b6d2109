"""Which members each upload's file held, so that undoing an earlier upload leaves them alone."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table; an older version of Rollbook completes uploads without a row in it."""
    op.execute("""
    CREATE TABLE upload_claims (
        upload_id  uuid PRIMARY KEY,
        -- Drawn after the merge has locked its members: of two uploads that hold the same member,
        -- the later one has the higher number, whatever the clocks say.
        ordinal    bigint GENERATED ALWAYS AS IDENTITY,
        -- The names of the columns of members that the bits of `filled` mean, the lowest bit first.
        fields     text[] NOT NULL,
        -- ID numbers as numbers: arrays, since a row for each would double what a merge writes.
        people     bigint[] NOT NULL,
        -- Which fields of each of them the file and the record agree on.
        filled     bigint[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CHECK (cardinality(people) = cardinality(filled) AND cardinality(fields) <= 63)
    );
    CREATE INDEX upload_claims_by_ordinal ON upload_claims (ordinal);
    -- Compressing them costs more time than it saves space.
    ALTER TABLE upload_claims ALTER people SET STORAGE EXTERNAL, ALTER filled SET STORAGE EXTERNAL;
    """)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE upload_claims;")
