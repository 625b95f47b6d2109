"""The index by which members are searched and found by id, and the row that created a member."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Create them; an older version of Rollbook merges without them, see members/index.py."""
    op.execute(r"""
    -- A text as it is searched: without accents and capitals. Its own spelling for both sides, so
    -- that no extension is needed.
    CREATE FUNCTION search_folded(given text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
        CASE WHEN octet_length(given) = length(given) THEN lower(given)
        ELSE replace(translate(
            lower(regexp_replace(normalize(given, NFKD), '[\u0300-\u036f]', '', 'g')),
            'øłđħıØŁĐĦ', 'oldhioldh'), 'ß', 'ss') END;

    -- A folded name with a space for each sign between its words. Long cells are cut: a lexeme has
    -- a bound.
    CREATE FUNCTION search_spaced(given text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
        translate(search_folded(left(given, 200)),
                  E'\t\n\r''`.,/()-\u00a0\u2018\u2019\u02bc\u2010\u2011\u2012\u2013\u2014\u2015',
                  repeat(' ', 21));

    -- The words of a name, folded: "Jean-Pierre van der Merwe" has five.
    CREATE FUNCTION search_words(given text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
        array_remove(string_to_array(search_spaced(given), ' '), '');

    -- What a member is found by. The first letter says what it is: n a word of a name (the surname
    -- also as one word), t a phone number, e an e-mail address, p m w the place. Without regular
    -- expressions, which take three times as long.
    CREATE FUNCTION search_lexemes(
        firstname text, surname text, cell_number text, landline_number text, email text,
        province text, municipality text, ward text
    ) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN array_to_tsvector(
        array_remove(array_remove(
            string_to_array('n' || replace(
                COALESCE(search_spaced(firstname), '') || ' '
                || COALESCE(search_spaced(surname), ''), ' ', ' n'), ' ')
            || ARRAY['n' || COALESCE(replace(search_spaced(surname), ' ', ''), ''),
                     't' || ltrim(left(cell_number, 40), '+'),
                     't' || ltrim(left(landline_number, 40), '+'),
                     'e' || search_folded(left(email, 200)), 'p' || left(province, 200),
                     'm' || lower(left(municipality, 200)), 'w' || left(ward, 200)],
            'n'), NULL));

    -- The order of lists: by surname and first names, folded.
    CREATE FUNCTION member_name(firstname text, surname text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
        left(search_folded(concat_ws(' ', surname, firstname)), 100);

    -- One row for each member, written after the merge by members/index.py. Indexes on members
    -- itself would cost each merge a third of its time (docs/decisions/0042).
    CREATE TABLE member_index (
        id_number    text COLLATE "C" PRIMARY KEY,
        member_id    uuid NOT NULL,
        province     text,
        -- In small letters.
        municipality text,
        name         text COLLATE "C" NOT NULL,
        lexemes      tsvector NOT NULL
    );
    CREATE UNIQUE INDEX member_index_by_id ON member_index (member_id);
    CREATE INDEX member_index_by_name ON member_index (name, id_number);
    CREATE INDEX member_index_by_place
        ON member_index (province, municipality, name, id_number);
    CREATE INDEX member_index_lexemes ON member_index USING gin (lexemes);

    -- The members whom an upload, or undoing one, has written and who are to be indexed: one row
    -- at least for each, also for one that wrote nobody.
    CREATE TABLE member_index_due (
        id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        upload_id uuid NOT NULL,
        people    bigint[] NOT NULL
    );
    CREATE INDEX member_index_due_by_upload ON member_index_due (upload_id);
    ALTER TABLE member_index_due ALTER people SET STORAGE EXTERNAL;

    -- One row: up to which ID number all members are indexed; null: all of them are.
    CREATE TABLE member_index_state (
        the_one   boolean PRIMARY KEY DEFAULT true CHECK (the_one),
        filled_to text COLLATE "C" DEFAULT ''
    );
    INSERT INTO member_index_state DEFAULT VALUES;

    ALTER TABLE uploads
        -- When the members that it wrote were indexed.
        ADD indexed_at timestamptz;
    UPDATE uploads SET indexed_at = now() WHERE status = 'completed' AND NOT dry_run;
    CREATE INDEX uploads_unindexed ON uploads (ordinal)
        WHERE status = 'completed' AND NOT dry_run
              AND (indexed_at IS NULL OR undone_at > indexed_at);

    ALTER TABLE audit_entries
        -- The member concerned, by the id that says nothing of the person.
        ADD member_id uuid;
    CREATE INDEX audit_entries_by_member ON audit_entries (member_id, id)
        WHERE member_id IS NOT NULL;

    ALTER TABLE members
        -- The row of created_by_upload; null where an older version created the member.
        ADD created_by_row integer;
    """)


def downgrade() -> None:
    """Drop them."""
    op.execute("""
    ALTER TABLE members DROP created_by_row;
    ALTER TABLE audit_entries DROP member_id;
    DROP INDEX uploads_unindexed;
    ALTER TABLE uploads DROP indexed_at;
    DROP TABLE member_index_state;
    DROP TABLE member_index_due;
    DROP TABLE member_index;
    DROP FUNCTION member_name;
    DROP FUNCTION search_lexemes;
    DROP FUNCTION search_words;
    DROP FUNCTION search_spaced;
    DROP FUNCTION search_folded;
    """)
