"""Uploads are undone in every order: the order decides nothing about who is a member."""

from __future__ import annotations

import asyncio
import datetime as dt
from itertools import permutations
from typing import TYPE_CHECKING, Any

import alembic.command
import pytest

from rollbook.backends import schema
from rollbook.members import duplicates
from rollbook.uploads import retention, undo
from tests.files import id_number, member, members
from tests.recorded import recorded
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.model import User
    from rollbook.service.system import System
    from rollbook.uploads.undo import Counts
    from tests.pipeline_run import Site


#: Held by the file that created them only; changed and confirmed by a later file; edited by hand;
#: somebody was joined to them.
ALONE, CHANGED, CONFIRMED, EDITED, JOINED = range(5)
PEOPLE = (ALONE, CHANGED, CONFIRMED, EDITED, JOINED)
ALONE_TOO = 5
#: Members to whom others are joined.
OTHERS = range(10, 16)


def remove(site: Site, *numbers: int) -> UUID:
    content = "\n".join(["ID Number", *map(id_number, numbers)]).encode()
    done = site.send(content, "left.csv", kind="removal", reason="left")
    upload_id: UUID = done.upload["id"]
    return upload_id


def write(site: Site, statement: Any, *values: Any) -> list[dict[str, Any]]:
    cursor = site.connection.execute(statement, values)
    rows = list(cursor.fetchall()) if cursor.description else []
    site.connection.commit()
    return rows


async def join(site: Site, system: System, user: User, *, gone: int, kept: int) -> UUID:
    """Join two members as if they had been found to be alike; returns the pair."""
    one, other = sorted((id_number(gone), id_number(kept)))
    [pair] = write(
        site,
        "INSERT INTO member_duplicates (one, other, why, score) VALUES (%s, %s, 'phone', 90)"
        " ON CONFLICT (one, other) DO UPDATE SET status = 'open' RETURNING id",
        one, other,
    )  # fmt: skip
    keep = site.members()[id_number(kept)]["member_id"]
    await duplicates.join(system, user, pair["id"], keep=keep, reason="same person")
    pair_id: UUID = pair["id"]
    return pair_id


async def undone(
    system: System, user: User, upload_id: UUID, *, is_tried_first: bool = True
) -> Counts:
    """Undo an upload; ``is_tried_first``: a dry run says before what it will do."""
    would = await undo.undo(system, user, upload_id, dry_run=True) if is_tried_first else None
    done = await undo.undo(system, user, upload_id, dry_run=False)
    assert would is None or would.counts == done.counts
    return done.counts


def present(site: Site, people: tuple[int, ...] = PEOPLE) -> set[int]:
    found = site.members()
    return {number for number in people if id_number(number) in found}


async def held_by_several(site: Site, system: System, user: User) -> dict[str, UUID]:
    """All people, created by one file, and what has held them since."""
    recorded(site, *(member(number) for number in OTHERS))
    made = {"created": recorded(site, *(member(number) for number in (*PEOPLE, ALONE_TOO)))}
    # This one writes all its members, and so claims none of them.
    made["changed"] = recorded(site, member(CHANGED, Surname="Changed"))
    made["confirmed"] = recorded(site, member(CONFIRMED))
    write(site, "UPDATE members SET race = 'X' WHERE id_number = %s", id_number(EDITED))
    await join(site, system, user, gone=OTHERS[-1], kept=JOINED)
    return made


@pytest.mark.parametrize("by", ["list", "join"])
async def test_who_is_held_by_an_upload_or_an_edit_that_stands_is_a_member(
    by: str, site: Site, system: System, operator: User
) -> None:
    made = await held_by_several(site, system, operator)
    if by == "list":
        made["taken"] = remove(site, *PEOPLE)
    else:
        pairs = [
            await join(site, system, operator, gone=number, kept=OTHERS[number])
            for number in PEOPLE
        ]
    bring_back = site.kept()
    for turn, order in enumerate(permutations(("created", "held", "taken"))):
        bring_back()
        assert present(site) == set()
        stands, still = {"created", "held", "taken"}, {EDITED, JOINED, CHANGED, CONFIRMED}
        for step in order:
            stands.remove(step)
            if step == "held":
                for name in ("changed", "confirmed"):
                    await undone(system, operator, made[name], is_tried_first=turn % 2 == 0)
                if "created" in stands:
                    still -= {CHANGED, CONFIRMED}
            elif step == "taken" and by == "join":
                for number, pair in zip(PEOPLE, pairs, strict=True):
                    is_back = await duplicates.separate(system, operator, pair, reason="two people")
                    assert is_back == ("created" in stands or number in still), (order, number)
            else:
                await undone(system, operator, made[step], is_tried_first=turn % 2 == 0)
            held = set(PEOPLE) if "created" in stands else still
            assert present(site) == (set() if "taken" in stands else held), (order, step)


