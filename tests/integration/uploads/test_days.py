"""Statistics by day and office: the same from sums as from the uploads, at every moment."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.backends.database import Paging, connect, queries
from rollbook.model import Role
from rollbook.service.system import open_system
from rollbook.uploads import days, lookup
from tests.files import csv_file, members
from tests.integration.worker.test_worker import sent
from tests.waiting import one_day

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

pytestmark = pytest.mark.usefixtures("one_day")

#: A fortnight of uploads of five offices, some near midnight in South Africa and in UTC.
FILL = """
INSERT INTO uploads (id, owner_id, province, municipality, file_name, file_kind, file_bytes,
    file_sha256, priority, status, rows_total, inserted, unchanged, stage_seconds, error_code,
    error, created_at, started_at, finished_at)
SELECT gen_random_uuid(), %s, o.province, o.municipality, 'f', 'csv', 1, 'x', 1, s.status, n, n - 1,
    1, json_build_object('read', n / 10.0, 'verify', 0, 'merge', 1.5),
    CASE s.status WHEN 'failed' THEN 'c' END, CASE s.status WHEN 'failed' THEN 'e' END,
    s.at, s.at, CASE WHEN s.status <> 'pending' THEN s.at + make_interval(secs => n) END
FROM generate_series(1, 90) AS n
JOIN (VALUES (0, NULL, NULL), (1, 'GP', NULL), (2, 'GP', 'Mogale City'), (3, 'GP', 'MOGALE city'),
             (4, 'LP', NULL)) AS o (place, province, municipality) ON o.place = n %% 5
CROSS JOIN LATERAL (SELECT now() - n * interval '3 hours 41 minutes' AS at,
    (ARRAY['completed', 'completed', 'failed', 'pending', 'cancelled'])[1 + n / 2 %% 5] AS status
) AS s
"""
#: Two months of uploads of one office.
MANY = """
INSERT INTO uploads (id, owner_id, file_name, file_kind, file_bytes, file_sha256, priority, status,
                     created_at, finished_at)
