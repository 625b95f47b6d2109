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
    """Add them. All days are summed up again; until then, their uploads are counted one by one.

    A day that a worker of the version before sums up has no renewals: it doesn't count as summed
    up. The trigger comes first, since uploads lock their table before the sums.
    """
    _withdraw_by_change((*_SOURCES, *_ALSO))
    op.execute("""
    ALTER TABLE upload_days
        ADD COLUMN IF NOT EXISTS new_members bigint, ADD COLUMN IF NOT EXISTS renewed bigint,
        ADD COLUMN IF NOT EXISTS early bigint, ADD COLUMN IF NOT EXISTS expired bigint;
    """)
    _days(" AND d.new_members IS NOT NULL")
    op.execute("DELETE FROM upload_days")


def downgrade() -> None:
    """Remove them."""
    _withdraw_by_change(_SOURCES)
    _days("")
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


def _days(condition: str) -> None:
    """Replace the function of revision 0035, with a condition of days that are summed up."""
    op.execute(f"""
    CREATE OR REPLACE FUNCTION statistics_days(first date, last date, zone text)
    RETURNS TABLE (day date, begins_at timestamptz, ends_at timestamptz, is_summed_up boolean)
    LANGUAGE sql STABLE AS $$
        SELECT bounds.*, EXISTS (SELECT FROM upload_days AS d
                                 WHERE d.place = 'everywhere' AND d.province = ''
                                   AND d.municipality = '' AND d.begins_at = bounds.begins_at
                                   AND d.ends_at = bounds.ends_at{condition})
        FROM generate_series(first::timestamp, last::timestamp, interval '1 day') AS midnight,
             LATERAL (SELECT midnight::date AS day, midnight AT TIME ZONE zone AS begins_at,
                             (midnight + interval '1 day') AT TIME ZONE zone AS ends_at) AS bounds
    $$;
    """)  # noqa: S608 - the condition is one of the two above