async def test_of_a_person_who_was_created_again_each_upload_that_stands_counts(
    site: Site, system: System, operator: User
) -> None:
    recorded(site, member(9))
    made = {"A": recorded(site, member(0, Surname="First"))}
    before = site.members()[id_number(0)]
    made["C"] = remove(site, 0)
    # Its file confirms somebody else, so it claims all its people.
    made["D"] = recorded(site, member(0, Surname="Again"), member(9))
    bring_back = site.kept()
    for turn, order in enumerate(permutations(made)):
        bring_back()
        stands = set(made)
        for step in order:
            stands.remove(step)
            await undone(system, operator, made[step], is_tried_first=turn % 2 == 0)
            found = site.members().get(id_number(0))
            if "D" in stands:
                assert found is not None, (order, step)
                assert found["surname"] == "Again", (order, step)
            elif "A" in stands and "C" not in stands:
                assert found == before, (order, step)
            else:
                assert found is None, (order, step)


async def test_of_two_lists_of_one_person_the_last_word_that_stands_counts(
    site: Site, system: System, operator: User
) -> None:
    made = {"A": recorded(site, member(0, Surname="First"))}
    made["C"] = remove(site, 0)
    made["D"] = recorded(site, member(0, Surname="Again"))
    made["X"] = remove(site, 0)
    bring_back = site.kept()
    orders = ("CDXA", "CXDA", "DCXA", "DCAX", "CADX", "XDCA", "DXCA", "XCDA", "ACXD")
    for turn, order in enumerate(orders):
        bring_back()
        stands = list("ACDX")
        for step in order:
            stands.remove(step)
            await undone(system, operator, made[step], is_tried_first=turn % 2 == 0)
            last = next((one for one in reversed(stands)), "")
            found = site.members().get(id_number(0))
            wanted = {"A": "First", "D": "Again"}.get(last)
            assert (found["surname"] if found else None) == wanted, (order, step)


async def test_a_record_that_a_second_join_replaced_comes_back(
    site: Site, system: System, operator: User
) -> None:
    recorded(site, member(0, Surname="First"), member(1))
    before = site.members()[id_number(0)]
    pair = await join(site, system, operator, gone=0, kept=1)
    again = recorded(site, member(0, Surname="Again"))
    assert await join(site, system, operator, gone=0, kept=1) == pair
    await undone(system, operator, again)
    assert await duplicates.separate(system, operator, pair, reason="two people")
    assert site.members()[id_number(0)] == before


@pytest.mark.parametrize("by", ["list", "join", "list, and joined again"])
async def test_values_of_an_undone_upload_come_back_with_no_stored_record(
    by: str, site: Site, system: System, operator: User
) -> None:
    """What a later upload has confirmed or somebody has edited stays, as with members."""
    recorded(site, *(member(number) for number in (*PEOPLE, *OTHERS)))
    before = site.members()
    changed = recorded(
        site, *(member(n, Surname="Wrong", **{"Cell Number": "0829999999"}) for n in PEOPLE)
    )
    # Claims of the cell number only.
    recorded(
        site, member(OTHERS[0]), {**member(CONFIRMED), "Surname": "", "Cell Number": "0829999999"}
    )
    write(site, "UPDATE members SET race = 'X' WHERE id_number = %s", id_number(EDITED))
    taken, pairs = None, []
    if by == "join":
        pairs = [
            await join(site, system, operator, gone=number, kept=OTHERS[number])
            for number in PEOPLE
        ]
    else:
        taken = remove(site, *PEOPLE)
    again = recorded(site, *map(member, PEOPLE)) if "again" in by else None
    assert present(site) == (set(PEOPLE) if again else set())
    counts = await undone(system, operator, changed)
    if again is None:
        assert (counts.restored, counts.edited, counts.later_upload, counts.gone) == (3, 1, 1, 0)
    for number, pair in enumerate(pairs):
        assert await duplicates.separate(system, operator, pair, reason="two"), number
    for upload_id in filter(None, (again, taken)):
        await undone(system, operator, upload_id)
    after = site.members()
    stays = {id_number(CONFIRMED), id_number(EDITED)}
    assert {number for number, row in after.items() if row["surname"] == "Wrong"} == stays
    restored = {id_number(number) for number in PEOPLE} - stays
    assert {n: after[n] for n in restored} == {n: before[n] for n in restored}


