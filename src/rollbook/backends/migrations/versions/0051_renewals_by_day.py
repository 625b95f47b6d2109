"""The renewals of a day among its sums, and a change of the trigger that withdraws them."""

from alembic import op

revision = "0051"
down_revision = "0050"

#: What the sums of a day come from, but for the columns that only the new one looks at.
_SOURCES = (
    "created_at", "status", "province", "municipality", "started_at", "finished_at", "inserted",
    "updated", "unchanged", "invalid", "duplicate", "out_of_scope", "stage_seconds::text",
)  # fmt: skip
_ALSO = ("renewals::text", "undone_at")


def upgrade() -> None:
    """Add them. All days are summed up again; until then, their uploads are counted one by one."""
    op.execute("""
    ALTER TABLE upload_days
        ADD COLUMN IF NOT EXISTS new_members bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS renewed bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS early bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS expired bigint NOT NULL DEFAULT 0;
    """)
    _withdraw_by_change((*_SOURCES, *_ALSO))
    op.execute("DELETE FROM upload_days")


def downgrade() -> None:
    """Remove them."""
    _withdraw_by_change(_SOURCES)
    op.execute(
        "ALTER TABLE upload_days DROP COLUMN new_members, DROP COLUMN renewed, DROP COLUMN early,"
        " DROP COLUMN expired"
    )


def _withdraw_by_change(columns: tuple[str, ...]) -> None:
    before, after = (", ".join(f"{row}.{name}" for name in columns) for row in ("OLD", "NEW"))
    op.execute(f"""
    CREATE OR REPLACE TRIGGER withdraw_upload_day_by_change AFTER UPDATE ON uploads FOR EACH ROW
        WHEN (({before}) IS DISTINCT FROM ({after}))
        EXECUTE FUNCTION withdraw_upload_day();
    """)
