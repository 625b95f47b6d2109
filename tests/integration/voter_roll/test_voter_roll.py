"""Members are verified against the voter roll: within its budget, and never wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import math
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import fastexcel
import httpx
import polars as pl
import pytest
from prometheus_client import generate_latest
from psycopg import sql

from rollbook.accounts import users
from rollbook.api.app import create_app
from rollbook.backends.database import Paging, connect, queries
from rollbook.errors import ServiceUnavailableError
from rollbook.model import RESULTS, Role
from rollbook.pipeline.verify import Verification
from rollbook.service import due
from rollbook.service.system import open_system
from rollbook.uploads import control, lookup
from rollbook.voter_roll import reconciler
from rollbook.voter_roll import worker as verification
from rollbook.voter_roll.client import TRIES
from rollbook.voter_roll.record import Question, VerificationRecord
from rollbook.voter_roll.worker import REPORT_TRIES, VerificationWorker
from rollbook.worker.slots import Slots
from tests.files import csv_file, id_number, member, members
from tests.integration.voter_roll.rolls import asking, until, verified
from tests.integration.worker.test_worker import ended, sent, working
from tests.redis_content import everything
from tests.roll import Fault, ScriptedRoll
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


@pytest.fixture
def roll() -> ScriptedRoll:
    return ScriptedRoll()


@pytest.fixture
def roll_url(roll: ScriptedRoll) -> Iterator[str]:
    with roll.running() as url:
        yield url


@contextlib.asynccontextmanager
async def at_work(settings: Settings) -> AsyncIterator[System]:
    """A system and its worker, which asks the roll."""
    async with open_system(settings) as system, working(system):
        yield system


def results(upload: Row) -> dict[str, int]:
    """The upload's counts by result, without those of nobody."""
    return {name: upload[f"roll_{name}"] for name in RESULTS if upload[f"roll_{name}"]}


def fetched(settings: Settings, query: str, *parameters: Any) -> list[Row]:
    with connect(settings.database_address) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


async def sheet_of(system: System, upload: Row, name: str) -> pl.DataFrame:
    _, chunks = await system.store.open(upload["report_key"])
    content = b"".join([chunk async for chunk in chunks])
    book = fastexcel.read_excel(content)
    header = None if name == "Summary" else 0
    return book.load_sheet(name, dtypes="string", header_row=header).to_polars()


