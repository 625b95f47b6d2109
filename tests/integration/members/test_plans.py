"""How PostgreSQL finds what is stored of one person among the rows of every upload."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from itertools import product
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

import pytest
from psycopg import sql

from rollbook import clock
from rollbook.backends.database import Paging, connect, fetch_all, fetch_listed, queries
from rollbook.members import duplicates, search
from rollbook.model import Role, Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import Connection

    from rollbook.backends.database import Listed, Row
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

FILL = """
INSERT INTO upload_rows (upload_id, row_number, outcome, member_id, changes)
SELECT md5((n / 500)::text)::uuid, n % 500, CASE WHEN n % 3 = 0 THEN 'updated' ELSE 'unchanged' END,
       CASE WHEN n % 3 = 0 THEN md5('member ' || n % 999)::uuid END,
       CASE WHEN n % 3 = 0 THEN '{"ward": ["1", "2"]}'::jsonb END
FROM generate_series(1, 30000) AS n;
INSERT INTO verifications (upload_id, row_number, id_number, result)
SELECT upload_id, row_number, lpad((row_number * 7)::text, 13, '0'), 'registered' FROM upload_rows;
"""
PERSON = {
    "member_id": UUID("c4ca4238-a0b9-2382-0dcc-509a6f75849b"),
    "id_number": "0000000000021",
    "created_by_upload": UUID("c81e728d-9d4c-2f63-6f06-7f89cc14862c"),
    "created_by_row": 3,
}


def test_the_rows_of_one_person_are_found_by_indexes(settings: Settings) -> None:
    with connect(settings.database_address) as connection:
        connection.execute(FILL)
        connection.execute("ANALYZE upload_rows, verifications")
        for noun, name in (
            ("member_access", "rows"),
            ("member_erase", "blank_linked_rows"),
            ("member_erase", "remove_linked_cells"),
        ):
            plan = explained(connection, queries(noun)[name], PERSON)
            assert "upload_rows_of_member" in plan, (name, plan)
            assert "verifications_of_person" in plan, (name, plan)
            assert "Seq Scan on upload_rows" not in plan, (name, plan)
            assert "Seq Scan on verifications" not in plan, (name, plan)
        connection.rollback()


def explained(connection: Connection[Row], query: LiteralString, wanted: dict[str, Any]) -> str:
    lines = connection.execute(f"EXPLAIN {query}", wanted).fetchall()
    return "\n".join(row["QUERY PLAN"] for row in lines)


REMOVED = """
INSERT INTO uploads (id, owner_id, file_name, file_kind, file_bytes, file_sha256, priority)
SELECT md5('upload')::uuid, id, 'x.csv', 'csv', 1, 'x', 1 FROM users LIMIT 1;
INSERT INTO member_changes (upload_id, id_number, before, is_removed)
SELECT md5('upload')::uuid, lpad(n::text, 13, '0'), '{}', n % 10 = 0
FROM generate_series(1, 30000) AS n;
INSERT INTO members (id_number, firstname, surname, date_of_birth, created_by_upload,
                     changed_by_upload)
SELECT lpad('9', 13, '0'), 'A', 'B', '1980-01-01', md5('upload')::uuid, md5('upload')::uuid;
"""


def test_the_record_of_a_number_is_found_by_indexes_and_first_among_members(
    settings: Settings,
) -> None:
    wanted = {"scope_province": None, "scope_municipality": None}
    query = queries("member_erase")["record_by_number"]
    with connect(settings.database_address) as connection:
        connection.execute(REMOVED)
        connection.execute("ANALYZE members, member_changes")
        for number, is_member in (("9", True), ("10", False)):
            lines = connection.execute(
                f"EXPLAIN (ANALYZE, COSTS OFF) {query}",
                {**wanted, "id_number": number.zfill(13)},
            ).fetchall()
            plan = "\n".join(row["QUERY PLAN"] for row in lines)
            assert "Seq Scan on member_changes" not in plan
            steps = [line for line in plan.splitlines() if " on member_" in line]
            assert steps
            assert all("never executed" in line for line in steps) is is_member, plan
            assert "member_changes_removed" in plan, plan
        connection.rollback()


#: What triggers write of each row is no part of the question, and takes seconds.
WITHOUT_TRIGGERS = "SET LOCAL session_replication_role = replica"
JOINED = """
INSERT INTO member_duplicates (id, one, other, why, score, status)
SELECT md5(n::text)::uuid, lpad(n::text, 13, '0'), lpad((n + 50000)::text, 13, '0'), 'phone', 99,
       'joined' FROM generate_series(1, 10000) AS n;
