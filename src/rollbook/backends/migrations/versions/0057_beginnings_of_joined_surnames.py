"""The beginning of a surname that is written as one word, such as "dutoit", is found as well."""

from alembic import op

revision = "0057"
down_revision = "0056"

_NAMES = "COALESCE(search_spaced(firstname), '') || ' ' || COALESCE(search_spaced(surname), '')"
_JOINED = "COALESCE(replace(search_spaced(surname), ' ', ''), '')"
_LEXEMES = f"""
    CREATE OR REPLACE FUNCTION search_lexemes(
        firstname text, surname text, cell_number text, landline_number text, email text,
        province text, municipality text, ward text
    ) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN array_to_tsvector(
        array_remove(array_remove(
            string_to_array('n' || replace({_NAMES}, ' ', ' n'), ' ')
            || search_beginnings({_NAMES}{{more}})
            || ARRAY['n' || {_JOINED},
                     't' || ltrim(left(cell_number, 40), '+'),
                     't' || ltrim(left(landline_number, 40), '+'),
                     'e' || search_folded(left(email, 200)), 'p' || left(province, 200),
                     'm' || lower(left(municipality, 200)), 'w' || left(ward, 200)],
            'n'), NULL));
"""


def upgrade() -> None:
    """Change the function, and fill the index of members again.

    A frequent word is found by its first letters (members/search.py), which the words of "Du Toit"
    hadn't.
    """
    op.execute(_LEXEMES.format(more=f" || ' ' || {_JOINED}"))
    op.execute("UPDATE member_index_state SET filled_to = ''")


def downgrade() -> None:
    """Go back; what has a beginning more is found by its words, too."""
    op.execute(_LEXEMES.format(more=""))
