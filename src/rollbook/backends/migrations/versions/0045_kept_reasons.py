"""Two more reasons for which undoing an upload leaves a member unchanged."""

from alembic import op

revision = "0045"
down_revision = "0044"


def upgrade() -> None:
    """Allow them; an older version of Rollbook writes the former ones only."""
    op.execute("""
    ALTER TABLE undo_kept DROP CONSTRAINT undo_kept_reason_check;
    ALTER TABLE undo_kept ADD CONSTRAINT undo_kept_reason_check
        CHECK (reason IN ('later_upload', 'edited', 'joined', 'creation_undone'));
    """)


def downgrade() -> None:
    """Name the nearest of the former ones: both follow from a change by hand."""
    op.execute("""
    UPDATE undo_kept SET reason = 'edited' WHERE reason IN ('joined', 'creation_undone');
    ALTER TABLE undo_kept DROP CONSTRAINT undo_kept_reason_check;
    ALTER TABLE undo_kept ADD CONSTRAINT undo_kept_reason_check
        CHECK (reason IN ('later_upload', 'edited'));
    """)
