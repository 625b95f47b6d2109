"""Pairs of members who may be one person are found after a merge, and decided by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb
from stdnum import luhn

from rollbook.backends.database import connect
from rollbook.members import duplicates, erase_files, index
from rollbook.members.duplicates import compared
from rollbook.model import Role, User
from tests.files import csv_file, id_number, member
from tests.integration.members.clients import client_with
from tests.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Site

    MakeUser = Callable[..., Awaitable[User]]
    AsUser = Callable[[User], httpx.AsyncClient]

BASE = "/api/v1/members"
PAIRS = f"{BASE}/duplicates"
ETHEKWINI = {"Province": "KwaZulu-Natal", "Municipality": "eThekwini", "Ward": "59500001"}


def number(birth: str, sequence: int) -> str:
    body = f"{birth}{sequence:04}08"
    return body + str(luhn.calc_check_digit(body))


def person(birth: str, sequence: int, first: str, last: str, **more: str) -> dict[str, str]:
    phone = f"082{int(birth[:2]):02}{sequence % 100_000:05}"
    row = member(0, Firstname=first, Surname=last, **{"Cell Number": phone})
    return {**row, "ID Number": number(birth, sequence), **more}


async def looked(system: System) -> None:
    await index.run_once(system)
    await duplicates.run_once(system)


def send(site: Site, *rows: dict[str, str]) -> UUID:
    """Take a file through the pipeline, whose merge says who is to be looked at."""
    done = site.send(csv_file(rows, headers=(*member(0), "Email")), "people.csv")
    upload_id: UUID = done.upload["id"]
    return upload_id


async def listed(client: httpx.AsyncClient, **asked: Any) -> list[dict[str, Any]]:
    found = await client.get(PAIRS, params=asked)
    items: list[dict[str, Any]] = found.json()["data"]["items"]
    return items


async def test_pairs_are_found_by_name_and_birth_date_or_a_digit(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    cases = (
        # The same birth date: accents, order, a letter, a double name.
        (("800101", 5009, "Zoë", "van Wyk"), ("800101", 5717, "Zoe", "VAN WYK"), "name_and_birth"),
        (("800101", 5009, "Thabo", "Nkosi"), ("800101", 5717, "Nkosi", "Thabo"), "name_and_birth"),
        (("800101", 5009, "Lindiwe", "Zulu"), ("800101", 5717, "Lindwe", "Zulu"), "name_and_birth"),
        # A digit of the sequence, and of the birth date.
        (("800101", 5009, "Thabo", "Nkosi"), ("800101", 5019, "Thabo J", "Nkosi"), "one_digit"),
        (("800101", 5009, "Thabo", "Nkosi"), ("810101", 5009, "thabo", "NKOSI"), "one_digit"),
        # A second name's initial; swapped letters at the beginning of a word.
        (("800101", 5009, "Thabo J", "Zulu"), ("800101", 5717, "Thabo", "Zulu"), "name_and_birth"),
        (("800101", 5009, "Gcina", "Themb"), ("800101", 5717, "Cgina", "Themb"), "name_and_birth"),
        # A syllable more, or the other order with a difference: other names.
        (("800101", 5009, "Lingo", "Nusathe"), ("800101", 5717, "Lingovi", "Nusathe"), None),
        (("800101", 5009, "Thepha", "Nuzozo"), ("800101", 5717, "Nuzozo", "Thenupha"), None),
        # Nobody's pair: a namesake, twins, a digit alone.
        (("800101", 5009, "Thabo", "Nkosi"), ("830202", 5717, "Thabo", "Nkosi"), None),
        (("800101", 5009, "Thabo", "Nkosi"), ("800101", 5717, "Sipho", "Nkosi"), None),
        (("800101", 5009, "Thabo", "Nkosi"), ("800101", 5019, "Anna", "Botha"), None),
    )  # fmt: skip
    # Each case in a month of its own, and in other years: between two of them, two digits differ.
    people = [
        person(f"{int(birth[:2]) - 40 + 4 * case}{case + 1:02}{birth[4:]}", sequence, first, last)
        for case, (one, other, _) in enumerate(cases)
        for birth, sequence, first, last in (one, other)
    ]
    recorded(site, *people)
    await looked(system)
    cases_of = {
        str(row["member_id"]): int(number[2:4]) - 1 for number, row in site.members().items()
    }
    found: dict[int, list[str]] = {case: [] for case in range(len(cases))}
    for pair in await listed(client, page_size=100):
        [case] = {cases_of[one["member_id"]] for one in pair["members"]}
        found[case].append(pair["why"])
    for case, (one, other, why) in enumerate(cases):
        assert found[case] == ([why] if why else []), (one, other)


async def test_pairs_are_found_of_members_of_two_files(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    send(site, person("800101", 5009, "Thabo", "Nkosi"))
    await looked(system)
    assert await listed(client) == []
    send(site, person("800101", 5717, "Nkosi", "Thabo"))
    await looked(system)
    assert [pair["why"] for pair in await listed(client)] == ["name_and_birth"]


async def test_a_phone_of_few_is_a_sign_with_the_name_and_one_of_many_is_none(
    site: Site, system: System, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MOST_PER_PHONE", 3)
    shared, busy = {"Cell Number": "0821112222"}, {"Cell Number": "0823334444"}
    recorded(
        site,
        person("800101", 5009, "Lerato", "Molefe", **shared),
        person("900505", 5009, "Lerato", "Molefe", **shared),
        person("700303", 5009, "Kagiso", "Molefe", **shared),
        *(person(f"6{n}0101", 5100 + n, "Office", "Member", **busy) for n in range(4)),
    )
    await looked(system)
    [pair] = await listed(client)
    assert (pair["why"], pair["score"]) == ("phone", 100)
    assert {one["firstname"] for one in pair["members"]} == {"Lerato"}


async def test_all_who_are_due_are_looked_at_in_one_pass_and_a_few_candidates_at_a_time(
    site: Site, system: System, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of an upgrade with a million members was that of fifty passes over all of them."""
    asked: list[list[int]] = []
    pairs = duplicates._pairs

    async def noted(connection: Any, groups: list[int], threshold: float) -> Any:
        asked.append(groups)
        return await pairs(connection, groups, threshold)

    monkeypatch.setattr(duplicates, "_pairs", noted)
    monkeypatch.setattr(duplicates, "CANDIDATES_AT_ONCE", 1)
    # Each in a group of its own, and all of them due.
    for birth in ("800101", "810202"):
        for sequence in (5009, 5717, 5801):
            recorded(site, person(birth, sequence, "Thabo", "Nkosi"))
    await looked(system)
    assert [len(groups) for groups in asked] == [6]
    found = await listed(client)
    assert len(found) == 6
    assert {pair["why"] for pair in found} == {"name_and_birth"}
    # Later only the pairs of somebody who was written.
    recorded(site, person("810202", 5902, "Thabo", "Nkosi"))
    await looked(system)
    assert [len(groups) for groups in asked] == [6, 1]
    assert len(await listed(client)) == 9