async def test_every_row_ends_with_what_the_roll_says_and_the_report_says_it_too(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    rows = [
        *members(6),
        member(6, Ward="79800002"),
        member(7, Ward="1"),
        member(8, Ward=""),
        member(9, Surname=""),
    ]
    async with at_work(settings) as system:
        upload_id = await sent(system, await make_user(), csv_file(rows))
        upload = await verified(settings, upload_id)
        said = await sheet_of(system, upload, "All Uploaded Rows")
        not_registered = await sheet_of(system, upload, "Not Registered Voters")
        summary = await sheet_of(system, upload, "Summary")
        listed = await lookup.rows(system, upload, outcome=None, paging=Paging(1, 100))
        page, total = listed.rows, listed.total
        some = await lookup.rows(
            system, upload, outcome=None, paging=Paging(1, 100), verification="deceased"
        )
    assert results(upload) == {
        "not_registered": 1, "deceased": 1, "without_district": 1, "international": 1,
        "registered": 4, "other_ward": 1,
    }  # fmt: skip
    assert upload["inserted"] == 9
    assert said["IEC Registered"].to_list() == [
        "No", "Deceased", "Yes, without a voting district", "Yes, abroad", "Yes", "Yes",
        "Yes, in another ward", "Yes", "Yes", "not asked",
    ]  # fmt: skip
    assert said["IEC VD Code"].to_list()[:4] == ["99999999", "11111111", "22222222", "33333333"]
    assert said["IEC VD Code"].to_list()[9] is None
    assert said["IEC Ward"].to_list()[4] == "79800001"
    assert not_registered["ID Number"].to_list() == [id_number(0)]
    texts = [str(cell) for row in summary.rows() for cell in row if cell is not None]
    assert any(text.startswith("4 registered in the ward of the file; 1 ") for text in texts)
    assert total == 10
    assert [row["result"] for row in page][8:] == ["registered", None]
    assert [row["row_number"] for row in some.rows] == [3]
    found = {row["id_number"]: row for row in fetched(settings, "SELECT * FROM members")}
    assert found[id_number(0)]["roll_status"] == "not_registered"
    assert found[id_number(0)]["roll_voting_district"] == "99999999"
    assert found[id_number(6)]["roll_ward"] == "79800001"
    assert found[id_number(6)]["ward"] == "79800002"
    assert found[id_number(6)]["roll_asked_at"] is not None
    # What the roll says is no change that an upload made.
    assert fetched(settings, "SELECT * FROM member_changes") == []
    assert {asked.id_number for asked in roll.about()} == {id_number(n) for n in range(9)}
    assert len(roll.about()) == 9


async def test_who_was_asked_about_lately_is_not_asked_about_again(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    """Nor is what the roll has said a change of the member that an upload made."""
    settings = asking(settings, roll_url)
    async with at_work(settings) as system:
        user = await make_user()
        await verified(settings, await sent(system, user, csv_file(5)))
        requests = len(roll.asked)
        again = await ended(
            system, user, await sent(system, user, csv_file(5), allow_duplicate=True)
        )
        # The same people cost no request, and are verified with the merge.
        assert (again["verification"], again["unchanged"]) == ("verified", 5)
        assert results(again) == {
            "registered": 1, "not_registered": 1, "deceased": 1, "without_district": 1,
            "international": 1,
        }  # fmt: skip
        assert len(roll.asked) == requests
        with connect(settings.database_address) as connection:
            connection.execute(
                "UPDATE voter_roll_answers SET asked_at = asked_at - interval '31 days'"
                " WHERE id_number = %s",
                (id_number(4),),
            )
        changed = await sent(system, user, csv_file([*members(4), member(4, Surname="New")]))
        await verified(settings, changed)
    assert len(roll.about()) == 6
    assert len(roll.about(id_number(4))) == 2  # its answer was too old
    before = fetched(settings, "SELECT upload_id, id_number, before FROM member_changes")
    assert [(row["upload_id"], row["id_number"]) for row in before] == [(changed, id_number(4))]
    assert before[0]["before"]["surname"] == "Last4"
    assert "roll_status" not in before[0]["before"]


async def test_a_token_that_is_refused_is_renewed_and_no_row_is_lost(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    roll.fail(id_number(5), "401")
    async with at_work(settings) as system:
        user = await make_user()
        await verified(settings, await sent(system, user, csv_file(6)))
        roll.revoke_tokens()
        upload = await verified(settings, await sent(system, user, csv_file(members(4, 10))))
    assert results(upload) == {"registered": 4}
    tokens = [asked for asked in roll.asked if asked.id_number is None]
    assert len(tokens) == 3
    assert {row["result"] for row in fetched(settings, "SELECT * FROM verifications")}.isdisjoint(
        {"pending", "error"}
    )


async def test_rows_without_an_answer_stay_pending_and_are_asked_again_and_the_upload_completes(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url, voter_roll_down_after=1000)
    faults: list[Fault] = ["500", "garbage", "somebody_else", "redirect"]
    failing = {id_number(5 + n): fault for n, fault in enumerate(faults)}
    for number, fault in failing.items():
        roll.fail(number, *[fault] * 100)
    async with at_work(settings) as system:
        user = await make_user()
        upload_id = await sent(system, user, csv_file(10))
        upload = await ended(system, user, upload_id)
        assert upload["status"] == "completed"
        query = (
            "SELECT v.id_number, v.result FROM verifications v"
            " JOIN voter_roll_questions q USING (id_number) WHERE q.failures > 1"
        )
        held = await until(settings, query, lambda rows: len(rows) == len(failing))
        assert {failing[row["id_number"]]: row["result"] for row in held} == dict.fromkeys(
            faults, "pending"
        )
        roll.fail_no_more()
        upload = await verified(settings, upload_id)
    assert results(upload) == {
        "registered": 6, "not_registered": 1, "deceased": 1, "without_district": 1,
        "international": 1,
    }  # fmt: skip
    times = [len(roll.about(id_number(n))) for n in (4, 9, 5)]
    assert times[:2] == [1, 1]
    assert times[2] > TRIES  # at once, and again


async def test_a_question_that_the_roll_refuses_ends_as_an_error_and_never_as_not_registered(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    roll.fail(id_number(5), "refused", "refused")
    async with at_work(settings) as system:
        upload = await verified(
            settings, await sent(system, await make_user(), csv_file(members(3, 4)))
        )
        said = await sheet_of(system, upload, "All Uploaded Rows")
    assert results(upload) == {"registered": 2, "error": 1}
    assert said["IEC Registered"].to_list() == ["Yes", "Error: the roll gives no answer", "Yes"]
    asked = fetched(settings, "SELECT roll_status FROM members WHERE id_number = %s", id_number(5))
    assert asked == [{"roll_status": None}]


async def test_a_dry_run_and_a_refused_file_ask_about_nobody(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    refused = csv_file([*members(3), member(9, Surname="")])
    async with at_work(settings) as system:
        user = await make_user()
        dry = await ended(system, user, await sent(system, user, csv_file(3), dry_run=True))
        failed = await ended(system, user, await sent(system, user, refused, all_or_nothing=True))
        said = await sheet_of(system, dry, "All Uploaded Rows")
        await reconciler.run_once(system)
    assert (dry["status"], failed["status"]) == ("completed", "failed")
    assert (dry["verification"], failed["verification"]) == ("off", "off")
    assert said["IEC Registered"].unique().to_list() == ["not asked"]
    assert roll.asked == []
    assert fetched(settings, "SELECT * FROM voter_roll_questions") == []


async def test_without_an_account_nobody_is_asked_about(
    settings: Settings, make_user: MakeUser
) -> None:
    assert not settings.asks_voter_roll
    async with at_work(settings) as system:
        user = await make_user()
        upload = await ended(system, user, await sent(system, user, csv_file(3)))
        said = await sheet_of(system, upload, "All Uploaded Rows")
    assert upload["verification"] == "off"
    assert said["IEC Registered"].unique().to_list() == ["not asked"]
    assert fetched(settings, "SELECT * FROM verifications") == []


async def test_an_upload_that_is_verified_before_its_merge_waits_and_then_merges(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    roll.always_fail.add(id_number(5))
    roll.fail(id_number(6), "refused", "refused")
    async with at_work(settings) as system:
        user = await make_user()
        upload_id = await sent(system, user, csv_file(8), verify="before_merge")
        query = "SELECT * FROM uploads WHERE id = %s AND roll_pending = 1"
        waiting = await until(settings, query, bool, upload_id)
        assert waiting[0]["status"] == "pending"
        assert fetched(settings, "SELECT * FROM members") == []
        async with served(settings) as client:
            await sign_in(client, system, user)
            status = (await client.get(f"/bulk-upload/status/{upload_id}")).json()
        roll.always_fail.clear()
        query = "SELECT * FROM uploads WHERE id = %s AND status = 'completed'"
        (upload,) = await until(settings, query, bool, upload_id)
        said = await sheet_of(system, upload, "All Uploaded Rows")
    assert upload["verification"] == "verified"
    assert status["message"].startswith("Waiting for the voter roll before the merge: 1 rows")
    assert status["data"]["verification"]["mode"] == "before_merge"
    assert status["data"]["verification"]["seconds_left"] is not None
    assert upload["attempt"] == 2
    assert upload["attempts_before"] == 1
    assert upload["inserted"] == 8
    assert said["IEC Registered"].to_list()[:2] == ["No", "Deceased"]
    assert said["IEC Registered"].to_list()[6] == "Error: the roll gives no answer"
    assert len(roll.about(id_number(4))) == 1


async def held_before_merge(settings: Settings, system: System, user: User, content: bytes) -> UUID:
    """An upload that waits for its merge, because of one row."""
    upload_id = await sent(system, user, content, verify="before_merge")
    query = "SELECT FROM uploads WHERE id = %s AND status = 'pending' AND roll_pending = 1"
    await until(settings, query, bool, upload_id)
    return upload_id


async def test_an_upload_that_waited_while_the_roll_was_switched_off_is_merged_and_nobody_spins(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    on = asking(settings, roll_url)
    roll.always_fail.add(id_number(5))
    async with at_work(on) as system:
        upload_id = await held_before_merge(on, system, await make_user(), csv_file(members(3, 4)))
    async with at_work(settings) as system:
        await system.queue.retry(upload_id, priority=1)
        query = "SELECT * FROM uploads WHERE id = %s AND status = 'completed'"
        (upload,) = await until(settings, query, bool, upload_id)
    assert (upload["verification"], results(upload)) == ("off", {})
    assert upload["inserted"] == 3
    async with open_system(on) as system:
        assert await reconciler.run_once(system) == 0
    assert fetched(settings, "SELECT * FROM voter_roll_questions") == []


async def test_an_upload_that_waits_for_rows_which_do_not_wait_is_counted_anew(
    settings: Settings, make_user: MakeUser, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    async with at_work(settings) as system:
        user = await make_user()
        files = (csv_file(members(2, 4)), csv_file(members(2, 10)))
        ids = [await sent(system, user, content) for content in files]
        for upload_id in ids:
            await verified(settings, upload_id)
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET verification = 'pending', roll_pending = 3")
        connection.execute("DELETE FROM verifications WHERE upload_id = %s", (ids[0],))
    async with open_system(settings) as system:
        assert await reconciler.run_once(system) == 0
    found = fetched(settings, "SELECT * FROM uploads ORDER BY ordinal")
    assert [(upload["verification"], results(upload)) for upload in found] == [
        ("off", {}),
        ("verified", {"registered": 2}),
    ]


async def test_an_answer_of_later_that_says_otherwise_is_not_shown_beside_an_earlier_result(
    settings: Settings, make_user: MakeUser, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    async with at_work(settings) as system:
        upload_id = await sent(system, await make_user(), csv_file(members(2, 4)))
        upload = await verified(settings, upload_id)
        with connect(settings.database_address) as connection:
            connection.execute(
                "UPDATE voter_roll_answers SET status = 'deceased', voting_district = '11111111'"
                " WHERE id_number = %s",
                (id_number(4),),
            )
        page = (await lookup.rows(system, upload, outcome=None, paging=Paging(1, 10))).rows
    assert [row["result"] for row in page] == ["registered", "registered"]
    assert page[0]["voting_district"] is page[0]["ward"] is page[0]["asked_at"] is None
    assert page[1]["voting_district"] is not None


async def test_an_upload_that_ended_without_a_merge_keeps_no_counts_of_the_roll(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    roll.always_fail.add(id_number(5))
    async with at_work(settings) as system:
        user = await make_user()
        upload_id = await held_before_merge(settings, system, user, csv_file(members(3, 4)))
        await until(
            settings,
            "SELECT FROM uploads WHERE id = %s AND roll_registered = 2",
            bool,
            upload_id,
        )
        await control.cancel(system, user, upload_id)
    async with open_system(settings) as system:
        await reconciler.run_once(system)
    (upload,) = fetched(settings, "SELECT * FROM uploads WHERE id = %s", upload_id)
    assert (upload["verification"], results(upload)) == ("off", {})


async def test_a_probe_that_finds_nobody_to_ask_about_is_still_to_be_made(
    settings: Settings, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    async with open_system(settings) as system:
        with connect(settings.database_address) as connection:
            connection.execute("UPDATE voter_roll_state SET down_since = now(), probe_at = now()")
        worker = VerificationWorker(system, write_report=Slots(settings).write_report)
        assert isinstance(await worker._claim(), float)
        assert (await worker._record.turn(lease_s=60)).is_probe
    assert roll.asked == []


async def test_a_worker_without_a_due_question_waits_for_the_next_one_or_the_next_look(
    settings: Settings, roll_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "POLL_S", 2.0 * PATIENCE_S)
    monkeypatch.setattr(verification, "pause_s", due.pause_s)
    settings = asking(settings, roll_url)
    add = "INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number, due_at)"
    add += " VALUES (%s, 1, 2, now() + make_interval(secs => %s))"
    async with open_system(settings) as system:
        worker = VerificationWorker(system, write_report=Slots(settings).write_report)
        assert await worker._claim() == due.POLL_S
        with connect(settings.database_address) as connection:
            connection.execute(add, (id_number(4), 3600))
        assert await worker._claim() == due.POLL_S
        with connect(settings.database_address) as connection:
            connection.execute(add, (id_number(5), PATIENCE_S))
        pause_s = await worker._claim()
    assert isinstance(pause_s, float)
    assert 0 < pause_s <= PATIENCE_S


async def waiting(settings: Settings, system: System, user: User, people: int) -> UUID:
    """An upload of which so many people are to be asked about, without a worker that did it."""
    upload_id = await sent(system, user, csv_file(1))
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET verification = 'pending', roll_pending = %s", (people,)
        )
        for n in range(people):
            values = (upload_id, n + 2, id_number(4 + n))
            connection.execute(
                "INSERT INTO verifications (upload_id, row_number, id_number, result)"
                " VALUES (%s, %s, %s, 'pending')", values,
            )  # fmt: skip
        connection.execute(
            "INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number)"
            " SELECT id_number, 1, row_number FROM verifications"
        )
    return upload_id


@contextlib.asynccontextmanager
async def verifying(
    system: System, write_report: Callable[[UUID], Awaitable[object]] | None = None
) -> AsyncIterator[None]:
    """A worker that only asks the roll and rewrites reports."""
    stop = asyncio.Event()
    worker = VerificationWorker(
        system, write_report=write_report or Slots(system.settings).write_report
    )
    task = asyncio.create_task(worker.run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


ANSWERED = "SELECT FROM uploads WHERE roll_pending = 0"


async def test_a_question_whose_worker_died_is_asked_by_another_when_its_claim_ends(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    async with open_system(settings) as system:
        await waiting(settings, system, await make_user(), 1)
        claimed_at = time.monotonic()
        dead = await VerificationRecord(settings, system.pool).claim(lease_s=1)
        assert dead is not None
        async with verifying(system):
            await until(settings, ANSWERED, bool)
    (asked,) = roll.about()
    assert asked.id_number == dead.id_number
    assert asked.at - claimed_at >= 1


async def test_only_people_whose_request_was_under_way_are_asked_about_twice(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    lanes = 4
    settings = asking(settings, roll_url, voter_roll_lanes=lanes, shutdown_grace_s=0)
    async with open_system(settings) as system:
        await waiting(settings, system, await make_user(), 30)
        roll.slow_after = 10  # the others are cut off
        async with verifying(system):
            await asyncio.to_thread(roll.wait_until_asked, 10 + lanes)
        roll.slow_after = math.inf
        with connect(settings.database_address) as connection:
            claims = connection.execute("SELECT FROM voter_roll_questions WHERE due_at > now()")
            under_way = claims.rowcount
            connection.execute("UPDATE voter_roll_questions SET due_at = now()")  # they have ended
        async with verifying(system):
            await until(settings, ANSWERED, bool)
    times = Counter(asked.id_number for asked in roll.about())
    assert len(times) == 30
    assert 0 < under_way <= lanes
    assert sum(number - 1 for number in times.values()) <= under_way


async def test_a_worker_that_stops_waits_for_the_answers_under_way(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    roll.latency_s = 0.5
    settings = asking(settings, roll_url, shutdown_grace_s=PATIENCE_S)
    async with open_system(settings) as system:
        await waiting(settings, system, await make_user(), 1)
        async with verifying(system):
            await asyncio.to_thread(roll.wait_until_asked, 1)
    assert len(fetched(settings, ANSWERED)) == 1


async def due_report(settings: Settings, system: System, user: User) -> UUID:
    """An upload whose answers are all in, and whose report is due."""
    upload_id = await sent(system, user, csv_file(1))
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET status = 'completed', finished_at = now(), verification = 'pending'"
        )
    return upload_id


async def test_a_report_is_claimed_for_as_long_as_it_is_being_written_and_then_by_another(
    settings: Settings, make_user: MakeUser, roll_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "RENEWALS", 100 * PATIENCE_S)  # one each tenth of a second
    lasting = {"lock_duration_ms": 10_000 * PATIENCE_S}
    settings = asking(settings, roll_url, **lasting, shutdown_grace_s=0)
    begun, other_begun = asyncio.Event(), asyncio.Event()
    query = "SELECT report_due_at FROM uploads"

    async def never_ends(_: UUID) -> None:
        begun.set()
        await asyncio.wait_for(asyncio.Event().wait(), PATIENCE_S)

    async def by_another(_: UUID) -> None:
        other_begun.set()

    async with open_system(settings) as system, open_system(settings) as other:
        await due_report(settings, system, await make_user())
        async with contextlib.AsyncExitStack() as workers:
            async with verifying(system, never_ends):
                await asyncio.wait_for(begun.wait(), PATIENCE_S)
                (claim,) = fetched(settings, query)
                await workers.enter_async_context(verifying(other, by_another))
                renewed = partial(_is_later, claim["report_due_at"])
                await until(settings, query, renewed)
                assert not other_begun.is_set()
            with connect(settings.database_address) as connection:  # it has ended since
                connection.execute("UPDATE uploads SET report_due_at = now()")
            await asyncio.wait_for(other_begun.wait(), PATIENCE_S)


def _is_later(before: dt.datetime, rows: list[Row]) -> bool:
    """Whether a claim ends at least half a second later than before."""
    return bool(rows[0]["report_due_at"] - before > dt.timedelta(seconds=0.5))


async def test_a_part_that_is_away_costs_a_report_none_of_its_tries(
    settings: Settings, make_user: MakeUser, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    calls = 0

    async def written(upload_id: UUID) -> None:
        nonlocal calls
        calls += 1
        if calls <= REPORT_TRIES + 2:
            raise ServiceUnavailableError("The store doesn't answer.")
        with connect(settings.database_address) as connection:
            connection.execute(
                "UPDATE uploads SET verification = 'verified' WHERE id = %s", (upload_id,)
            )

    async with open_system(settings) as system, verifying(system, written):
        upload = await verified(settings, await due_report(settings, system, await make_user()))
    assert (upload["report_tries"], calls) == (0, REPORT_TRIES + 3)


async def test_before_the_merge_nobody_is_asked_about_who_cannot_be_merged(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    on = asking(settings, roll_url)
    async with at_work(settings) as system:
        user = await make_user()
        others = csv_file([member(4, Province="Limpopo", Municipality="Polokwane")])
        await ended(system, user, await sent(system, user, others))
    refused = csv_file([*members(3, 10), member(9, Surname="")])
    async with at_work(on) as system:
        office = await make_user(Role.PROVINCE_ADMIN, "GP")
        upload_id = await sent(system, office, csv_file(members(3, 4)), verify="before_merge")
        query = "SELECT * FROM uploads WHERE id = %s AND status = 'completed'"
        (upload,) = await until(settings, query, bool, upload_id)
        options: dict[str, Any] = {"all_or_nothing": True, "verify": "before_merge"}
        failed = await ended(system, user, await sent(system, user, refused, **options))
    assert (upload["inserted"], upload["out_of_scope"], results(upload)) == (
        2, 1, {"registered": 2},
    )  # fmt: skip
    assert (failed["status"], failed["verification"]) == ("failed", "off")
    assert {asked.id_number for asked in roll.about()} == {id_number(5), id_number(6)}


async def test_something_that_refuses_everything_is_a_roll_that_is_down_and_no_row_ends_so(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url, voter_roll_lanes=1, voter_roll_retry_s=600)
    for n in range(4, 10):
        roll.fail(id_number(n), "refused")
    async with at_work(settings) as system:
        upload_id = await sent(system, await make_user(), csv_file(members(8, 4)))
        query = "SELECT * FROM voter_roll_state WHERE down_since IS NOT NULL"
        (state,) = await until(settings, query, bool)
        # The sixth is refused as well, by which the roll is still down.
        query = "SELECT FROM voter_roll_questions WHERE failures > 0"
        await until(settings, query, lambda rows: len(rows) == 6)
        with connect(settings.database_address) as connection:  # their pause is over
            connection.execute("UPDATE voter_roll_questions SET due_at = now() WHERE failures > 0")
        upload = await verified(settings, upload_id)
    assert state["error_code"] == "voter_roll_refused"
    assert results(upload) == {"registered": 8}


async def test_an_upload_in_its_back_off_is_not_woken_and_keeps_its_count_of_attempts(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    on = asking(settings, roll_url)
    roll.always_fail.add(id_number(5))
    async with at_work(on) as system:
        upload_id = await held_before_merge(on, system, await make_user(), csv_file(members(3, 4)))
    change = "UPDATE uploads SET roll_pending = 0, error_code = %s"
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE verifications SET result = 'registered'")
        connection.execute(change, ("attempt_failed",))
    async with open_system(on) as system:
        assert await reconciler.run_once(system) == 0
        assert await system.queue.state(upload_id) == "delayed"
        with connect(settings.database_address) as connection:
            connection.execute(change, (None,))
        assert await reconciler.run_once(system) == 1
        assert await system.queue.state(upload_id) == "prioritized"


async def test_a_report_that_fails_each_time_is_given_up_and_the_old_one_stays(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    roll.always_fail.add(id_number(5))
    async with at_work(settings) as system:
        upload_id = await sent(system, await make_user(), csv_file(members(3, 4)))
        query = "SELECT * FROM uploads WHERE id = %s AND roll_pending = 1"
        (before,) = await until(settings, query, bool, upload_id)
        await system.store.receive(before["report_tables_key"], _chunks(b"no tables"))
        roll.always_fail.clear()
        upload = await verified(settings, upload_id)
        said = await sheet_of(system, upload, "All Uploaded Rows")
        assert not await system.store.has(before["report_tables_key"])
    assert (upload["report_key"], upload["report_tables_key"]) == (before["report_key"], None)
    assert results(upload) == {"registered": 3}
    assert said["IEC Registered"].unique().to_list() == ["Pending"]


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _has_or_is_done(task: asyncio.Future[None], rows: list[Row]) -> bool:
    return bool(rows) or task.done()


async def test_a_second_look_and_an_answer_both_lock_the_upload_before_anything_of_it(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    on = asking(settings, roll_url)
    roll.always_fail.add(id_number(5))
    async with at_work(on) as system:
        upload_id = await held_before_merge(on, system, await make_user(), csv_file(members(3, 4)))
    (upload,) = fetched(settings, "SELECT * FROM uploads")
    lines = pl.DataFrame({"row_number": [2, 3, 4], "outcome": ["inserted"] * 3})

    def look_again() -> None:
        with connect(settings.database_address) as own:
            own.execute(sql.SQL(queries("members")["stage"]).format(own_fields=sql.SQL("")))
            own.execute(
                "INSERT INTO staged (row_number, id_number, filled, member_id)"
                " SELECT row_number, id_number, 0, gen_random_uuid() FROM verifications"
            )
            assert not Verification(own, upload, cache_days=30).prepare(lines, is_refused=False)

    async def settle(system: System) -> None:
        record = VerificationRecord(on, system.pool)
        question = Question(
            id_number(5), failures=1, was_refused=False, is_wanted=True, is_known=False
        )
        await record.settle(question, is_refused=True)

    waits = (
        "SELECT FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with open_system(on) as system:
        for other in (asyncio.to_thread(look_again), settle(system)):
            with connect(settings.database_address) as holder:
                holder.execute("SELECT FROM uploads WHERE id = %s FOR UPDATE", (upload_id,))
                task: asyncio.Future[None] = asyncio.ensure_future(other)
                await until(settings, waits, partial(_has_or_is_done, task))
                assert not task.done(), task.exception()
                # Whoever waits for the upload holds nothing that its holder takes next.
                holder.execute("SELECT FROM verifications FOR UPDATE NOWAIT")
                holder.execute("SELECT FROM voter_roll_questions FOR UPDATE NOWAIT")
            await task
    assert fetched(settings, "SELECT FROM verifications WHERE result = 'pending'") == []


async def test_a_cancelled_upload_is_asked_about_no_further(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url, voter_roll_retry_s=0.5)
    for n in range(4, 8):
        roll.always_fail.add(id_number(n))
    async with at_work(settings) as system:
        user = await make_user()
        upload_id = await sent(system, user, csv_file(members(4, 4)), verify="before_merge")
        query = "SELECT * FROM voter_roll_questions WHERE failures > 0"
        await until(settings, query, lambda rows: len(rows) == 4)
        await control.cancel(system, user, upload_id)
        asked = len(roll.about())
        await reconciler.run_once(system)  # or the worker's own, which is under way
        await until(settings, "SELECT * FROM voter_roll_questions", lambda rows: not rows)
        other = await verified(settings, await sent(system, user, csv_file(members(5, 10))))
    assert results(other) == {"registered": 5}
    # At most the one request of each that was under way when it was cancelled, and its tries.
    assert len(roll.about()) - 5 - asked <= 4 * 3
    (upload,) = fetched(settings, "SELECT * FROM uploads WHERE id = %s", upload_id)
    assert (upload["status"], upload["verification"]) == ("cancelled", "off")
    assert fetched(settings, "SELECT * FROM members WHERE id_number = %s", id_number(4)) == []


async def test_two_uploads_with_the_same_people_ask_once_and_both_hear_of_it(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    roll.latency_s = 0.05
    settings = asking(settings, roll_url, concurrency=2)
    async with at_work(settings) as system:
        user = await make_user()
        first = await sent(system, user, csv_file(members(10, 4)))
        second = await sent(system, user, csv_file(members(10, 8)))
        both = [await verified(settings, first), await verified(settings, second)]
    assert [sum(results(upload).values()) for upload in both] == [10, 10]
    assert [upload["roll_pending"] for upload in both] == [0, 0]
    assert len(roll.about()) == 14


async def test_an_upload_whose_report_cannot_be_written_again_is_verified_all_the_same(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url)
    roll.always_fail.add(id_number(5))
    async with at_work(settings) as system:
        upload_id = await sent(system, await make_user(), csv_file(members(3, 4)))
        query = "SELECT * FROM uploads WHERE id = %s AND roll_pending = 1"
        (waiting,) = await until(settings, query, bool, upload_id)
        await system.store.remove(waiting["report_tables_key"])
        roll.always_fail.clear()
        upload = await verified(settings, upload_id)
        said = await sheet_of(system, upload, "All Uploaded Rows")
    assert upload["report_key"] == waiting["report_key"]
    assert results(upload) == {"registered": 3}
    assert said["IEC Registered"].unique().to_list() == ["Pending"]


async def test_everything_in_redis_may_be_lost_and_nobody_is_asked_twice(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    roll.latency_s = 0.02
    settings = asking(settings, roll_url)
    async with at_work(settings) as system:
        upload_id = await sent(system, await make_user(), csv_file(members(30, 4)))
        await asyncio.to_thread(roll.wait_until_asked, 10)
        await system.redis.flushall()
        await until(settings, "SELECT * FROM voter_roll_state", lambda _: len(roll.about()) >= 10)
        await reconciler.run_once(system)  # or the worker's own, which is under way
        upload = await verified(settings, upload_id)
    assert sum(results(upload).values()) == 30
    assert len(roll.about()) == 30


async def test_a_roll_that_is_down_for_good_is_said_to_be_and_nothing_spins(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url, voter_roll_lanes=2)
    roll.down_with = 500
    async with at_work(settings) as system:
        user = await make_user()
        upload = await ended(system, user, await sent(system, user, csv_file(12)))
        assert upload["status"] == "completed"
        query = "SELECT * FROM voter_roll_state WHERE probes >= 2"
        await until(settings, query, bool)
        async with served(settings) as client:
            await sign_in(client, system, user)
            queue = (await client.get("/bulk-upload/queue/stats")).json()
            budget = (await client.get("/bulk-upload/rate-limit-status")).json()
            status = (await client.get(f"/bulk-upload/status/{upload['id']}")).json()
        held = fetched(settings, "SELECT DISTINCT result FROM verifications")
        # Five failures in a row, those under way beside them, and one for each probe; none is tried
        # at once more often than a question is.
        asked = len(roll.asked)  # first: there may be more in a moment
        probes = fetched(settings, "SELECT probes FROM voter_roll_state")[0]["probes"]
        assert asked <= 3 * (5 + 2 + probes + 1)
        roll.down_with = None
        upload = await verified(settings, upload["id"])
    assert held == [{"result": "pending"}]
    assert "The voter roll is down" in queue["message"]
    assert queue["data"]["voter_roll"]["roll"] == "down"
    assert queue["data"]["voter_roll"]["pending"] == 12
    assert queue["data"]["voter_roll"]["pending_seconds"] is None
    assert "The voter roll answered 500." in budget["message"]
    assert status["data"]["verification"]["results"]["pending"] == 12
    assert "12 rows are pending, for an unknown time." in status["message"]
    assert sum(results(upload).values()) == 12
    state = fetched(settings, "SELECT * FROM voter_roll_state")[0]
    assert (state["down_since"], state["failures"]) == (None, 0)


async def test_a_spent_budget_is_said_with_the_time_until_the_pending_are_done(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url, voter_roll_requests_per_hour=10, voter_roll_window_s=600)
    async with at_work(settings) as system:
        user = await make_user()
        upload_id = await sent(system, user, csv_file(members(30, 4)))
        await until(settings, "SELECT * FROM uploads WHERE roll_pending = 21", bool)
        async with served(settings) as client:
            await sign_in(client, system, user)
            budget = (await client.get("/bulk-upload/rate-limit-status")).json()
            can = (await client.get("/bulk-upload/can-upload?rows=10")).json()
            status = (await client.get(f"/bulk-upload/status/{upload_id}")).json()
            page = (await client.get(f"/bulk-upload/rows/{upload_id}?verification=pending")).json()
    assert len(roll.asked) == 10
    standing = budget["data"]
    assert (standing["state"], standing["used"], standing["remaining"]) == ("exceeded", 10, 0)
    assert 500 < standing["reset_in_seconds"] <= 600
    assert standing["pending"] == 21
    # Ten in the next window, ten in the one after, and one.
    assert 1700 < standing["pending_seconds"] <= 1801
    assert can["data"]["can_upload"] is True
    assert can["data"]["is_verified_at_once"] is False
    assert 2300 < can["data"]["verified_in_seconds"] <= 2402
    verification = status["data"]["verification"]
    assert verification["state"] == "pending"
    assert 1700 < verification["seconds_left"] <= 1801
    assert "21 rows are pending, about 30 minutes." in status["message"]
    assert page["data"]["total"] == 21
    assert page["data"]["items"][0]["verification"] == {
        "result": "pending", "ward": None, "voting_district": None, "voting_station": None,
        "asked_at": None,
    }  # fmt: skip


async def test_the_older_upload_is_asked_about_first(
    settings: Settings, make_user: MakeUser, roll: ScriptedRoll, roll_url: str
) -> None:
    settings = asking(settings, roll_url, voter_roll_lanes=1)
    roll.latency_s = 0.05
    async with at_work(settings) as system:
        user = await make_user()
        first = await sent(system, user, csv_file(members(10, 4)))
        second = await sent(system, user, csv_file(members(10, 100)))
        await verified(settings, second)
        await verified(settings, first)
    older = {id_number(n) for n in range(4, 14)}
    order = [asked.id_number in older for asked in roll.about()]
    # The second one's only lane may ask one question while the first one's lane asks its last.
    assert order.index(False) >= 9


async def test_nothing_of_a_person_is_in_redis_in_a_log_or_in_a_metric(
    settings: Settings,
    make_user: MakeUser,
    roll: ScriptedRoll,
    roll_url: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = asking(settings, roll_url, voter_roll_timeout_s=1.0, voter_roll_down_after=1000)
    lasting: list[Fault] = ["500", "garbage", "somebody_else", "redirect", "slow"]
    for n, fault in enumerate(lasting):
        roll.fail(id_number(4 + n), *[fault] * 100)
    roll.fail(id_number(9), "refused")
    roll.fail(id_number(10), "401", "401")
    people = [id_number(n) for n in range(4, 16)]
    caplog.set_level(logging.DEBUG)
    async with at_work(settings) as system:
        user = await make_user()
        upload_id = await sent(system, user, csv_file(members(len(people), 4)))
        failed = "SELECT FROM voter_roll_questions WHERE failures > 0"
        await until(settings, failed, lambda rows: len(rows) >= len(lasting))
        in_the_middle = await everything(settings)
        roll.fail_no_more()
        await verified(settings, upload_id)
        at_the_end = await everything(settings)
    metrics = generate_latest().decode()
    output = capsys.readouterr()
    logged = output.out + output.err + caplog.text
    assert str(upload_id) in in_the_middle
    assert "rollbook_voter_roll_requests_total" in metrics
    assert "voter roll gave no answer" in logged
    for place in (in_the_middle, at_the_end, metrics, logged):
        assert [number for number in people if number in place] == []


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API over these settings."""
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test/api/v1"
        ) as client,
    ):
        yield client


async def sign_in(client: httpx.AsyncClient, system: System, user: User) -> None:
    client.headers["Authorization"] = f"Bearer {users.issue_token(system.settings, user)}"
