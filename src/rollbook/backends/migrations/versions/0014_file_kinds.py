"""Binary workbooks and OpenDocument spreadsheets are kinds of files."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Allow them; an older version of Rollbook writes none."""
    op.execute("""
    ALTER TABLE uploads
        DROP CONSTRAINT uploads_file_kind_check,
        ADD CONSTRAINT uploads_file_kind_check
            CHECK (file_kind IN ('xlsx', 'xls', 'csv', 'xlsb', 'ods', 'fods'));
    """)


def downgrade() -> None:
    """Refuse them; uploads of these kinds are gone by then, or this fails."""
    op.execute("""
    ALTER TABLE uploads
        DROP CONSTRAINT uploads_file_kind_check,
        ADD CONSTRAINT uploads_file_kind_check CHECK (file_kind IN ('xlsx', 'xls', 'csv'));
    """)
