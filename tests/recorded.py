"""The record as uploads leave it, written row by row: the start of a test of what comes after.

``Site.send`` reads a file, merges it and writes a report, in 100 ms of a processor. Where a test
is about members who are there, or about who held and changed them, ``recorded`` leaves the same
rows in a twentieth of it; tests/integration/pipeline/test_recorded.py compares them with those of
the pipeline. Neither a file nor a report is in the store afterwards.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from psycopg import sql
from psycopg.types.json import Jsonb

from rollbook import places
from rollbook.model import EVERYWHERE, OUTCOMES, Scope
from rollbook.pipeline.match import claimed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from rollbook.backends.database import Row
    from tests.pipeline_run import Site

#: The members' columns by the headers of tests/files.py, and of those that tests add to them.
COLUMNS = {
    "ID Number": "id_number", "Firstname": "firstname", "Surname": "surname",
    "Cell Number": "cell_number", "Landline Number": "landline_number", "Email": "email",
    "Province": "province", "Municipality": "municipality", "Ward": "ward", "Status": "status",
    "Last Payment": "last_payment", "Expiry Date": "expiry_date", "Race": "race",
    "Date Joined": "date_joined", "Residential Address": "residential_address",
    "Membership Amount": "membership_amount",
}  # fmt: skip
_UPLOAD = """
INSERT INTO uploads (id, owner_id, province, municipality, file_name, file_kind, file_bytes,
    file_sha256, priority, status, attempt, worker, stage, progress, rows_done, rows_total,
    inserted, updated, unchanged, heartbeat_at, started_at, finished_at, rows_with_warnings,
    rows_needing_attention, warnings, emptied)
VALUES (%(id)s, %(owner_id)s, %(province)s, %(municipality)s, %(file_name)s, 'csv', 1,
    md5(%(id)s::text) || md5(%(id)s::text), 1, 'completed', 1, 'tests', 'report', 100, %(rows)s,
    %(rows)s, %(inserted)s, %(updated)s, %(unchanged)s, now(), now(), clock_timestamp(), 0, 0,
    '{}', '{}')
"""
_HELD = """
WITH claims AS (
    INSERT INTO upload_claims (upload_id, fields, people, filled)
    VALUES (%(id)s, %(fields)s, %(people)s::bigint[], %(filled)s::bigint[])
), due AS (
    INSERT INTO member_index_due (upload_id, people) VALUES (%(id)s, %(written)s::bigint[])
)
INSERT INTO upload_rows (upload_id, row_number, outcome, member_id, changes)
SELECT %(id)s, row_number, outcome, member_id, changes
FROM jsonb_populate_recordset(NULL::upload_rows, %(rows)s)
"""


def recorded(
    site: Site,
    *rows: Mapping[str, str],
    scope: Scope = EVERYWHERE,
    name: str = "members.csv",
) -> UUID:
    """Leave the rows of a file in the record as an upload that has completed; returns the upload.

    As in a file, a member who is there gets the values of a row, and an empty cell says nothing.
    Cells are as the record has them, but for places, phone numbers of South Africa and dates
    (YYYY-MM-DD). No two rows are of one person, and all are the office's own members.
    """
    upload_id, people = uuid4(), [_person(row) for row in rows]
    numbers = [person["id_number"] for person in people]
    connection = site.connection
    with connection.transaction():
        cursor = connection.execute("SELECT * FROM members WHERE id_number = ANY(%s)", (numbers,))
        known = {row["id_number"]: row for row in cursor.fetchall()}
        lines = [
            _line(site, upload_id, number, person, known.get(person["id_number"]))
            for number, person in enumerate(people, start=2)
        ]
        outcomes = [line["outcome"] for line in lines]
        upload: dict[str, Any] = {
            "id": upload_id, "owner_id": site.owner_id, "file_name": name, "rows": len(rows),
            "province": scope.province, "municipality": scope.municipality,
        }  # fmt: skip
        counts: dict[str, Any] = {outcome: outcomes.count(outcome) for outcome in OUTCOMES}
        connection.execute(_UPLOAD, {**upload, **counts})
        written = sorted(
            number for number, one in zip(numbers, outcomes, strict=True) if one != "unchanged"
        )
        # An upload that wrote all its members claims nobody: their own rows refer to it.
        held = [] if len(written) == len(people) else people
        claims = {
            "id": upload_id, "fields": list(claimed()), "rows": Jsonb(lines), "written": written,
            "people": [person["id_number"] for person in held],
            "filled": [_filled(person) for person in held],
        }  # fmt: skip
        connection.execute(_HELD, claims)
    return upload_id


def _line(
    site: Site, upload_id: UUID, number: int, person: Mapping[str, Any], before: Row | None
) -> dict[str, Any]:
    """Write a row's member; returns the line of the row in ``upload_rows``."""
    changed_by = {"changed_by_upload": upload_id}
    if before is None:
        created = {"created_by_upload": upload_id, "created_by_row": number}
        _insert(site, {**person, **created, **changed_by})
        return {"row_number": number, "outcome": "inserted"}
    changed = {name: value for name, value in person.items() if before[name] != value}
    if not changed:
        return {"row_number": number, "outcome": "unchanged"}
    _update(site, person["id_number"], {**changed, **changed_by})
    return {
        "row_number": number,
        "outcome": "updated",
        "member_id": str(before["member_id"]),
        "changes": {
            name: [None if cell is None else str(cell) for cell in (before[name], value)]
            for name, value in changed.items()
            if name != "expiry_is_derived"
        },
    }


