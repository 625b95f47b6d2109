"""Indexes by which the rows of one person are found: for a person's file, history and erasure."""

from alembic import op

from rollbook.backends.migrations.concurrently import create_index

revision = "0047"
down_revision = "0046"


def upgrade() -> None:
    """Create them; only rows that change a member name one."""
    create_index("upload_rows_of_member", "ON upload_rows (member_id) WHERE member_id IS NOT NULL")
    create_index("verifications_of_person", "ON verifications (id_number)")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX upload_rows_of_member")
    op.execute("DROP INDEX verifications_of_person")
