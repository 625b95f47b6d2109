"""The members of a province, and of a municipality, in the order of their names."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0055"
down_revision = "0054"


def upgrade() -> None:
    """Create an index for each kind of place, and drop those that held both.

    A search names a province, or a municipality without its province: an index of both places, in
    this order, gave neither in the order of names.
    """
    create_index("member_index_in_order", "ON member_index (name, id_number)")
    create_index("member_index_of_province", "ON member_index (province, name, id_number)")
    create_index(
        "member_index_of_municipality",
        "ON member_index (municipality, name, id_number) INCLUDE (province)",
    )
    op.execute("DROP INDEX IF EXISTS member_index_names, member_index_by_place")
    # An index answers without the table where the table was vacuumed since its last change.
    op.execute("""
    ALTER TABLE member_index SET (
        autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.01
    )
    """)


def downgrade() -> None:
    """Go back to the indexes of before."""
    op.execute("""
    ALTER TABLE member_index RESET (
        autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor
    )
    """)
    create_index("member_index_names", "ON member_index (name, id_number) INCLUDE (province)")
    create_index(
        "member_index_by_place", "ON member_index (province, municipality, name, id_number)"
    )
    op.execute(
        "DROP INDEX IF EXISTS member_index_in_order, member_index_of_province,"
        " member_index_of_municipality"
    )
