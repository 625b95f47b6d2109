"""Stored records of people whose creation was undone, decided when it is undone."""

from alembic import op

revision = "0059"
down_revision = "0058"

#: The former rule: the upload that created the record is undone, nothing has changed the record
#: since, and no other file holds the person.
_UNWANTED = """
    WITH orphans AS MATERIALIZED (
        SELECT c.{place} AS place_id, c.{person} AS id_number, maker.finished_at
        FROM {table} AS c JOIN uploads AS maker
          ON maker.id = (c.{record} ->> 'created_by_upload')::uuid AND maker.undone_at IS NOT NULL
        WHERE {condition} c.{record} ->> 'changed_by_upload' = c.{record} ->> 'created_by_upload'
          AND NOT EXISTS (SELECT FROM member_changes AS edit
                          WHERE edit.upload_id = maker.id AND edit.id_number = c.{person})
          AND NOT EXISTS (SELECT FROM member_joins AS j WHERE j.kept = c.{person})
    ), claims AS (
        SELECT claim.person, u.finished_at
        FROM upload_claims AS l JOIN uploads AS u ON u.id = l.upload_id AND u.undone_at IS NULL,
             unnest(l.people) AS claim(person)
        WHERE EXISTS (SELECT FROM orphans)
    )
    UPDATE {table} AS c SET is_unwanted = true FROM orphans AS o
    WHERE c.{place} = o.place_id AND c.{person} = o.id_number
      AND NOT EXISTS (SELECT FROM claims AS l
                      WHERE l.person = o.id_number::bigint AND l.finished_at > o.finished_at)
"""


def upgrade() -> None:
    """Add the columns, and decide of what was undone before; null: the record comes back.

    An older version of Rollbook asks again when a list is undone, and doesn't read them.
    """
    op.execute("ALTER TABLE member_changes ADD is_unwanted boolean")
    op.execute("ALTER TABLE member_joins ADD is_unwanted boolean")
    op.execute(
        _UNWANTED.format(
            table="member_changes",
            place="upload_id",
            person="id_number",
            record="before",
            condition="c.is_removed AND",
        )
    )
    op.execute(
        _UNWANTED.format(
            table="member_joins", place="id", person="gone", record="record", condition=""
        )
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE member_joins DROP is_unwanted")
    op.execute("ALTER TABLE member_changes DROP is_unwanted")
