"""Possible duplicates by the place of both members, by which an office finds its own pairs."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0056"
down_revision = "0055"

#: What a page of pairs is of, before its order.
_INDEXES = {
    "member_duplicates_in_order": "status",
    "member_duplicates_of_province": "status, province",
    "member_duplicates_of_municipality": "status, municipality",
    "member_duplicates_by_why": "status, why",
    "member_duplicates_of_province_by_why": "status, why, province",
    "member_duplicates_of_municipality_by_why": "status, why, municipality",
}


def upgrade() -> None:
    """Add the place to each pair, and an index for each kind of place.

    Triggers keep it right, so that an older version of Rollbook does, too. That of the index of
    members runs for members who have moved only.
    """
    op.execute("""
    ALTER TABLE member_duplicates
        -- Where both members are, municipalities in small letters; null where they differ.
        ADD COLUMN IF NOT EXISTS province text,
        ADD COLUMN IF NOT EXISTS municipality text;

    CREATE OR REPLACE FUNCTION place_pair() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        SELECT CASE WHEN a.province = b.province THEN a.province END,
               CASE WHEN lower(a.municipality) = lower(b.municipality)
                    THEN lower(a.municipality) END
        INTO NEW.province, NEW.municipality
        FROM members AS a, members AS b
        WHERE a.id_number = NEW.one AND b.id_number = NEW.other;
        RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER place_pair BEFORE INSERT OR UPDATE OF status ON member_duplicates
        FOR EACH ROW EXECUTE FUNCTION place_pair();

    -- A member has moved: the status of its pairs is written again as it is.
    CREATE OR REPLACE FUNCTION place_pairs_again() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE member_duplicates SET status = status
        WHERE one = NEW.id_number OR other = NEW.id_number;
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER place_pairs_again
        AFTER UPDATE OF province, municipality ON member_index FOR EACH ROW
        WHEN ((OLD.province, OLD.municipality) IS DISTINCT FROM (NEW.province, NEW.municipality))
        EXECUTE FUNCTION place_pairs_again();
    """)
    _place_pairs()
    for name, columns in _INDEXES.items():
        create_index(name, f"ON member_duplicates ({columns}, score DESC, id)")
    op.execute("DROP INDEX IF EXISTS member_duplicates_open")


def _place_pairs() -> None:
    """Give the pairs that are there their place, in batches."""
    connection = op.get_bind()
    last: object = "00000000-0000-0000-0000-000000000000"
    while last is not None:
        connection.commit()
        last = connection.exec_driver_sql(
            """
            WITH batch AS (SELECT id FROM member_duplicates WHERE id > %s::uuid
                           ORDER BY id LIMIT 20000),
            placed AS (UPDATE member_duplicates AS d SET status = d.status FROM batch
                       WHERE d.id = batch.id)
            SELECT id FROM batch ORDER BY id DESC LIMIT 1
            """,
            (last,),
        ).scalar()


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    DROP TRIGGER place_pairs_again ON member_index;
    DROP TRIGGER place_pair ON member_duplicates;
    DROP FUNCTION place_pairs_again;
    DROP FUNCTION place_pair;
    ALTER TABLE member_duplicates DROP province, DROP municipality;
    CREATE INDEX member_duplicates_open ON member_duplicates (score DESC, id) WHERE status = 'open';
    """)
    for name in _INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