async def test_an_upgrade_decides_of_what_was_undone_before(
    site: Site, system: System, operator: User, database_url: str
) -> None:
    made = await held_by_several(site, system, operator)
    pair = await join(site, system, operator, gone=ALONE_TOO, kept=OTHERS[0])
    removed = remove(site, *PEOPLE)
    await undone(system, operator, made["created"])
    with schema._alembic(database_url) as (config, connection):
        alembic.command.downgrade(config, "0058")
        connection.commit()
        alembic.command.upgrade(config, "head")
        connection.commit()
    assert not await duplicates.separate(system, operator, pair, reason="two people")
    assert (await undone(system, operator, removed)).creation_undone == 1
    assert present(site) == {CHANGED, CONFIRMED, EDITED, JOINED}
    assert id_number(ALONE_TOO) not in site.members()


async def test_a_list_is_undone_after_the_claims_that_held_its_members_are_gone(
    site: Site, system: System, operator: User
) -> None:
    created = recorded(site, *members(2))
    confirmed = recorded(site, member(0))
    removed = remove(site, 0, 1)
    days = dict.fromkeys((created, confirmed), 25)
    for upload_id, age in {**days, removed: 5}.items():
        for statement in (
            "UPDATE uploads SET finished_at = now() - %s WHERE id = %s",
            "UPDATE upload_claims SET created_at = now() - %s WHERE upload_id = %s",
        ):
            write(site, statement, dt.timedelta(days=age), upload_id)
    assert (await undone(system, operator, created)).gone == 2
    for upload_id in days:
        write(
            site, "UPDATE uploads SET finished_at = now() - %s WHERE id = %s",
            dt.timedelta(days=35), upload_id,
        )  # fmt: skip
    write(site, "UPDATE upload_claims SET created_at = now() - interval '35 days'")
    await retention.run_once(system)
    left = write(site, "SELECT upload_id FROM upload_claims")
    assert [row["upload_id"] for row in left] == [removed]
    counts = await undone(system, operator, removed)
    assert (counts.restored, counts.creation_undone) == (1, 1)
    assert present(site) == {0}


@pytest.mark.parametrize("by", ["created", "changed"])
async def test_a_list_is_undone_while_the_upload_that_made_its_records_is(
    by: str, site: Site, system: System, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits, and sees what the first has decided."""
    made = recorded(site, *members(2))
    before = site.members()
    if by == "changed":
        made = recorded(site, member(0, Surname="Wrong"), member(1, Surname="Wrong"))
    removed = remove(site, 0, 1)
    decided, go_on = asyncio.Event(), asyncio.Event()
    carry_out = undo._carry_out

    async def waits(connection: Any, user: User, upload: Any, counts: Counts) -> Any:
        if upload["id"] == made:
            decided.set()
            async with asyncio.timeout(PATIENCE_S):
                await go_on.wait()
        return await carry_out(connection, user, upload, counts)

    monkeypatch.setattr(undo, "_carry_out", waits)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as both:
        both.create_task(undo.undo(system, operator, made, dry_run=False))
        await decided.wait()
        later = both.create_task(undo.undo(system, operator, removed, dry_run=False))
        while not write(
            site,
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'",
        ):
            assert not later.done(), later.result()
            await asyncio.sleep(0.01)
        go_on.set()
    counts = later.result().counts
    assert (counts.creation_undone, counts.restored) == ((2, 0) if by == "created" else (0, 2))
    assert site.members() == ({} if by == "created" else before)
