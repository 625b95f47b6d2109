"""What a later upload confirmed, an undo of an earlier one leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.backends.database import Paging, connect, fetch_one
from rollbook.errors import BusyError, ConflictError
from rollbook.model import EVERYWHERE, Role, Scope, User
from rollbook.service.system import open_system
from rollbook.uploads import undo
from rollbook.uploads.undo import Counts
from tests.files import csv_file, id_number, member
from tests.integration.folder.watching import until
from tests.pipeline_run import Site, open_site
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.service.system import System

WAITS = """
SELECT count(*) AS waiting FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def operator(make_user: Callable[..., Awaitable[User]]) -> User:
    return await make_user(Role.NATIONAL_ADMIN)


def send(
    site: Site, numbers: range, *, scope: Scope = EVERYWHERE, options: Any = None, **cells: str
) -> dict[str, Any]:
    """Send a file of these members; the record of the upload."""
    content = csv_file([member(number, **cells) for number in numbers])
    return site.send(content, "members.csv", scope=scope, **(options or {})).upload


async def undone(system: System, user: User, upload_id: UUID) -> Counts:
    """Count, undo, and check that both said the same."""
    foreseen = (await undo.undo(system, user, upload_id, dry_run=True)).counts
    done = (await undo.undo(system, user, upload_id, dry_run=False)).counts
    assert foreseen == done
    return done


async def test_members_whom_a_later_full_list_holds_are_not_removed(
    site: Site, system: System, operator: User
) -> None:
    november = send(site, range(100))
    december = send(site, range(110))
    assert (december["unchanged"], december["inserted"]) == (100, 10)
    assert await undone(system, operator, november["id"]) == Counts(0, 0, 100, 0, 0)
    assert len(site.members()) == 110
    kept = await undo.kept(system, operator, november["id"], Paging(1, 10))
    assert kept.total == 100
    assert {(row["reason"], row["later_upload"]) for row in kept.rows} == {
        ("later_upload", december["id"])
    }


async def test_a_changed_value_that_a_later_upload_confirmed_is_kept(
    site: Site, system: System, operator: User
) -> None:
    send(site, range(9))
    changed = send(site, range(9), Surname="Married")
    assert send(site, range(4), Surname="Married")["unchanged"] == 4
    # Filled with the same name, but without a surname: it says nothing of what was changed.
    without = [{**member(n), "Surname": ""} for n in range(4, 6)]
    headers = ("ID Number", "Firstname", "Cell Number", "Province")
    content = csv_file(without, headers=(*headers, "Surname"))
    site.send(content, "no_surname.csv")
    assert await undone(system, operator, changed["id"]) == Counts(0, 5, 4, 0, 0)
    surnames = [row["surname"] for row in site.members().values()]
    assert surnames == ["Married"] * 4 + [f"Last{n}" for n in range(4, 9)]


async def test_a_repeated_row_and_one_that_was_to_be_skipped_confirm_too(
    site: Site, system: System, operator: User
) -> None:
    first = send(site, range(6))
    rows = [member(0), member(0, Firstname="Other"), member(1)]
    assert site.send(csv_file(rows), "twice.csv").outcomes["duplicate"] == 1
    send(site, range(2, 4), options={"existing": "skip"}, Surname="Skipped")
    send(site, range(4, 5), options={"existing": "fill"}, Surname="Not filled")
    assert await undone(system, operator, first["id"]) == Counts(1, 0, 5, 0, 0)
    assert list(site.members()) == [id_number(n) for n in range(5)]


async def test_a_value_that_a_later_upload_was_not_to_overwrite_is_not_confirmed(
    site: Site, system: System, operator: User
) -> None:
    send(site, range(2))
    changed = send(site, range(2), Surname="Wrong")
    send(site, range(1), options={"existing": "skip"})
    send(site, range(1, 2), options={"existing": "fill"}, Surname="Wrong")
    assert await undone(system, operator, changed["id"]) == Counts(0, 1, 1, 0, 0)
    assert [row["surname"] for row in site.members().values()] == ["Last0", "Wrong"]


