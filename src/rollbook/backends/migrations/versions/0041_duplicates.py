"""Possible duplicates among the members, and those that were joined by hand."""

from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    """Create them; an older version of Rollbook finds no duplicates."""
    op.execute("""
    -- Members among whom duplicates are to be looked for: those of a merge, some at a time.
    CREATE TABLE duplicates_due (
        id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        people bigint[] NOT NULL
    );
    INSERT INTO duplicates_due (people)
    SELECT array_agg(id_number::bigint) FROM (
        SELECT id_number, (row_number() OVER (ORDER BY id_number) - 1) / 20000 AS line FROM members
    ) AS everybody GROUP BY line ORDER BY line;

    CREATE TABLE member_duplicates (
        id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        one        text COLLATE "C" NOT NULL,
        other      text COLLATE "C" NOT NULL,
        -- By what they were found.
        why        text NOT NULL CHECK (why IN ('name_and_birth', 'one_digit', 'phone')),
        -- How alike the names are, 0 to 100.
        score      real NOT NULL,
        -- 'different' is remembered: the pair isn't found again.
        status     text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'different', 'joined')),
        found_at   timestamptz NOT NULL DEFAULT now(),
        decided_at timestamptz,
        decided_by text,
        UNIQUE (one, other),
        CHECK (one < other)
    );
    CREATE INDEX member_duplicates_by_other ON member_duplicates (other);
    CREATE INDEX member_duplicates_open ON member_duplicates (score DESC, id) WHERE status = 'open';

    CREATE TABLE member_joins (
        -- That of the pair.
        id      uuid PRIMARY KEY REFERENCES member_duplicates ON DELETE CASCADE,
        kept    text COLLATE "C" NOT NULL,
        gone    text COLLATE "C" NOT NULL,
        -- The whole record of the one who is gone.
        record  jsonb NOT NULL,
        -- The fields that the other got from it, with their values.
        filled  jsonb NOT NULL,
        at      timestamptz NOT NULL DEFAULT now()
    );
    """)


def downgrade() -> None:
    """Drop them. Joins can't be taken back then."""
    op.execute("""
    DROP TABLE member_joins;
    DROP TABLE member_duplicates;
    DROP TABLE duplicates_due;
    """)
