"""Lists that grow: each page is right while rows come and go, and counting is bounded."""

from __future__ import annotations

import base64
from itertools import chain
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from psycopg import sql
from pydantic import SecretStr

from rollbook.members import duplicates, index
from tests.files import HEADERS, csv_file, id_number, member, members
from tests.integration.members.clients import client_with
from tests.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Collection

    import httpx

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System
    from tests.pipeline_run import Site

BASE = "/api/v1"


async def fetched(client: httpx.AsyncClient, path: str, **asked: Any) -> dict[str, Any]:
    answer = await client.get(f"{BASE}/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


@pytest.fixture
async def lists(site: Site, system: System, operator: User) -> dict[str, int]:
    """Paths of lists, and how many items each has."""
    people = [member(n, Firstname=f"Same{n}", **{"Cell Number": "0820001111"}) for n in range(4)]
    first = site.send(csv_file(people), "first.csv").upload["id"]
    changed = [member(n, Surname="Changed", **{"Cell Number": "0820001111"}) for n in range(3)]
    second = site.send(csv_file([*changed, member(9, Surname="")]), "second.csv").upload["id"]
    await index.run_once(system)
    await duplicates.run_once(system)
    webhook = str(uuid4())
    with site.connection.transaction():
        site.connection.execute(
            "INSERT INTO webhooks (id, made_by, url, events, secret)"
            " VALUES (%s, %s, 'https://example.org/hook', '{completed}', 'x')",
            (webhook, operator.id),
        )
        site.connection.execute(
            "INSERT INTO notifications (upload_id, attempt, kind, channel, webhook_id)"
            " SELECT gen_random_uuid(), 1, 'completed', 'office_webhook', %s"
            " FROM generate_series(1, 3)",
            (webhook,),
        )
        site.connection.execute(
            "INSERT INTO column_mappings (fingerprint, columns, upload_id) VALUES ('x', '{}', %s)",
            (first,),
        )
        site.connection.execute(
            "INSERT INTO value_aliases (field, text, value, upload_id, created_by)"
            " VALUES ('province', 'x', 'GP', %s, 'x')",
            (first,),
        )
        counting = "SELECT count(*)::int AS n FROM member_duplicates"
        pairs = site.connection.execute(counting).fetchone()
    assert pairs is not None
    assert pairs["n"] > 2
    return {
        f"bulk-upload/rows/{second}": 4,
        f"bulk-upload/changes/{second}": 3,
        f"bulk-upload/undo/{first}/kept": 3,
        "bulk-upload/reports": 2,
        "bulk-upload/history": 2,
        "bulk-upload/mappings": 1,
        "bulk-upload/aliases": 1,
        "members": 4,
        "members/duplicates": pairs["n"],
        "webhooks": 1,
        f"webhooks/{webhook}/deliveries": 3,
        # With the one who sends the files.
        "users": 2,
    }


async def test_a_page_after_the_last_one_is_empty_and_says_how_many_there_are(
    lists: dict[str, int], client: httpx.AsyncClient
) -> None:
    for path, number in lists.items():
        # Of members, ten thousand are shown page by page.
        for page in (2, 5000 if path == "members" else 1_000_000):
            data = await fetched(client, path, page=page, page_size=2)
            assert data["total"] == number, path
            assert len(data["items"]) == max(0, min(2, number - (page - 1) * 2)), path
        for wrong in ({"page": 0}, {"page": 1_000_001}, {"page_size": 501}):
            answer = await client.get(f"{BASE}/{path}", params=wrong)
            assert answer.status_code == 422, path


async def test_long_lists_are_counted_up_to_a_bound_and_every_item_is_on_one_page(
    lists: dict[str, int], settings: Settings, operator: User
) -> None:
    exact = {"members", "users"}
    long = [
        path
        for path, number in lists.items()
        if number > 1 and "kept" not in path and path not in exact
    ]
    async with client_with(settings, operator, list_most_counted=1) as client:
        for path in long:
            pages = [
                await fetched(client, path, page=page, page_size=1)
                for page in range(1, lists[path] + 2)
            ]
            found = [str(item) for data in pages for item in data["items"]]
            assert len(set(found)) == len(found) == lists[path], path
            assert all(data["total"] > 1 for data in pages), path
            # The outcomes of an upload's rows are in its record.
            is_known = "/rows/" in path
            assert {data["total_is_exact"] for data in pages} == {is_known}, path
            if is_known:
                assert {data["total"] for data in pages} == {lists[path]}


async def test_what_follows_a_page_skips_nothing_and_shows_nothing_twice(
    lists: dict[str, int], site: Site, client: httpx.AsyncClient
) -> None:
    for kind in ("reports", "rows", "changes"):
        (path,) = (one for one in lists if one.startswith(f"bulk-upload/{kind}"))
        seen, after = [], None
        for turn in range(10):
            wanted: dict[str, Any] = {} if after is None else {"after": after}
            data = await fetched(client, path, page_size=1, **wanted)
            seen += [item.get("row_number") or item["job_id"] for item in data["items"]]
            after = data["next"]
            if after is None:
                break
            # Meanwhile another upload comes to the top of the list, of reports with its own.
            if kind == "reports":
                site.send(csv_file(members(1, 50 + turn)), f"later{turn}.csv")
            else:
                recorded(site, member(60 + turn))
        assert after is None, kind
        assert len(seen) == len(set(seen)) == lists[path], kind


async def test_the_rows_that_the_record_has_counted_are_not_counted_again(
    site: Site, settings: Settings, operator: User
) -> None:
    wrong = [
        {"Surname": "" if n % 3 == 0 else "S", "Email": "x@" if n % 2 else ""} for n in range(9)
    ]
    rows = [member(n, **cells) for n, cells in enumerate(wrong)]
    upload = site.send(csv_file(rows, headers=(*HEADERS, "Email")), "some.csv").upload
    path = f"bulk-upload/rows/{upload['id']}"
    async with client_with(settings, operator, list_most_counted=1) as client:
        for filters, is_exact in (
            ({}, True),
            ({"outcome": ["invalid", "invalid"]}, True),
            ({"outcome": ["invalid", "inserted"]}, True),
            ({"attention": "any"}, True),
            ({"attention": "refused"}, True),
            ({"attention": "doubtful"}, True),
            ({"attention": "doubtful", "outcome": "inserted"}, False),
            ({"problem": "surname_missing"}, False),
        ):
            asked: dict[str, Any] = dict(filters)
            everything = await fetched(client, path, page_size=500, **asked)
            data = await fetched(client, path, page_size=2, **asked)
            assert data["total_is_exact"] == is_exact, filters
            if is_exact:
                assert data["total"] == len(everything["items"]) > 1, filters
            assert data["total"] > 1
    with site.connection.transaction():
        site.connection.execute("DELETE FROM upload_rows")
        site.connection.execute("UPDATE uploads SET rows_removed_at = clock_timestamp()")
    async with client_with(settings, operator, list_most_counted=1) as client:
        data = await fetched(client, path, page_size=2, page=3)
        assert (data["total"], data["total_is_exact"]) == (0, True)


async def test_a_page_of_members_is_right_while_others_come_and_go(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    recorded(site, *(member(n, Surname="Same", Firstname="Ties") for n in range(9)))
    await index.run_once(system)
    for sort in ("name", "-name", "expiry_date", "-changed_at", "date_joined", "-last_payment"):
        for search in ({}, {"search": "same"}):
            seen = [
                item["member_id"]
                for page in range(1, 6)
                for item in (
                    await fetched(client, "members", sort=sort, page=page, page_size=2, **search)
                )["items"]
            ]
            # All are equal in each column, and the order is whole all the same.
            assert len(seen) == len(set(seen)) == 9, (sort, search)
    assert id_number(0) not in str(seen)


async def test_what_follows_a_page_of_members_misses_nobody_while_others_come_and_go(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    """Pages by number would move by one for each who comes or goes before them."""
    # Three have no date, three the same: the order is whole among them, too.
    people = [
        member(n, Surname=f"S{n % 5}", Firstname="Ties",
               **{"Expiry Date": "" if n % 3 == 0 else f"2027-0{n % 3}-01"})
        for n in range(9)
    ]  # fmt: skip
    # Others come in three turns, before and after everybody.
    come = {
        turn: [
            member(20 + 2 * turn, Surname="A", Firstname="Ties", **{"Expiry Date": "2001-01-01"}),
            member(21 + 2 * turn, Surname="Z", Firstname="Ties", **{"Expiry Date": "2040-01-01"}),
        ]
        for turn in (1, 2, 3)
    }
    recorded(site, *people, *chain(*come.values()))
    await index.run_once(system)
    first = {row["ID Number"] for row in people}
    numbers = {str(row["member_id"]): key for key, row in site.members().items() if key in first}
    site.connection.execute("CREATE TEMP TABLE all_members AS TABLE members")
    site.connection.execute("CREATE TEMP TABLE all_lines AS TABLE member_index")
    site.connection.commit()

    def set_members(gone: Collection[str], came: Collection[str]) -> None:
        with site.connection.transaction():
            site.connection.execute("SET LOCAL rollbook.undoing = 'on'")
            for table, kept in (("members", "all_members"), ("member_index", "all_lines")):
                names = {"table": sql.Identifier(table), "kept": sql.Identifier(kept)}
                for statement, who in (
                    ("DELETE FROM {table} WHERE id_number = ANY(%s)", gone),
                    ("INSERT INTO {table} SELECT * FROM {kept} WHERE id_number = ANY(%s)", came),
                ):
                    site.connection.execute(sql.SQL(statement).format(**names), (list(who),))

    everybody = [row["ID Number"] for row in (*people, *chain(*come.values()))]
    for sort in ("name", "-name", "expiry_date", "-expiry_date"):
        for search in ({}, {"search": "ties"}):
            set_members(everybody, first)
            seen, after = [], None
            for turn in range(1, 20):
                asked = {"sort": sort, "page_size": 2, **search} | (
                    {"after": after} if after else {}
                )
                data = await fetched(client, "members", **asked)
                known = [numbers.get(item["member_id"]) for item in data["items"]]
                found = [number for number in known if number is not None]
                seen += found
                after = data["next"]
                if not after:
                    break
                if turn in come:  # the last one on the page goes, and two come
                    set_members(found[-1:], [row["ID Number"] for row in come[turn]])
            assert after is None, (sort, search)
            assert len(seen) == len(set(seen)) == 9, (sort, search)
            assert data["total"] == 12, (sort, search)  # three have gone, and six have come


async def test_a_place_in_the_list_is_no_text_to_read_or_to_make_up(
    site: Site, system: System, client: httpx.AsyncClient, settings: Settings, operator: User
) -> None:
    recorded(site, *members(3))
    await index.run_once(system)
    after = (await fetched(client, "members", page_size=2))["next"]
    for hidden in ("Last", "last", id_number(1)):
        assert hidden not in str(base64.urlsafe_b64decode(after))
    for wrong, sort in (
        ("x", "name"),
        (after[:-4] + "AAAA", "name"),
        (after, "-name"),
        ("é", "name"),
    ):
        answer = await client.get("/api/v1/members", params={"after": wrong, "sort": sort})
        assert answer.status_code == 422, wrong
        assert "first page" in answer.json()["detail"]
    # A key that was changed since still reads what it has written.
    former = settings.model_copy(update={"secret_key": SecretStr("a" * 40)})
    changed = {"secret_key": SecretStr("b" * 40), "former_secret_keys": SecretStr("a" * 40)}
    async with client_with(former, operator) as before:
        after = (await fetched(before, "members", page_size=2))["next"]
    async with client_with(former, operator, **changed) as other:
        found = await fetched(other, "members", page_size=2, after=after)
    assert [item["surname"] for item in found["items"]] == ["Last2"]
    assert found["next"] is None