async def test_more_groups_than_one_pass_has_are_looked_at_in_several(
    site: Site, system: System, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "GROUPS_AT_ONCE", 2)
    for sequence in (5009, 5717, 5801):
        recorded(site, person("800101", sequence, "Thabo", "Nkosi"))
    await looked(system)
    assert len(await listed(client)) == 3
    assert not await duplicates.is_behind(system)


async def test_a_birth_date_of_too_many_alike_is_left_out(
    site: Site, system: System, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(site, *(person("800101", 5000 + n, f"Thabo{'abcd'[n]}", "Nkosi") for n in range(4)))
    monkeypatch.setattr(duplicates, "MOST_PER_BLOCK", 3)
    await looked(system)
    assert await listed(client) == []


async def pair_of(client: httpx.AsyncClient) -> tuple[str, dict[str, Any], dict[str, Any]]:
    [pair] = await listed(client)
    one, other = pair["members"]
    return f"{PAIRS}/{pair['pair_id']}", one, other


def two() -> tuple[dict[str, str], dict[str, str]]:
    return (
        person("800101", 5009, "Thabo", "Nkosi", Ward=""),
        person("800101", 5717, "Thabo", "Nkosi", Email="thabo@example.org"),
    )


async def test_what_is_decided_as_different_is_remembered(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *two())
    await looked(system)
    path, _, _ = await pair_of(client)
    assert (await client.post(f"{path}/different")).status_code == 200
    assert await listed(client) == []
    recorded(site, *(dict(row, Ward="79800002") for row in two()))
    await looked(system)
    assert await listed(client) == []
    assert (await client.post(f"{path}/different")).status_code == 404


async def test_an_open_pair_goes_when_the_names_differ_now(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *two())
    await looked(system)
    assert len(await listed(client)) == 1
    recorded(site, dict(two()[0], Firstname="Sipho", Surname="Zulu"))
    await looked(system)
    assert await listed(client) == []


async def test_a_join_fills_what_was_missing_and_can_be_taken_back(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *two())
    await looked(system)
    before = site.members()
    path, one, other = await pair_of(client)
    keep, gone = one, other
    assert not before[number("800101", 5009)]["email"]
    if keep["member_id"] != str(before[number("800101", 5009)]["member_id"]):
        keep, gone = other, one
    asked = {"keep": keep["member_id"], "reason": "same person, by phone"}
    joined = await client.post(f"{path}/join", json=asked)
    assert (joined.status_code, set(joined.json()["data"]["filled"])) == (200, {"email", "ward"})
    after = site.members()
    assert set(after) == {number("800101", 5009)}
    assert after[number("800101", 5009)]["email"] == "thabo@example.org"
    shown = (await client.get(f"{BASE}/{keep['member_id']}")).json()["data"]
    assert shown["history"][0]["source"]["reason"] == "same person, by phone"
    assert (await client.get(f"{BASE}/{gone['member_id']}")).status_code == 404
    assert (await client.get(BASE)).json()["data"]["total"] == 1

    # One of the filled fields is corrected meanwhile, and stays.
    change = {"version": shown["version"], "reason": "moved", "fields": {"ward": "79800002"}}
    assert (await client.patch(f"{BASE}/{keep['member_id']}", json=change)).status_code == 200
    back = await client.post(f"{path}/separate", json={"reason": "two people after all"})
    assert back.status_code == 200, back.text
    restored = site.members()
    assert restored[number("800101", 5717)] == before[number("800101", 5717)]
    kept = restored[number("800101", 5009)]
    assert (kept["email"], kept["ward"]) == (None, "79800002")
    assert (await client.get(BASE)).json()["data"]["total"] == 2
    assert len(await listed(client)) == 1
    again = await client.post(f"{path}/separate", json={"reason": "two people after all"})
    assert again.status_code == 404
    acts = site.connection.execute(
        "SELECT act, count(*) AS n FROM audit_entries WHERE act LIKE '%members' GROUP BY act"
    ).fetchall()
    site.connection.rollback()
    counts = {row["act"]: row["n"] for row in acts}
    assert (counts["join_members"], counts["separate_members"]) == (2, 2)  # the refused one too


async def test_a_join_fills_own_fields_one_by_one(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *two())
    for sequence, own in (
        (5009, {"shirt": "S"}),
        (5717, {"shirt": "M", "code": "AB1", "kin": "K"}),
    ):
        site.connection.execute(
            "UPDATE members SET own_fields = %s WHERE id_number = %s",
            (Jsonb(own), number("800101", sequence)),
        )
    site.connection.commit()
    await looked(system)
    key, before = number("800101", 5009), site.members()
    path, one, other = await pair_of(client)
    keep = next(m for m in (one, other) if m["member_id"] == str(before[key]["member_id"]))
    asked = {"keep": keep["member_id"], "reason": "same person"}
    joined = (await client.post(f"{path}/join", json=asked)).json()["data"]
    assert {"own.code", "own.kin"} <= set(joined["filled"])
    assert "own.shirt" not in joined["filled"]
    assert site.members()[key]["own_fields"] == {"shirt": "S", "code": "AB1", "kin": "K"}
    # One that is changed since stays.
    site.connection.execute(
        "UPDATE members SET own_fields = own_fields || %s WHERE id_number = %s",
        (Jsonb({"kin": "changed"}), key),
    )
    site.connection.commit()
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.status_code == 200, back.text
    after = site.members()
    assert after[key]["own_fields"] == {"shirt": "S", "kin": "changed"}
    gone = number("800101", 5717)
    assert after[gone]["own_fields"] == before[gone]["own_fields"]


async def test_a_joined_pair_is_listed_and_named_in_the_audit_trail(
    site: Site, system: System, as_user: AsUser, make_user: MakeUser, operator: User
) -> None:
    client = as_user(operator)
    recorded(site, *two())
    await looked(system)
    path, one, other = await pair_of(client)
    keep, gone = one["member_id"], other["member_id"]
    await client.post(f"{path}/join", json={"keep": keep, "reason": "same person"})
    assert await listed(client) == await listed(client, status="different") == []
    [pair] = await listed(client, status="joined")
    assert (f"{PAIRS}/{pair['pair_id']}", pair["status"], pair["kept"]) == (path, "joined", keep)
    assert {m["member_id"] for m in pair["members"]} == {keep, gone}
    for office, pairs in (("GP", 1), ("KZN", 0)):
        reader = as_user(await make_user(Role.PROVINCE_ADMIN, office))
        assert len(await listed(reader, status="joined")) == pairs
    client = as_user(operator)
    entries = site.connection.execute(
        "SELECT about FROM audit_entries WHERE act = 'join_members'"
    ).fetchall()
    site.connection.rollback()
    assert [entry["about"] for entry in entries] == [f"pair {pair['pair_id']}"] * 2
    await client.post(f"{path}/separate", json={"reason": "two people"})
    assert await listed(client, status="joined") == []
    await client.post(f"{path}/different")
    assert len(await listed(client, status="different")) == 1
    assert (await client.get(PAIRS, params={"status": "x"})).status_code == 422


async def test_a_join_is_taken_back_although_the_kept_member_is_gone(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *two())
    await looked(system)
    before = site.members()
    path, one, other = await pair_of(client)
    await client.post(f"{path}/join", json={"keep": one["member_id"], "reason": "same person"})
    [kept] = site.members()
    listing = f"ID Number\n{kept}".encode()
    site.send(listing, "left.csv", kind="removal", reason="left")
    assert site.members() == {}
    [pair] = await listed(client, status="joined")
    assert [m["member_id"] for m in pair["members"]] == [other["member_id"]]
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.status_code == 200, back.text
    [gone] = site.members()
    assert site.members()[gone] == before[gone]


async def test_two_joins_of_a_pair_at_once_join_it_once(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    """As by a double click, or by two people who each keep another one."""
    recorded(site, *two())
    await looked(system)
    path, one, other = await pair_of(client)
    wanted = [{"keep": m["member_id"], "reason": "same person"} for m in (one, other, one, other)]
    answers = await asyncio.gather(*(client.post(f"{path}/join", json=body) for body in wanted))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
    assert len(site.members()) == 1
    back = [client.post(f"{path}/separate", json={"reason": "two people"}) for _ in range(3)]
    answers = list(await asyncio.gather(*back))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404]
    assert len(site.members()) == 2


async def test_joins_of_three_alike_at_once_lose_nobody(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    """Each pair keeps the member whom another one would let go: one join wins, or they follow."""
    for sequence in (5009, 5717, 5801):
        recorded(site, person("800101", sequence, "Thabo", "Nkosi"))
    await looked(system)
    pairs = await listed(client)
    assert len(pairs) == 3
    answers = await asyncio.gather(
        *(
            client.post(
                f"{PAIRS}/{pair['pair_id']}/join",
                json={"keep": pair["members"][n % 2]["member_id"], "reason": "same person"},
            )
            for n, pair in enumerate(pairs)
        )
    )
    done = [answer.status_code for answer in answers]
    assert set(done) <= {200, 404, 503}
    assert done.count(200) >= 1
    assert len(site.members()) == 3 - done.count(200)
    # Each record that went can come back.
    for _ in range(done.count(200)):
        pair, *_others = await listed(client, status="joined")
        path = f"{PAIRS}/{pair['pair_id']}/separate"
        assert (await client.post(path, json={"reason": "three people"})).status_code == 200
    assert len(site.members()) == 3


async def by_mistake(
    site: Site, system: System, client: httpx.AsyncClient, *, is_confirmed: bool = False
) -> tuple[str, str, str, str]:
    """Two members alike, the second one by a file that was sent by mistake.

    Returns:
        The ID number of the first, that of the other, the address of their pair, and that at which
        the file is undone. With ``is_confirmed`` another file has the other one too.
    """
    one, other = two()
    recorded(site, one)
    mistake = recorded(site, other)
    if is_confirmed:
        recorded(site, other)
    await looked(system)
    path, *_ = await pair_of(client)
    undo = f"/api/v1/bulk-upload/undo/{mistake}"
    return one["ID Number"], other["ID Number"], path, undo


async def joined_to(site: Site, client: httpx.AsyncClient, path: str, key: str) -> Any:
    """What the API says of joining a pair to the member of this ID number."""
    keep = str(site.members()[key]["member_id"])
    answer = await client.post(f"{path}/join", json={"keep": keep, "reason": "same person"})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_record_whose_upload_was_undone_since_does_not_come_back(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    """As with the undoing of a removal: nobody wants a member of a file sent by mistake."""
    key, _, path, undo = await by_mistake(site, system, client)
    assert (await joined_to(site, client, path, key))["filled"]
    assert (await client.post(undo, json={"dry_run": False})).status_code == 200
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.status_code == 200, back.text
    assert "isn't brought back" in back.json()["message"]
    left = site.members()
    assert set(left) == {key}
    # What the join had filled is empty again.
    assert left[key]["email"] is None
    assert (await client.post(f"{path}/separate", json={"reason": "again"})).status_code == 404


async def test_a_record_that_another_file_has_confirmed_comes_back_although_its_upload_was_undone(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    key, other, path, undo = await by_mistake(site, system, client, is_confirmed=True)
    await joined_to(site, client, path, key)
    assert (await client.post(undo, json={"dry_run": False})).status_code == 200
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.json()["message"] == "They are two members again."
    assert set(site.members()) == {key, other}


async def test_a_record_that_was_corrected_comes_back_although_its_upload_was_undone(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    """An undo keeps a member who was edited since; the join had only hidden the record from it."""
    key, other, path, undo = await by_mistake(site, system, client)
    address = f"/api/v1/members/{site.members()[other]['member_id']}"
    version = (await client.get(address)).json()["data"]["version"]
    body = {"fields": {"ward": "12"}, "reason": "by phone", "version": version}
    corrected = await client.patch(address, json=body)
    assert corrected.status_code == 200, corrected.text
    await joined_to(site, client, path, key)
    assert (await client.post(undo, json={"dry_run": False})).status_code == 200
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.json()["message"] == "They are two members again."
    assert site.members()[other]["ward"] == "12"


async def test_undoing_keeps_a_member_to_whom_another_was_joined(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    # The kept one lacks nothing, so the join changes no field of it.
    one, other = (dict(row, Ward="79800001", Email="t@example.org") for row in two())
    recorded(site, one)
    recorded(site, other)
    await looked(system)
    path, *both = await pair_of(client)
    keep = next(
        m for m in both if m["member_id"] == str(site.members()[other["ID Number"]]["member_id"])
    )
    joined = await client.post(
        f"{path}/join", json={"keep": keep["member_id"], "reason": "same person"}
    )
    assert joined.json()["data"]["filled"] == []
    upload = site.members()[other["ID Number"]]["created_by_upload"]
    undo = f"/api/v1/bulk-upload/undo/{upload}"
    would = (await client.get(f"{undo}/kept")).json()["data"]["items"]
    assert [row["reason"] for row in would] == ["joined"]
    done = await client.post(undo, json={"dry_run": False})
    assert done.json()["data"]["kept_because"]["joined"] == 1, done.text
    kept = (await client.get(f"{undo}/kept")).json()["data"]["items"]
    assert [row["reason"] for row in kept] == ["joined"]
    assert set(site.members()) == {other["ID Number"]}


async def test_a_person_who_is_sent_again_after_a_join_is_a_member_and_a_pair_again(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *two())
    await looked(system)
    path, one, _ = await pair_of(client)
    await client.post(f"{path}/join", json={"keep": one["member_id"], "reason": "same person"})
    recorded(site, *two())
    await looked(system)
    assert len(site.members()) == 2
    assert len(await listed(client)) == 1
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.status_code == 404


async def test_a_join_can_be_taken_back_after_a_file_that_had_the_person_again_is_undone(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *two())
    await looked(system)
    before = site.members()
    path, one, _ = await pair_of(client)
    await client.post(f"{path}/join", json={"keep": one["member_id"], "reason": "same person"})
    [kept] = site.members()
    [gone] = set(before) - {kept}
    again = next(row for row in two() if row["ID Number"] == gone)
    sent_again = send(site, again)
    await looked(system)
    assert len(await listed(client)) == 1
    assert await listed(client, status="joined") == []
    # The pair is looked at once more.
    recorded(site, dict(again, Ward="79800002"))
    await looked(system)
    for upload in (site.members()[gone]["changed_by_upload"], sent_again):
        address = f"/api/v1/bulk-upload/undo/{upload}"
        assert (await client.post(address, json={"dry_run": False})).status_code == 200
    assert set(site.members()) == {kept}
    for _ in range(2):
        [pair] = await listed(client, status="joined")
        assert (pair["status"], len(pair["members"])) == ("joined", 2)
        assert pair["decided_at"] is not None
        await looked(system)
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.status_code == 200, back.text
    assert site.members()[gone] == before[gone]


@pytest.mark.parametrize("moved", ["kept", "gone"])
async def test_a_join_is_taken_back_only_where_both_are_of_the_office(
    moved: str, site: Site, system: System, as_user: AsUser, make_user: MakeUser, operator: User
) -> None:
    national = as_user(operator)
    key, _, path, _ = await by_mistake(site, system, national)
    await joined_to(site, national, path, key)
    if moved == "kept":
        move = "UPDATE members SET province = 'KZN', municipality = 'eThekwini'"
    else:
        move = """UPDATE member_joins SET record = record || '{"province": "KZN"}'"""
    site.connection.execute(move)
    site.connection.commit()
    office = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    assert await listed(office, status="joined") == []
    refused = await office.post(f"{path}/separate", json={"reason": "two people"})
    assert refused.status_code == 404, refused.text
    assert set(site.members()) == {key}
    national = as_user(operator)
    back = await national.post(f"{path}/separate", json={"reason": "two people"})
    assert back.status_code == 200, back.text


async def test_taking_back_a_join_leaves_no_empty_document_of_own_fields(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    """The next file with empty own columns counted the member as updated."""
    key, other, path, _ = await by_mistake(site, system, client)
    site.connection.execute(
        "UPDATE members SET own_fields = %s WHERE id_number = %s", (Jsonb({"kin": "K"}), other)
    )
    site.connection.commit()
    await joined_to(site, client, path, key)
    assert site.members()[key]["own_fields"] == {"kin": "K"}
    back = await client.post(f"{path}/separate", json={"reason": "two people"})
    assert back.status_code == 200, back.text
    assert site.members()[key]["own_fields"] is None


async def test_an_office_sees_pairs_of_its_own_members_only(
    site: Site, system: System, as_user: AsUser, make_user: MakeUser, operator: User
) -> None:
    one, other = two()
    recorded(site, one, {**other, **ETHEKWINI})
    await looked(system)
    national = as_user(operator)
    path, first, _ = await pair_of(national)
    office = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    assert await listed(office) == []
    body = {"keep": first["member_id"], "reason": "same person"}
    assert (await office.post(f"{path}/join", json=body)).status_code == 404
    assert (await office.post(f"{path}/different")).status_code == 404
    assert len(site.members()) == 2


async def test_a_pair_is_listed_by_the_office_where_both_members_are_now(
    site: Site, system: System, as_user: AsUser, make_user: MakeUser, operator: User
) -> None:
    one, other = two()
    recorded(site, one, other)
    await looked(system)
    here = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    there = await make_user(Role.MUNICIPALITY_ADMIN, "KZN", "eThekwini")
    province = await make_user(Role.PROVINCE_ADMIN, "KZN")

    async def seen(status: str) -> list[int]:
        return [len(await listed(as_user(user), status=status)) for user in (here, there, province)]

    async def moved(member_id: str, place: dict[str, str]) -> None:
        client = as_user(operator)
        path = f"{BASE}/{member_id}"
        version = (await client.get(path)).json()["data"]["version"]
        fields = {name.lower(): value for name, value in place.items()}
        body = {"version": version, "reason": "has moved", "fields": fields}
        answer = await client.patch(path, json=body)
        assert answer.status_code == 200, answer.text

    assert await seen("open") == [1, 0, 0]
    path, first, second = await pair_of(as_user(operator))
    await moved(first["member_id"], ETHEKWINI)
    assert await seen("open") == [0, 0, 0]
    await moved(second["member_id"], ETHEKWINI)
    assert await seen("open") == [0, 1, 1]
    assert (await as_user(there).post(f"{path}/different")).status_code == 200
    assert await seen("different") == [0, 1, 1]
    # One goes, and comes again elsewhere by a file: the decision stays, in another office's list.
    with site.connection.transaction():
        site.connection.execute("SET LOCAL rollbook.undoing = 'on'")
        site.connection.execute("DELETE FROM members")
        site.connection.execute("DELETE FROM member_index")
    assert await seen("different") == [0, 0, 0]
    recorded(site, one, other)
    await looked(system)
    assert await seen("open") == [0, 0, 0]
    assert await seen("different") == [1, 0, 0]


async def test_an_erased_person_is_in_no_pair_and_in_no_join(
    site: Site, system: System, client: httpx.AsyncClient, settings: Settings
) -> None:
    recorded(site, *two(), person("800101", 5818, "Thabo", "Nkosi"))
    await looked(system)
    pairs = await listed(client)
    assert len(pairs) == 3
    keep = pairs[0]["members"][0]["member_id"]
    body = {"keep": keep, "reason": "same person"}
    joined = await client.post(f"{PAIRS}/{pairs[0]['pair_id']}/join", json=body)
    assert joined.status_code == 200
    erase = {"reason": "asked in writing", "confirm": True}
    receipt = (await client.post(f"{BASE}/{keep}/erase", json=erase)).json()["data"]["receipt"]
    with connect(settings.database_address) as connection:
        done = erase_files.process(connection, system.store, erasure_id=receipt, seconds=60)
    assert done == {"is_done": True}
    left = site.connection.execute(
        "SELECT (SELECT count(*) FROM member_joins) AS joins, (SELECT count(*) FROM"
        " member_duplicates AS d WHERE status <> 'open') AS decided"
    ).fetchone()
    site.connection.rollback()
    assert left == {"joins": 0, "decided": 0}


async def test_nothing_is_looked_for_where_it_is_switched_off(
    site: Site, system: System, settings: Settings, operator: User
) -> None:
    recorded(site, *two())
    off = settings.model_copy(update={"duplicates": False})
    await looked(replace(system, settings=off))
    async with client_with(settings, operator) as client:
        assert await listed(client) == []


def test_names_are_compared_up_to_the_threshold() -> None:
    row = {
        "one": id_number(1), "other": id_number(2), "block": "birth",
        "one_name": "Nomvula Dlamini", "other_name": "Nomvulla Dlamini",
    }  # fmt: skip
    assert len(compared([row], 90)) == 1
    assert compared([{**row, "other": id_number(33)}], 99) == []
