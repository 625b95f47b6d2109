"""Three letters are found as one entry of the index, and the index of names has the province."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0053"
down_revision = "0052"

_NAMES = "COALESCE(search_spaced(firstname), '') || ' ' || COALESCE(search_spaced(surname), '')"
_LEXEMES = f"""
    CREATE OR REPLACE FUNCTION search_lexemes(
        firstname text, surname text, cell_number text, landline_number text, email text,
        province text, municipality text, ward text
    ) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN array_to_tsvector(
        array_remove(array_remove(
            string_to_array('n' || replace({_NAMES}, ' ', ' n'), ' '){{more}}
            || ARRAY['n' || COALESCE(replace(search_spaced(surname), ' ', ''), ''),
                     't' || ltrim(left(cell_number, 40), '+'),
                     't' || ltrim(left(landline_number, 40), '+'),
                     'e' || search_folded(left(email, 200)), 'p' || left(province, 200),
                     'm' || lower(left(municipality, 200)), 'w' || left(ward, 200)],
            'n'), NULL));
"""


def upgrade() -> None:
    """Change both, and fill the index of members again.

    A prefix is looked up by gathering everybody whom any of its words has, also where a place
    leaves few of them. The beginnings are entries of their own, with the letter b.
    """
    op.execute("""
    CREATE OR REPLACE FUNCTION search_beginnings(words text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
        ARRAY(SELECT 'b' || left(word, 3) FROM unnest(string_to_array(words, ' ')) AS word
              WHERE length(word) >= 3);
    """)
    op.execute(_LEXEMES.format(more=f" || search_beginnings({_NAMES})"))
    op.execute("UPDATE member_index_state SET filled_to = ''")
    # What is written waits in a list that each search reads: a short one.
    op.execute("ALTER INDEX member_index_lexemes SET (gin_pending_list_limit = 256)")
    create_index("member_index_names", "ON member_index (name, id_number) INCLUDE (province)")
    op.execute("DROP INDEX IF EXISTS member_index_by_name")


def downgrade() -> None:
    """Go back to both as they were; what has a beginning is found by its words, too."""
    op.execute("CREATE INDEX member_index_by_name ON member_index (name, id_number)")
    op.execute("DROP INDEX member_index_names")
    op.execute("ALTER INDEX member_index_lexemes RESET (gin_pending_list_limit)")
    op.execute(_LEXEMES.format(more=""))
    op.execute("DROP FUNCTION search_beginnings")