async def test_an_upload_that_confirms_nobody_protects_nobody(
    site: Site, system: System, operator: User
) -> None:
    """A dry run, an upload that was undone, one of another office, and an earlier one."""
    send(site, range(2))
    wrong = send(site, range(2), Surname="Wrong")
    new = send(site, range(2, 6))
    send(site, range(6), options={"dry_run": True}, Surname="Wrong")
    taken = send(site, range(6), scope=Scope("WC"), Province="Western Cape")
    assert taken["out_of_scope"] == 6
    confirming = send(site, range(6), Surname="Wrong")
    assert await undone(system, operator, confirming["id"]) == Counts(0, 4, 0, 0, 0)
    assert await undone(system, operator, new["id"]) == Counts(4, 0, 0, 0, 0)
    assert await undone(system, operator, wrong["id"]) == Counts(0, 2, 0, 0, 0)
    assert [row["surname"] for row in site.members().values()] == ["Last0", "Last1"]


async def test_an_upload_is_not_undone_while_it_is_unknown_whom_a_later_one_confirmed(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    first = send(site, range(3))
    later = send(site, range(3))
    with connect(settings.database_address) as connection:  # as a version before 0.2 merges
        connection.execute("DELETE FROM upload_claims WHERE upload_id = %s", (later["id"],))
    for dry_run in (True, False):
        with pytest.raises(ConflictError, match="later upload"):
            await undo.undo(system, operator, first["id"], dry_run=dry_run)
    assert len(site.members()) == 3


async def test_undos_that_wait_for_a_locked_member_leave_the_others_their_connections(
    site: Site, operator: User, settings: Settings
) -> None:
    wrong = [send(site, range(start, start + 3))["id"] for start in range(0, 12, 3)]
    patient = settings.model_copy(update={"undo_lock_wait_s": 2 * PATIENCE_S})
    async with open_system(patient) as opened:
        opened.undo_pool.timeout = 2 * PATIENCE_S
        with connect(settings.database_address) as holding:
            holding.execute("SELECT FROM members FOR UPDATE")
            undoing = [
                asyncio.create_task(undo.undo(opened, operator, one, dry_run=False))
                for one in wrong[1:]
            ]

            async def all_wait() -> bool:
                found = await fetch_one(opened.pool, WAITS)
                return found is not None and found["waiting"] == opened.undo_pool.max_size

            await until(all_wait)
            async with asyncio.timeout(PATIENCE_S):
                assert await fetch_one(opened.pool, "SELECT 1 AS one") == {"one": 1}
            assert not any(task.done() for task in undoing)
            holding.rollback()
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*undoing)
        assert {result.counts.removed for result in results} == {3}
    quick = settings.model_copy(update={"undo_lock_wait_s": 0.2})
    async with open_system(quick) as opened:
        with connect(settings.database_address) as holding:
            holding.execute("SELECT FROM members FOR UPDATE")
            with pytest.raises(BusyError, match="try again"):
                await undo.undo(opened, operator, wrong[0], dry_run=False)
        assert len(site.members()) == 3
        assert (await undone(opened, operator, wrong[0])).removed == 3


async def test_an_undo_and_an_answer_of_the_voter_roll_lock_in_one_order(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    """The roll's answer locks a member, then its uploads; undoing had locked the upload first."""
    wrong = send(site, range(3))["id"]
    with connect(settings.database_address) as answering:
        answering.execute(
            "UPDATE members SET roll_status = 'registered', roll_asked_at = now()"
            " WHERE id_number = %s", (id_number(1),),
        )  # fmt: skip
        work = asyncio.create_task(undo.undo(system, operator, wrong, dry_run=False))

        async def waits() -> bool:
            found = await fetch_one(system.pool, WAITS)
            return found is not None and found["waiting"] > 0

        await until(waits)
        answering.execute("SELECT FROM uploads WHERE id = %s FOR UPDATE", (wrong,))
        answering.commit()
    assert (await work).counts.removed == 3
