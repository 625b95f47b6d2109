"""Members are found by what an office knows of them, in its scope, and missing ones are said."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from rollbook.members import index, search
from rollbook.members.search import SORTS
from rollbook.model import Role, User
from rollbook.uploads import undo
from tests.files import csv_file, id_number, member, members
from tests.integration.members.clients import client_with
from tests.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Site

    MakeUser = Callable[..., Awaitable[User]]
    AsUser = Callable[[User], httpx.AsyncClient]

BASE = "/api/v1/members"

PEOPLE = [
    member(1, Firstname="Zoë", Surname="Müller", Email="zoe.muller@example.org"),
    member(2, Firstname="Jean-Pierre", Surname="van der Merwe"),
    member(3, Firstname="Thabo Sipho", Surname="Nkosi", Status="Suspended"),
    member(4, Firstname="Sipho", Surname="O'Brien", **{"Landline Number": "011 555 0101"}),
    member(5, Firstname="Nkosinathi", Surname="Ng", **{"Expiry Date": "2027-01-31"}),
    member(
        6, Firstname="Thandi", Surname="Cele", Province="KwaZulu-Natal", Municipality="eThekwini",
        Ward="59500001",
    ),
]  # fmt: skip


async def found(client: httpx.AsyncClient, **asked: Any) -> list[str]:
    """The surnames of those whom a search finds, in order."""
    answer = await client.get(BASE, params=asked)
    assert answer.status_code == 200, answer.text
    return [item["surname"] for item in answer.json()["data"]["items"]]


@pytest.fixture
async def indexed(site: Site, system: System) -> Site:
    recorded(site, *PEOPLE)
    await index.run_once(system)
    return site


def lines(site: Site) -> int:
    """How many members are indexed."""
    with site.connection.transaction():
        found = site.connection.execute("SELECT count(*) AS lines FROM member_index").fetchone()
    assert found is not None
    return int(found["lines"])


#: What is typed, and the surnames of those whom it finds.
SEARCHES = [
    ("zoe", ["Müller"]),
    ("MÜLLER Zoe", ["Müller"]),
    ("mul", ["Müller"]),
    ("merwe jean", ["van der Merwe"]),
    ("vandermerwe", ["van der Merwe"]),
    ("van der merwe", ["van der Merwe"]),
    ("jean-pie", ["van der Merwe"]),
    ("sipho", ["Nkosi", "O'Brien"]),
    ("sipho nkosi", ["Nkosi"]),
    ("nkosi", ["Ng", "Nkosi"]),
    ("obrien", ["O'Brien"]),
    ("o\u2019brien", ["O'Brien"]),
    ("ng", ["Ng"]),
    ("0820000003", ["Nkosi"]),
    ("082 000 0003", ["Nkosi"]),
    ("+27 82 000 0003", ["Nkosi"]),
    ("27820000003", ["Nkosi"]),
    ("820000003", ["Nkosi"]),
    ("(011) 555-01", ["O'Brien"]),
    ("sipho 0820000003", ["Nkosi"]),
    ("Zoe.Muller@example.org", ["Müller"]),
    ("zoe.m@", []),
    ("zoe.muller@", ["Müller"]),
    ("':* | !", []),
    ("nobody", []),
]


async def test_a_search_finds_by_words_numbers_and_addresses(
    indexed: Site, client: httpx.AsyncClient
) -> None:
    del indexed
    answers = [(text, await found(client, search=text)) for text, _ in SEARCHES]
    assert answers == SEARCHES


async def test_filters_and_sorts(indexed: Site, client: httpx.AsyncClient) -> None:
    del indexed
    assert await found(client) == ["Cele", "Müller", "Ng", "Nkosi", "O'Brien", "van der Merwe"]
    assert await found(client, sort="-name", page_size=2) == ["van der Merwe", "O'Brien"]
    assert await found(client, page=3, page_size=2) == ["O'Brien", "van der Merwe"]
    assert await found(client, province="KZN") == ["Cele"]
    assert await found(client, province="KwaZulu-Natal", search="thandi") == ["Cele"]
    assert await found(client, municipality="Durban") == ["Cele"]
    assert await found(client, municipality="Joburg", search="thandi") == []
    assert await found(client, ward="59500001") == ["Cele"]
    assert await found(client, status="suspended") == ["Nkosi"]
    assert await found(client, expires_before="2027-02-01") == ["Ng"]
    assert await found(client, expires_before="2027-01-31") == []
    assert await found(client, roll="registered") == []
    assert len(await found(client, roll="not_asked")) == 6
    assert (await found(client, sort="expiry_date"))[0] == "Ng"
    for sort in SORTS:
        assert sorted(await found(client, sort=sort, search="sipho")) == ["Nkosi", "O'Brien"]
        assert len(await found(client, sort=sort)) == 6
    page = (await client.get(BASE, params={"page": 7, "search": "sipho"})).json()["data"]
    assert (page["items"], page["total"], page["has_more"]) == ([], 2, False)


async def test_an_id_number_is_searched_for_in_a_body_and_shown_masked(
    indexed: Site, client: httpx.AsyncClient
) -> None:
    del indexed
    # The country's code makes 13 digits of a phone number, which no ID number can be.
    assert (await client.get(BASE, params={"search": "0027 82 123 4567"})).status_code == 200
    for text in (id_number(3), f"nkosi {id_number(3)}", f"{id_number(3)[:6]} {id_number(3)[6:]}"):
        answer = await client.get(BASE, params={"search": text})
        assert answer.status_code == 422
        assert "POST /members/search" in answer.text
        assert id_number(3) not in answer.text
    body = {"id_number": id_number(3)}
    answer = await client.post(f"{BASE}/search", json=body)
    (item,) = answer.json()["data"]["items"]
    assert item["surname"] == "Nkosi"
    assert item["id_number"] == f"{id_number(3)[:4]}••••••{id_number(3)[-3:]}"
    assert id_number(3) not in answer.text
    late = (await client.post(f"{BASE}/search", json={**body, "page": 2})).json()["data"]
    assert (late["items"], late["total"]) == ([], 1)
    none = await client.post(f"{BASE}/search", json={**body, "status": "active"})
    assert none.json()["data"]["items"] == []


async def test_a_passport_number_is_searched_for_in_a_body_and_shown_masked(
    site: Site, client: httpx.AsyncClient, as_user: AsUser, make_user: MakeUser
) -> None:
    site.send(
        b"Passport No,Passport Country,Firstname,Surname,Province\n"
        b"FN123456,ZW,Tendai,Moyo,GP\nFN123456,Zambia,Rudo,Ncube,KZN\nFN654321,ZW,Tino,Dube,GP\n",
        "passports.csv",
        accepts_passports=True,
    )
    answer = await client.post(f"{BASE}/search", json={"passport_number": "fn 123-456"})
    data = answer.json()["data"]
    assert {(item["surname"], item["identity_country"]) for item in data["items"]} == {
        ("Moyo", "ZWE"), ("Ncube", "ZMB"),
    }  # fmt: skip
    assert {item["id_number"] for item in data["items"]} == {"F••••••56"}
    assert data["total"] == 2
    one = await client.post(f"{BASE}/search", json={"passport_number": "FN123456", "page_size": 1})
    assert (len(one.json()["data"]["items"]), one.json()["data"]["total"]) == (1, 2)
    body = {"passport_number": "FN123456", "page_size": 1, "page": 5}
    late = (await client.post(f"{BASE}/search", json=body)).json()["data"]
    assert (late["items"], late["total"], late["has_more"]) == ([], 2, False)
    removal = {"passport_number": "FN654321", "reason": "left the organisation"}
    counted = await client.post(f"{BASE}/removal", json=removal)
    assert counted.status_code == 200, counted.text
    assert counted.json()["data"]["members"] == 1
    office = as_user(await make_user(Role.PROVINCE_ADMIN, "KZN"))
    own = await office.post(f"{BASE}/search", json={"passport_number": "FN123456"})
    assert [item["surname"] for item in own.json()["data"]["items"]] == ["Ncube"]
    for wrong in ("12", "FN/123456", "FNABCDEF", "8001015009087000"):
        refused = await client.post(f"{BASE}/search", json={"passport_number": wrong})
        assert refused.status_code == 422, wrong


async def test_a_question_that_cant_be_answered_is_refused_with_a_sentence(
    client: httpx.AsyncClient,
) -> None:
    for asked in (
        {"search": "- '"}, {"province": "Atlantis"}, {"sort": "id_number"}, {"page": "500"},
        {"expires_before": "0"},
        {"search": "a\0b"}, {"roll": "perhaps"}, {"expires_before": "soon"},
    ):  # fmt: skip
        answer = await client.get(BASE, params=asked)
        assert answer.status_code == 422, (asked, answer.text)


async def test_an_office_finds_and_opens_only_its_own_members(
    indexed: Site, as_user: AsUser, client: httpx.AsyncClient, make_user: MakeUser
) -> None:
    del indexed
    lines = (await client.get(BASE)).json()["data"]["items"]
    ids = {line["surname"]: line["member_id"] for line in lines}
    office = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "KZN", "eThekwini"))
    assert await found(office) == ["Cele"]
    assert await found(office, search="sipho") == []
    assert await found(office, search="thandi") == ["Cele"]
    assert await found(office, province="GP") == []
    answer = await office.post(f"{BASE}/search", json={"id_number": id_number(3)})
    assert answer.json()["data"]["items"] == []
    assert (await office.get(f"{BASE}/{ids['Cele']}")).status_code == 200
    for path in (f"{BASE}/{ids['Nkosi']}", f"{BASE}/{uuid4()}"):
        assert (await office.get(path)).status_code == 404
        assert (await office.post(f"{path}/id-number")).status_code == 404
    assert (await office.post(f"{BASE}/{ids['Cele']}/id-number")).status_code == 403
    province = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    assert len(await found(province)) == 5


async def test_opening_an_id_number_is_audited_without_it(
    indexed: Site, client: httpx.AsyncClient
) -> None:
    del indexed
    (line,) = (await client.get(BASE, params={"search": "nkosi thabo"})).json()["data"]["items"]
    shown = (await client.get(f"{BASE}/{line['member_id']}")).json()["data"]
    assert id_number(3) not in str(shown)
    assert shown["fields"]["firstname"] == "Thabo Sipho"
    answer = await client.post(f"{BASE}/{line['member_id']}/id-number")
    assert answer.json()["data"] == {"id_number": id_number(3)}
    audit = await client.get("/api/v1/bulk-upload/audit", params={"act": "open_id_number"})
    (entry,) = audit.json()["data"]["items"]
    assert (entry["member_id"], entry["outcome"]) == (line["member_id"], "done")
    assert id_number(3) not in audit.text


async def test_who_isnt_indexed_yet_is_said_and_found_by_id(
    indexed: Site, client: httpx.AsyncClient, system: System
) -> None:
    indexed.send(csv_file([member(3, Surname="Renamed"), *members(2, 100)]), "more.csv")
    answer = (await client.get(BASE, params={"search": "renamed"})).json()
    assert answer["data"]["items"] == []
    assert answer["data"]["uploads_not_indexed"] == 1
    assert "1 uploads behind" in answer["message"]
    new = indexed.members()[id_number(101)]["member_id"]
    shown = (await client.get(f"{BASE}/{new}")).json()["data"]
    assert shown["fields"]["surname"] == "Last101"

    assert await index.run_once(system) == 3
    answer = (await client.get(BASE, params={"search": "renamed"})).json()
    assert [item["surname"] for item in answer["data"]["items"]] == ["Renamed"]
    assert answer["data"]["uploads_not_indexed"] == 0
    assert await found(client, search="nkosi") == ["Ng"]


async def test_undoing_an_upload_renews_the_index(
    indexed: Site, client: httpx.AsyncClient, system: System, operator: User
) -> None:
    wrong = recorded(indexed, member(3, Surname="Renamed"), *members(2, 100))
    await index.run_once(system)
    await undo.undo(system, operator, wrong, dry_run=False)
    answer = (await client.get(BASE)).json()["data"]
    assert answer["uploads_not_indexed"] == 1
    await index.run_once(system)
    assert await found(client, search="renamed") == []
    assert await found(client, search="nkosi") == ["Ng", "Nkosi"]
    assert lines(indexed) == 6


async def test_a_dry_run_leaves_nothing_to_index(
    indexed: Site, client: httpx.AsyncClient, system: System
) -> None:
    indexed.send(csv_file(members(3, 200)), "dry.csv", dry_run=True)
    assert (await client.get(BASE)).json()["data"]["uploads_not_indexed"] == 0
    assert await index.run_once(system) == 0


async def test_what_an_older_version_merged_and_undid_is_indexed_too(
    indexed: Site, client: httpx.AsyncClient, system: System
) -> None:
    """An older version notes nobody; it may also have removed a member by undoing."""
    old = recorded(indexed, *members(2, 300))
    with indexed.connection.transaction():
        indexed.connection.execute("DELETE FROM member_index_due")
        indexed.connection.execute("SET LOCAL rollbook.undoing = 'on'")
        indexed.connection.execute("DELETE FROM members WHERE id_number = %s", (id_number(3),))
    assert (await client.get(BASE)).json()["data"]["uploads_not_indexed"] == 1
    await index.run_once(system)
    assert await found(client, search="last301") == ["Last301"]
    assert lines(indexed) == 7
    with indexed.connection.transaction():
        indexed.connection.execute(
            "UPDATE uploads SET undone_at = now() + interval '1 second' WHERE id = %s",
            (old,),
        )
    assert (await client.get(BASE)).json()["data"]["uploads_not_indexed"] == 1
    await index.run_once(system)
    assert (await client.get(BASE)).json()["data"]["uploads_not_indexed"] == 0


async def test_members_of_before_the_index_are_indexed_in_pieces(
    site: Site, client: httpx.AsyncClient, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "AT_ONCE", 2)
    recorded(site, *PEOPLE)
    with site.connection.transaction():
        site.connection.execute("UPDATE member_index_state SET filled_to = ''")
    answer = (await client.get(BASE)).json()
    assert answer["data"]["index_is_filling"]
    assert "still being indexed" in answer["message"]
    some = site.members()[id_number(4)]["member_id"]
    assert (await client.get(f"{BASE}/{some}")).status_code == 200
    await index.run_once(system)
    assert len(await found(client)) == 6


async def test_more_than_are_counted_is_said(
    indexed: Site, operator: User, settings: Settings
) -> None:
    del indexed
    async with client_with(settings, operator, members_most_found=2) as client:
        for asked in ({}, {"search": "sipho"}, {"search": "nkosi"}):
            answer = (await client.get(BASE, params={**asked, "page_size": 1})).json()
            data = answer["data"]
            assert data["total"] == 2
            assert data["has_more"] == (not asked)
            assert answer["message"].startswith("More than 2" if not asked else "2 members")
        assert (await client.get(BASE, params={"page": 3, "page_size": 1})).status_code == 422


async def test_a_surname_of_many_is_listed_in_order_and_by_pages(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    """More have it than are counted: the first in the order of names are shown all the same."""
    people = [member(n, Surname=f"Dlamini{9 - n}", Firstname="A") for n in range(9)]
    recorded(site, *people, member(9, Surname="Zulu", Firstname="Dla"))
    await index.run_once(system)
    async with client_with(settings, operator, members_most_found=4) as client:
        for sort, first in (("name", range(1, 5)), ("-name", range(9, 5, -1))):
            seen: list[str] = []
            for page in (1, 2):
                asked = {"search": "dla", "sort": sort, "page": page, "page_size": 2}
                data = (await client.get(BASE, params=asked)).json()["data"]
                assert (data["total"], data["has_more"]) == (4, True)
                seen += [item["surname"] for item in data["items"]]
            assert seen == [f"Dlamini{n}" for n in first]
            assert data["next"] is not None
        # By another column, four of them are sorted; a filter is asked of everybody who is found.
        data = (await client.get(BASE, params={"search": "dla", "sort": "expiry_date"})).json()[
            "data"
        ]
        assert (data["total"], len(data["items"])) == (4, 4)
        data = (await client.get(BASE, params={"search": "dla", "status": "x"})).json()["data"]
        assert (data["total"], data["has_more"]) == (0, False)


async def test_a_frequent_word_finds_the_same_by_its_first_letters(
    site: Site, system: System, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a word that a frequent one begins is gathered one by one, beside the other words."""
    people = [
        member(1, Firstname="Jan", Surname="Du Toit"), member(2, Firstname="Jan", Surname="Dutoit"),
        member(3, Firstname="Anna", Surname="Dutoit"), member(4, Firstname="Jan", Surname="Dutch"),
        member(5, Firstname="Dutoitjie", Surname="Janse"), member(6, Surname="O'Brien"),
        member(7, Firstname="Jan", Surname="Obrien", Province="KwaZulu-Natal",
               Municipality="eThekwini", Ward="59500001"),
    ]  # fmt: skip
    recorded(site, *people)
    await index.run_once(system)
    asked: list[dict[str, str]] = [
        {"search": "dutoit jan"}, {"search": "duto jan"},
        {"search": "duto janse"}, {"search": "obri jan"}, {"search": "dutoi jan"},
        {"search": "jan dutoit"},
        {"search": "dutoit", "status": "x"}, {"search": "dutoit", "municipality": "Johannesburg"},
        {"search": "obri", "sort": "-changed_at"}, {"search": "obrien", "province": "KZN"},
        {"search": "dutoit 0820000001"}, {"search": "duto", "ward": "79800001"},
        {"search": "dutoit dutch"},
    ]  # fmt: skip
    exact = [sorted(await found(client, **one)) for one in asked]
    assert exact[0] == ["Du Toit", "Dutoit", "Janse"]
    monkeypatch.setattr(search, "_FREQUENT", 1)
    assert [sorted(await found(client, **one)) for one in asked] == exact