INSERT INTO member_joins (id, kept, gone, record, filled)
SELECT id, one, other, '{}', '{}' FROM member_duplicates;
"""


def test_joins_are_found_by_whom_they_keep_and_whom_they_remove(settings: Settings) -> None:
    wanted = {
        "scope_province": None, "scope_municipality": None, "id_number": "0000000000021",
        "before": clock.now(), "undoable": clock.now() - dt.timedelta(days=30),
    }  # fmt: skip
    with connect(settings.database_address) as connection:
        connection.execute(WITHOUT_TRIGGERS)
        connection.execute(JOINED)
        connection.execute("ANALYZE member_joins, member_duplicates, member_corrections")
        for query in (
            queries("member_erase")["record_by_number"],
            queries("member_erase")["remove_joins"],
            "SELECT EXISTS (SELECT FROM member_joins AS j WHERE j.kept = %(id_number)s)",
            f"SELECT {queries('retention')['corrections_over']}",
        ):
            plan = explained(connection, query, wanted)
            assert "member_joins_by_" in plan, (query, plan)
            assert "Seq Scan on member_joins" not in plan, (query, plan)
        connection.rollback()


REPORTS = """
INSERT INTO uploads (id, owner_id, file_name, file_kind, file_bytes, file_sha256, priority,
                     report_key, status, rows_total, inserted, started_at, finished_at)
SELECT md5(n::text)::uuid, (SELECT id FROM users LIMIT 1), 'x.csv', 'csv', 1, n::text, 1,
       CASE WHEN n % 100 = 0 THEN 'report' END, 'completed', 1, 1, now(),
       now() - n * interval '1 min'
FROM generate_series(1, 10000) AS n;
"""


def test_stored_reports_are_found_among_the_uploads_of_years(settings: Settings) -> None:
    wanted = {
        "scope_province": None, "scope_municipality": None, "first": None, "until": None,
        "after": None, "limit": 20, "offset": 0, "most": 10_001,
    }  # fmt: skip
    with connect(settings.database_address) as connection:
        connection.execute(WITHOUT_TRIGGERS)
        connection.execute(REPORTS)
        connection.execute("ANALYZE uploads")
        for name in ("reports", "reports_counted", "reports_of", "reports_of_counted"):
            plan = explained(connection, queries("retention")[name], wanted)
            assert "uploads_with_reports" in plan, (name, plan)
        connection.rollback()


FOUND = """
INSERT INTO members (id_number, firstname, surname, date_of_birth, province, municipality,
                     created_by_upload, changed_by_upload)
SELECT lpad(n::text, 13, '0'), (ARRAY['Thabo', 'Naledi', 'Zanele'])[n % 3 + 1],
       (ARRAY['Dlamini', 'Nkosi', 'Botha', 'Zulu'])[n % 4 + 1] || n % 50, '1980-01-01',
       (ARRAY['GP', 'KZN', 'WC'])[n % 3 + 1], 'Place ' || n % 30, md5('upload')::uuid,
       md5('upload')::uuid
FROM generate_series(1, 6000) AS n;
INSERT INTO member_index (id_number, member_id, province, municipality, name, lexemes)
SELECT id_number, member_id, province, lower(municipality), member_name(firstname, surname),
       search_lexemes(firstname, surname, NULL, NULL, NULL, province, municipality, NULL)
