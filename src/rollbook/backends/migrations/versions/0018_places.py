"""One spelling for each place: the register's, in accounts, uploads, mappings and members."""

from alembic import op
from sqlalchemy import text

from rollbook import places

revision = "0018"
down_revision = "0017"

_TABLES = ("users", "uploads", "members", "column_mappings")


def upgrade() -> None:
    """Give provinces their code and municipalities their official name.

    What the register doesn't know for certain stays as it is.
    """
    connection = op.get_bind()
    # No upload changed these members: the trigger is not to note what they were before.
    connection.execute(text("SET LOCAL rollbook.undoing = 'on'"))
    for table in _TABLES:
        found = connection.execute(
            text(
                f"SELECT DISTINCT province, municipality FROM {table}"  # noqa: S608 - ours
                " WHERE province IS NOT NULL OR municipality IS NOT NULL"
            )
        ).fetchall()
        for province, municipality in found:
            code, name = _registered(province, municipality)
            if (code, name) == (province, municipality):
                continue
            connection.execute(
                text(
                    f"UPDATE {table} SET province = :code, municipality = :name"  # noqa: S608 - ours
                    " WHERE province IS NOT DISTINCT FROM :province"
                    " AND municipality IS NOT DISTINCT FROM :municipality"
                    + _UNLESS_THERE.get(table, "")
                ),
                {"code": code, "name": name, "province": province, "municipality": municipality},
            )


#: Two spellings of one office may have remembered the same headers: the first stays.
_UNLESS_THERE = {
    "column_mappings": (
        " AND NOT EXISTS (SELECT 1 FROM column_mappings other"
        " WHERE other.fingerprint = column_mappings.fingerprint"
        " AND other.province IS NOT DISTINCT FROM :code"
        " AND other.municipality IS NOT DISTINCT FROM :name)"
    )
}


def _registered(province: str | None, municipality: str | None) -> tuple[str | None, str | None]:
    """The place by the register, where it is known by its code or name."""
    code, name = province, municipality
    if province is not None:
        found = places.find_province(province)
        if found is not None and found.how == "known":
            code = found.place.code
    if municipality is not None:
        one = places.find_municipality(municipality, province=code)
        if one is not None and one.how == "known" and code in {None, one.place.province}:
            name = one.place.name
    return code, name


def downgrade() -> None:
    """The spellings before are not known any more; the register's are right for older versions."""