async def test_who_is_read_to_be_sorted_is_bounded_and_said(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    """Ten thousand members are on as many pages of the disk; a list in order is one page of it."""
    people = [member(n, Surname=f"Dlamini{n}", Firstname="Thabo", Status="x") for n in range(9)]
    recorded(site, *people)
    await index.run_once(system)
    bounds = {"members_most_found": 7, "members_most_sorted": 5}
    async with client_with(settings, operator, **bounds) as client:
        for asked, total in (
            # In the order of an index.
            ({}, 7), ({"municipality": "Johannesburg"}, 7), ({"search": "dlamini"}, 7),
            # A first name, two words, another order, a filter, a ward.
            ({"search": "thabo"}, 5), ({"search": "thabo dlamini"}, 5),
            ({"search": "dlamini", "sort": "-changed_at"}, 5), ({"status": "x"}, 5),
            ({"search": "dlamini", "status": "x"}, 5), ({"ward": "79800001"}, 5),
        ):  # fmt: skip
            data = (await client.get(BASE, params={**asked, "page_size": 3})).json()["data"]
            assert (data["total"], data["has_more"]) == (total, True), asked
            assert len(data["items"]) == 3
        # As many as are counted, and none more, are on the pages by number.
        for asked in ({"search": "thabo"}, {"search": "thabo", "sort": "expiry_date"}):
            pages = [
                (await client.get(BASE, params={**asked, "page": n, "page_size": 2})).json()["data"]
                for n in (1, 2, 3)
            ]
            assert [len(page["items"]) for page in pages] == [2, 2, 1]
        one = (await client.get(BASE, params={"search": "dlamini3"})).json()["data"]
        assert (one["total"], one["has_more"]) == (1, False)


async def test_an_office_counts_nobody_of_another_one(
    indexed: Site, as_user: AsUser, make_user: MakeUser
) -> None:
    del indexed
    offices = (
        (await make_user(Role.MUNICIPALITY_ADMIN, "KZN", "eThekwini"), 1),
        (await make_user(Role.PROVINCE_ADMIN, "KZN"), 1),
        (await make_user(Role.PROVINCE_ADMIN, "WC"), 0),
    )
    for user, own in offices:
        client = as_user(user)
        for filters, number in (
            ({}, own),
            ({"search": "cel"}, own),
            ({"search": "cel", "sort": "-changed_at"}, own),
            ({"municipality": "Johannesburg"}, 0),
            ({"province": "GP"}, 0),
            ({"province": "GP", "search": "nkosi"}, 0),
            ({"municipality": "Johannesburg", "search": "sip", "sort": "expiry_date"}, 0),
            ({"search": "sip"}, 0),
            ({"status": "Suspended"}, 0),
        ):
            data = (await client.get(BASE, params=filters)).json()["data"]
            assert (data["total"], len(data["items"])) == (number, number), (user.scope, filters)


async def test_the_number_of_those_found_is_right_after_the_last_page(
    indexed: Site, client: httpx.AsyncClient
) -> None:
    number = {"passport_number": "FN123456"}
    del indexed
    for asked in ({}, {"search": "sipho"}, {"search": "sip", "sort": "-changed_at"}, number):
        first = (await client.post(f"{BASE}/search", json=asked)).json()["data"]
        data = (await client.post(f"{BASE}/search", json={**asked, "page": 9})).json()["data"]
        assert data["items"] == []
        assert data["total"] == first["total"] == len(first["items"])


#: Texts that mean something to SQL, patterns, text queries or spreadsheets, and odd ones.
HOSTILE = [
    "%", "_", "%%%", "\\", "\\\\", "'", "''", "'--", "';DROP TABLE members;--", "a'b:*", ":*",
    "&", "|", "!", "(((", "<->", "sipho & !nkosi", "sip%", "s_pho", "{filters}", "{}", "%s",
    "%(text)s", "$1", "*", "\u202eohpis", "\u200b", "\ufeff", "\U0001f600", "\U0010ffff" * 3,
    "e\u0301" * 100, "ß" * 200, "x" * 200, "a " * 100, "\u0661\u0662\u0663\u0664",
    "\uff21\uff22\uff23", "\t\n\r", "-" * 200, "0" * 200, "+" * 200, "@" * 200, "=HYPERLINK(1)",
]  # fmt: skip


async def test_hostile_texts_find_nobody_or_are_refused_with_a_sentence(
    indexed: Site, client: httpx.AsyncClient
) -> None:
    del indexed
    # Each of them as a text that is searched for, and in turns as one of the filters.
    for number, text in enumerate(HOSTILE):
        for name in ("search", ("municipality", "ward", "status")[number % 3]):
            answer = await client.post(f"{BASE}/search", json={name: text})
            assert answer.status_code in {200, 422}, (name, text, answer.text)
            if answer.status_code == 200 and text.strip():
                assert answer.json()["data"]["total"] == 0, (name, text)
    for wrong in ("x" * 201, "x" * 10_000, "a\x00b", "\ud800"):
        for name in ("search", "province", "municipality", "ward", "status"):
            content = json.dumps({name: wrong})
            answer = await client.post(
                f"{BASE}/search", content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 422, (name, wrong[:9])
    # Five hundred wards are no filter that there is.
    many = await client.get(BASE, params={"ward": [str(n) for n in range(500)]})
    assert many.status_code == 422


async def test_a_place_with_a_long_name_is_searched_as_it_is(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, member(1))
    place = "Long " * 39
    with site.connection.transaction():
        site.connection.execute("UPDATE members SET municipality = %s", (place.strip(),))
        site.connection.execute("UPDATE member_index_state SET filled_to = ''")
    await index.run_once(system)
    assert await found(client, municipality=place.strip()) == ["Last1"]
    assert await found(client, municipality=place.strip(), search="last1") == ["Last1"]


async def test_a_search_that_takes_too_long_is_stopped_with_a_sentence(
    indexed: Site, operator: User, settings: Settings
) -> None:
    with indexed.connection.transaction():
        await asyncio.to_thread(
            indexed.connection.execute, "LOCK TABLE member_index IN ACCESS EXCLUSIVE MODE"
        )
        async with client_with(settings, operator, members_timeout_s=0.05) as client:
            answer = await client.get(BASE)
    assert answer.status_code == 503
    assert "longer than 0.05 seconds" in answer.json()["detail"]