FROM members;
"""
#: What is asked, and what its plans have.
ASKED: list[tuple[dict[str, Any], str]] = [
    ({"search": "dlamini"}, "Index Only Scan using member_index_in_order"),
    (
        {"search": "dlamini", "province": "GP"},
        "Index Only Scan using member_index_of_province",
    ),
    (
        {"search": "dlamini", "municipality": "Place 4"},
        "Index Only Scan using member_index_of_municipality",
    ),
    # So many of few have these names that the first lines are read until enough are found.
    ({"search": "naledi"}, "on member_index "),
    ({"search": "thabo zulu1"}, "on member_index "),
    ({}, "Index Only Scan using member_index_in_order"),
    ({"province": "GP"}, "Index Only Scan using member_index_of_province"),
    ({"municipality": "Place 4"}, "Index Only Scan using member_index_of_municipality"),
]


async def test_a_search_by_name_reads_the_members_of_its_page_only(
    settings: Settings,
    system: System,
    make_user: Callable[..., Awaitable[User]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with connect(settings.database_address) as connection:
        connection.execute(FOUND)
        connection.execute("UPDATE member_index_state SET filled_to = NULL")
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE members, member_index")
    plans: list[str] = []
    ask = search._rows

    async def and_explain(connection: Any, name: str, parts: dict[str, Any]) -> list[Row]:
        query = sql.SQL(search._SQL[name]).format(**parts)
        lines = await connection.execute(sql.SQL("EXPLAIN (ANALYZE, TIMING OFF) ") + query)
        plans.append("\n".join([row["QUERY PLAN"] for row in await lines.fetchall()]))
        return await ask(connection, name, parts)

    monkeypatch.setattr(search, "_rows", and_explain)
    counted = {"members_most_found": 50, "members_most_sorted": 40}
    few = dataclasses.replace(system, settings=settings.model_copy(update=counted))
    user = await make_user(Role.NATIONAL_ADMIN)
    for asked, step in ASKED:
        plans.clear()
        found = await search.find(
            few, user, search.Filters(**asked), sort="name", page=2, page_size=20
        )
        plan = "\n".join(plans)
        assert (len(found.rows), found.has_more) == (20, True), asked
        assert step in plan, (asked, plan)
        assert "Seq Scan on members" not in plan, (asked, plan)
        read = re.findall(r" on members m .*?loops=(\d+)\)", plan)
        assert [int(loops) for loops in read] == [20], (asked, plan)


PAIRS_OF_MANY = """
INSERT INTO members (id_number, firstname, surname, date_of_birth, province, municipality,
                     created_by_upload, changed_by_upload)
SELECT lpad(n::text, 13, '0'), 'A', 'B', '1980-01-01', (ARRAY['GP', 'KZN', 'WC'])[n % 3 + 1],
       'Place ' || n % 120, md5('upload')::uuid, md5('upload')::uuid
FROM generate_series(0, 11999) AS n;
INSERT INTO member_duplicates (one, other, why, score)
SELECT lpad(n::text, 13, '0'), lpad((n + 6000)::text, 13, '0'),
       (ARRAY['phone', 'name_and_birth'])[1 + (n % 7 > 0)::int], 90 + n % 10
FROM generate_series(0, 5999) AS n;
"""


async def test_an_office_s_pairs_are_found_by_its_place(
    settings: Settings,
    system: System,
    make_user: Callable[..., Awaitable[User]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An office has fifty of six thousand pairs, and all of them would be read."""
    with connect(settings.database_address) as connection:
        connection.execute(PAIRS_OF_MANY)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE members, member_duplicates")
    plans: list[str] = []

    async def and_explain(
        where: Any, asking: Any, name: str, asked: Any, paging: Paging, **more: Any
    ) -> Listed:
        for one in (name, f"{name}_counted"):
            wanted = {**asked, **paging.bounds(), "most": 10_001}
            lines = await fetch_all(where, f"EXPLAIN (ANALYZE, TIMING OFF) {asking[one]}", wanted)
            plans.append("\n".join(row["QUERY PLAN"] for row in lines))
        return await fetch_listed(where, asking, name, asked, paging, **more)

    monkeypatch.setattr(duplicates, "fetch_listed", and_explain)
    operator = await make_user(Role.NATIONAL_ADMIN)
    whys: tuple[duplicates.Why | None, ...] = (None, "phone")
    for place, why in product(((), ("GP",), ("GP", "Place 0")), whys):
        plans.clear()
        user = dataclasses.replace(operator, scope=Scope(*place))
        found = await duplicates.page(system, user, Paging(1, 20), status="open", why=why)
        expected = 6_000 / (1, 3, 120)[len(place)] / (1 if why is None else 7)
        assert found.total == pytest.approx(expected, rel=0.2), (place, why)
        assert found.rows == sorted(found.rows, key=lambda row: (-row["score"], row["id"]))
        plan = plans[0]
        assert "Seq Scan on member_duplicates" not in plan, (place, why, plan)
        assert "Rows Removed by Filter" not in plan, (place, why, plan)
        read = re.findall(r" on member_duplicates d .*?actual rows=([\d.]+)", plan)
        # An office's few are sorted; of more, the index has the order.
        most = max(20, expected if place[1:] else 0) * 1.2
        assert [float(rows) for rows in read] <= [most], (place, why, plan)