SELECT gen_random_uuid(), %s, 'f', 'csv', 1, 'x', 1, 'completed', at, at
FROM generate_series(1, 3000) AS n
CROSS JOIN LATERAL (SELECT now() - n * interval '29 minutes' AS at) AS sent
"""


@pytest.fixture
async def readers(settings: Settings, make_user: MakeUser) -> list[User]:
    """Readers of each kind of scope, in a record of a fortnight."""
    national = await make_user(Role.NATIONAL_ADMIN)
    with connect(settings.database_address) as connection:
        connection.execute(FILL, [national.id])
    return [
        national,
        await make_user(Role.PROVINCE_ADMIN, "GP"),
        await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Mogale City"),
        await make_user(Role.PROVINCE_ADMIN, "LP"),
        await make_user(Role.PROVINCE_ADMIN, "WC"),
    ]


async def read(system: System, readers: list[User]) -> list[Any]:
    """What each reader is answered."""
    return [
        (await lookup.stats(system, user), await lookup.stats_over_time(system, user, number=20))
        for user in readers
    ]


def summed_up(settings: Settings) -> int:
    with connect(settings.database_address) as connection:
        row = connection.execute(
            "SELECT count(*) AS days FROM upload_days WHERE place = 'everywhere'"
        ).fetchone()
    assert row is not None
    return int(row["days"])


async def test_sums_answer_what_the_uploads_themselves_answer(
    system: System, settings: Settings, readers: list[User]
) -> None:
    one_by_one = await read(system, readers)
    assert summed_up(settings) == 0
    number = await days.run_once(system)
    assert number == summed_up(settings)
    assert number is not None
    assert number >= 13
    assert await read(system, readers) == one_by_one
    national = one_by_one[0][0]
    assert (national["uploads"], national["rows"] > 0, national["failed"] > 0) == (90, True, True)
    assert sum(answer[0]["uploads"] for answer in one_by_one[1:]) == 54 + 36 + 18
    assert await days.run_once(system) == 0


async def test_the_rows_of_a_dry_run_are_in_no_sum(
    system: System, settings: Settings, readers: list[User]
) -> None:
    before = await read(system, readers)
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET dry_run = true WHERE ordinal % 2 = 0")
        row = connection.execute(
            "SELECT sum(inserted) AS inserted, sum(rows_total) FILTER (WHERE status = 'completed')"
            " AS rows FROM uploads WHERE NOT dry_run"
        ).fetchone()
    one_by_one = await read(system, readers)
    assert await days.run_once(system)
    assert await read(system, readers) == one_by_one
    national = one_by_one[0][0]
    assert row is not None
    assert (national["rows"], national["inserted"]) == (row["rows"], row["inserted"])
    assert national["rows"] < before[0][0]["rows"]
    assert national["uploads"] == 90


async def test_a_scrape_counts_by_sums_and_never_reads_all_uploads(
    system: System, settings: Settings, readers: list[User]
) -> None:
    """Every API is asked for it all the time, and has three seconds."""
    zone = settings.time_zone
    with connect(settings.database_address) as connection:
        connection.execute(MANY, [readers[0].id])
        rows = connection.execute("SELECT status, count(*) AS n FROM uploads GROUP BY status")
        one_by_one = {row["status"]: row["n"] for row in rows}
    for _ in range(2):  # before the days are summed up, and afterwards
        async with system.pool.connection() as pooled:
            assert await days.by_status(pooled, zone=zone) == one_by_one
        await days.run_once(system)
    with connect(settings.database_address) as connection:
        connection.execute("ANALYZE uploads, upload_days")
        explain = f"EXPLAIN {queries('days')['by_status']}"
        lines = connection.execute(explain.encode(), {"zone": zone})
        plan = "\n".join(row["QUERY PLAN"] for row in lines)
    assert "Seq Scan on uploads" not in plan, plan


async def test_a_record_without_uploads_has_none_in_any_status(system: System) -> None:
    async with system.pool.connection() as pooled:
        assert await days.by_status(pooled, zone=system.settings.time_zone) == {}


async def test_a_day_that_an_older_version_summed_up_is_summed_up_again(
    system: System, settings: Settings, readers: list[User]
) -> None:
    one_by_one = await read(system, readers)
    number = await days.run_once(system)
    with connect(settings.database_address) as connection:
        # It knows no renewals, and counts the rows of dry runs.
        connection.execute("UPDATE upload_days SET new_members = NULL, rows = 1, inserted = 1")
    assert await read(system, readers) == one_by_one
    assert await days.run_once(system) == number
    assert await read(system, readers) == one_by_one


async def test_a_change_of_an_upload_counts_at_once_and_its_day_is_summed_up_again(
    system: System, settings: Settings, readers: list[User]
) -> None:
    await days.run_once(system)
    all_days = summed_up(settings)
    changes = (
        "UPDATE uploads SET status = 'pending', finished_at = NULL WHERE status = 'failed'",
        "UPDATE uploads SET status = 'completed', finished_at = created_at + interval '9 s'"
        " WHERE ordinal = 40",
        "UPDATE uploads SET created_at = created_at - interval '4 days' WHERE ordinal = 41",
        "DELETE FROM uploads WHERE ordinal % 7 = 0",
        """UPDATE uploads SET renewals = '{"new": 3, "renewed": 2, "early": 1, "expired": 4}'
           WHERE status = 'completed' AND ordinal % 3 = 0""",
        "UPDATE uploads SET undone_at = now() WHERE renewals IS NOT NULL AND ordinal % 2 = 0",
    )
    for change in changes:
        with connect(settings.database_address) as connection:
            connection.execute(change)
        assert summed_up(settings) < all_days, change
        changed = await read(system, readers)
        await days.run_once(system)
        assert summed_up(settings) == all_days, change
        assert await read(system, readers) == changed, change
        with connect(settings.database_address) as connection:
            connection.execute("DELETE FROM upload_days")
        assert await read(system, readers) == changed, change
        await days.run_once(system)


@pytest.mark.usefixtures("readers")
async def test_a_heartbeat_withdraws_no_day(system: System, settings: Settings) -> None:
    await days.run_once(system)
    before = summed_up(settings)
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET heartbeat_at = now(), progress = 5, rows_done = 3")
    assert summed_up(settings) == before > 0


async def test_a_day_that_is_being_changed_is_left_for_the_next_round(
    system: System, settings: Settings, readers: list[User]
) -> None:
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET status = 'cancelled', finished_at = now() WHERE ordinal = "
            "(SELECT ordinal FROM uploads WHERE status = 'pending' ORDER BY ordinal DESC LIMIT 1)"
        )
        summed = await days.run_once(system)  # sees the record as it was before
        assert summed is not None
        assert summed == summed_up(settings) > 0
    exact = await read(system, readers)
    again = await days.run_once(system)
    assert again is not None
    assert again > 0
    assert await read(system, readers) == exact


async def test_another_time_zone_has_other_days(
    system: System, settings: Settings, readers: list[User]
) -> None:
    one_day("America/New_York")
    await days.run_once(system)
    elsewhere = settings.model_copy(update={"time_zone": "America/New_York"})
    async with open_system(elsewhere) as other:
        one_by_one = await read(other, readers)
        await days.run_once(other)
        assert await read(other, readers) == one_by_one
    here = await read(system, readers)
    await days.run_once(system)
    assert await read(system, readers) == here
    assert here[0][0]["uploads"] == one_by_one[0][0]["uploads"] == 90


async def test_sums_are_made_again_on_request(
    system: System, settings: Settings, readers: list[User]
) -> None:
    await days.run_once(system)
    exact = await read(system, readers)
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE upload_days SET uploads = uploads + 1")
    assert await read(system, readers) != exact
    assert await days.rebuild(system) == summed_up(settings)
    assert await read(system, readers) == exact


def test_quantiles_are_right_within_a_fortieth() -> None:
    for true in (0.02, 0.7, 3.0, 599.0):
        bucket = math.floor(math.log(true) / math.log(days.GROWTH))
        assert abs(days.quantile({bucket: 4}, 0.5) / true - 1) < 0.025
    assert days.quantile({1: 90, 50: 10}, 0.5) == days.GROWTH**1.5
    assert days.quantile({1: 90, 50: 10}, 0.95) == days.GROWTH**50.5


async def test_every_upload_is_listed_once_while_others_arrive(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    ids = [await sent(system, user, csv_file(members(1, start=n))) for n in range(5)]
    seen, after = [], None
    for _ in range(len(ids)):
        listed = await lookup.history(system, user, after=after, paging=Paging(1, 2))
        seen += [row["id"] for row in listed.rows]
        if len(listed.rows) < 2:
            break
        after = listed.rows[-1]["ordinal"]
        await sent(system, user, csv_file(members(1, start=50 + len(seen))))
    assert seen == ids[::-1]


async def test_a_long_list_is_counted_up_to_a_bound_and_pages_go_on_beyond_it(
    system: System, settings: Settings, readers: list[User]
) -> None:
    bounded = settings.model_copy(update={"list_most_counted": 10})
    async with open_system(bounded) as other:
        for user, number in ((readers[0], 90), (readers[3], 18), (readers[4], 0)):
            exact = await lookup.history(system, user, paging=Paging(1, 7))
            assert (exact.total, exact.is_exact) == (number, True)
            pages: list[Row] = []
            for page in range(1, 14):
                listed = await lookup.history(other, user, paging=Paging(page, 7))
                pages += listed.rows
                assert listed.is_exact == (number <= 10)
                assert listed.total > 10 or listed.is_exact
            assert len(pages) == number
