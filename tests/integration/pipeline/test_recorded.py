"""What ``tests.recorded`` leaves in the record is what the pipeline leaves of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from rollbook.model import Scope
from tests.files import HEADERS, csv_file, id_number, member
from tests.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.pipeline_run import Site

ALL = (
    *HEADERS, "Email", "Status", "Last Payment", "Expiry Date", "Landline Number", "Date Joined",
    "Residential Address", "Race",
)  # fmt: skip
JOHANNESBURG = Scope("GP", "City of Johannesburg")
#: Who sends which rows, one file after the other.
FILES: list[tuple[Scope, list[dict[str, str]]]] = [
    (
        Scope(),
        [
            member(1, Email="one@example.org", Status="Active", **{"Last Payment": "2026-01-31"}),
            member(5002, Ward="", **{"Cell Number": "", "Expiry Date": "2027-06-30"}),
            member(3, Province="KwaZulu-Natal", Municipality="eThekwini", Ward="59500001",
                   **{"Residential Address": "1 Long Street", "Date Joined": "2001-02-03",
                      "Landline Number": "011 555 0101", "Race": "African"}),
        ],
    ),
    # All are changed.
    (JOHANNESBURG, [member(1, Surname="Changed", **{"Last Payment": "2026-03-31"})]),
    # One is changed, one is confirmed, and one is new.
    (
        Scope("GP"),
        [member(1, Ward="79800002", Surname="Changed"), member(5002, Ward=""), member(4)],
    ),
    (Scope(), [member(4)]),
]  # fmt: skip
#: What is the file's and its report's, and the times.
OTHER = {
    "uploads": {
        "file_bytes", "file_sha256", "source_key", "report_key", "reading", "grid", "renewals",
        "stage_seconds",
    },
}  # fmt: skip
TABLES = (
    "members", "member_changes", "upload_claims", "upload_rows", "member_index_due", "uploads",
    "duplicates_due", "upload_days", "fixable_rows", "notifications",
)  # fmt: skip


def test_rows_leave_what_a_file_leaves(site: Site) -> None:
    def by_file(scope: Scope, rows: list[dict[str, str]]) -> Any:
        return site.send(csv_file(rows, headers=ALL), "members.csv", scope=scope).upload["id"]

    def by_rows(scope: Scope, rows: list[dict[str, str]]) -> Any:
        return recorded(site, *rows, scope=scope)

    assert left(site, by_rows) == left(site, by_file)


def left(site: Site, send: Callable[..., Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of all tables, with names for what is another one each time."""
    names: dict[Any, str] = {}
    bring_back = site.kept()
    for number, (scope, rows) in enumerate(FILES):
        names[send(scope, rows)] = f"upload {number}"
    for number in (1, 5002, 3, 4):
        row = site.members()[id_number(number)]
        names[row["member_id"]] = f"member {number}"
    found: dict[str, list[Mapping[str, Any]]] = {}
    for table in TABLES:
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
        lines = site.connection.execute(query).fetchall()
        found[table] = sorted((named(table, line, names) for line in lines), key=str)
    bring_back()
    site.connection.execute("DISCARD TEMP")
    site.connection.commit()
    return found


def named(table: str, row: Mapping[str, Any], names: Mapping[Any, str]) -> dict[str, Any]:
    texts = {str(key): name for key, name in names.items()}

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: of(one) for key, one in value.items() if not key.endswith("_at")}
        return texts.get(str(value), value)

    return {
        key: of(value)
        for key, value in row.items()
        if key not in OTHER.get(table, set()) | {"ordinal", "id"}
        and not key.endswith(("_at", "_since"))
    }