def _insert(site: Site, columns: Mapping[str, Any]) -> None:
    statement = sql.SQL("INSERT INTO members ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
    )
    site.connection.execute(statement, columns)


def _update(site: Site, number: str, columns: Mapping[str, Any]) -> None:
    values = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in columns
    ]
    statement = sql.SQL("UPDATE members SET {}, changed_at = now() WHERE id_number = %(id)s")
    site.connection.execute(statement.format(sql.SQL(", ").join(values)), {**columns, "id": number})


def _person(row: Mapping[str, str]) -> dict[str, Any]:
    """The columns of a member that a row gives."""
    found: dict[str, Any] = {COLUMNS[header]: cell for header, cell in row.items() if cell}
    number = found["id_number"]
    for name in ("cell_number", "landline_number"):
        if name in found:
            digits = found[name].replace(" ", "")
            found[name] = digits if digits[0] == "+" else "+27" + digits.removeprefix("0")
    for name in ("last_payment", "expiry_date", "date_joined"):
        if name in found:
            found[name] = dt.date.fromisoformat(found[name])
    if "membership_amount" in found:
        found["membership_amount"] = Decimal(found["membership_amount"])
    if "province" in found:
        found["province"] = _place(places.find_province(found["province"])).code
    if "municipality" in found:
        found["municipality"] = _place(places.find_municipality(found["municipality"])).name
    if "expiry_date" in found:
        found["expiry_is_derived"] = False
    elif "last_payment" in found:
        found |= {"expiry_date": _paid_to(found["last_payment"]), "expiry_is_derived": True}
    century = 2000 if int(number[:2]) < 20 else 1900
    born = dt.date(century + int(number[:2]), int(number[2:4]), int(number[4:6]))
    by_number = {
        "date_of_birth": born,
        "gender": "male" if number[6] >= "5" else "female",
        "citizenship": "citizen",
    }
    return found | by_number


def _paid_to(paid: dt.date) -> dt.date:
    """When a membership ends that is paid on a day: two years later, in the same month."""
    day = 28 if (paid.month, paid.day) == (2, 29) else paid.day
    return paid.replace(year=paid.year + 2, day=day)


def _place(found: Any) -> Any:
    assert found is not None
    return found.place


def _filled(person: Mapping[str, Any]) -> int:
    """The fields that a row claims, as bits; a derived expiry date is none of them."""
    there = set(person) - ({"expiry_date"} if person.get("expiry_is_derived") else set())
    return sum(1 << bit for bit, name in enumerate(claimed()) if name in there)
