"""Members are removed, or get a status, by a list: like any upload, with report, scope and undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from rollbook import fields
from rollbook.errors import NoIdColumnError, TooManyRemovalsError
from rollbook.fields import OwnField, OwnFields, Rule
from rollbook.members import index
from rollbook.model import Role, Scope, User
from tests.files import csv_file, id_number, member, members
from tests.integration.members.clients import client_with
from tests.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Done, Site

    MakeUser = Callable[..., Awaitable[User]]
    AsUser = Callable[[User], httpx.AsyncClient]

BASE = "/api/v1/members"
UNDO = "/api/v1/bulk-upload/undo"
ETHEKWINI = {"Province": "KwaZulu-Natal", "Municipality": "eThekwini", "Ward": "59500001"}


def listed(*numbers: str, header: str = "ID Number") -> bytes:
    return "\n".join([header, *numbers]).encode()


def remove(site: Site, *numbers: str, **options: Any) -> Done:
    wanted = {"kind": "removal", "reason": "left", **options}
    return site.send(listed(*numbers), "left.csv", **wanted)


def codes(done: Done, row: int) -> list[str]:
    found = next(one for one in done.rows if one["row_number"] == row)["problems"] or []
    return [problem["code"] for problem in found]


def test_a_list_removes_members_and_says_whom_it_does_not_know(site: Site) -> None:
    recorded(site, *members(5))
    bad = id_number(3)[:-1] + str((int(id_number(3)[-1]) + 1) % 10)
    done = remove(site, id_number(0), id_number(1), id_number(0), id_number(77), bad, "")
    assert done.by_row == {2: "updated", 3: "updated", 4: "duplicate", 5: "invalid", 6: "invalid"}
    assert (codes(done, 5), codes(done, 6)) == (["member_unknown"], ["id_check_digit"])
    assert set(site.members()) == {id_number(n) for n in (2, 3, 4)}
    report = done.sheet("All Uploaded Rows")
    assert report["Outcome"][0] == "Member, removed"
    assert "Nobody with this number" in report["Problems"][3]
    assert "left" in str(done.sheet("Summary").rows())


def test_a_list_that_says_why_they_left_warns_of_nothing(site: Site) -> None:
    recorded(site, *members(2))
    rows = [f"{id_number(0)};Deceased;Resigned", f"{id_number(1)};Oorlede;"]
    content = "\n".join(["ID Number;Remarks;Status", *rows]).encode()
    done = site.send(content, "left.csv", kind="removal", reason="left")
    assert done.by_row == {2: "updated", 3: "updated"}
    assert [codes(done, row) for row in (2, 3)] == [[], []]
    assert site.members() == {}


@pytest.mark.parametrize(
    ("header", "goes", "stays"),
    [
        ("Remove?", ["Yes", "x"], ["No", "", "keep"]),
        ("To be deleted (Y/N)", ["Y"], ["N", "nee"]),
        ("Action", ["Remove", "Terminate", ""], ["Add", "No change", "Keep", "Update"]),
        ("Transaction Type", ["Termination"], ["New member", "Transfer in"]),
        ("Remarks", ["Deceased", "", "no keeper"], ["do not remove", "Not deceased", "Behou"]),
        ("Status", ["Active", "Lapsed"], []),
    ],
)
def test_a_row_that_says_that_the_member_stays_is_refused(
    header: str, goes: list[str], stays: list[str], site: Site
) -> None:
    cells = [*goes, *stays]
    recorded(site, *members(len(cells)))
    rows = [f"{id_number(n)};{cell}" for n, cell in enumerate(cells)]
    content = "\n".join([f"ID Number;{header}", *rows]).encode()
    done = site.send(content, "list.csv", kind="removal", reason="left")
    assert set(site.members()) == {id_number(n) for n in range(len(goes), len(cells))}
    refused = done.rows[len(goes) :]
    assert [row["outcome"] for row in refused] == ["invalid"] * len(stays)
    assert all(codes(done, row["row_number"]) == ["member_stays"] for row in refused)
    assert {problem["column"] for row in refused for problem in row["problems"]} <= {header}


def test_those_below_a_line_of_members_are_not_removed(site: Site) -> None:
    recorded(site, *members(6))
    numbers = [id_number(n) for n in range(6)]
    rows = [numbers[0], "TO KEEP", *numbers[1:3], "RESIGNED", numbers[3], "ACTIVE MEMBERS"]
    content = "\n".join(
        ["ID Number;Name", *(f"{one};" for one in (*rows, "WARD 12", *numbers[4:]))]
    )
    done = site.send(content.encode(), "list.csv", kind="removal", reason="left")
    assert set(site.members()) == {*numbers[1:3], *numbers[4:]}
    refused = [row for row in done.rows if row["outcome"] == "invalid"]
    assert [codes(done, row["row_number"]) for row in refused] == [["member_stays"]] * 4


def test_a_list_without_any_mark_removes_all_of_it(site: Site) -> None:
    recorded(site, *members(2))
    content = f"ID Number;Remove?;Name\n{id_number(0)};;Ann\n{id_number(1)};;Bob".encode()
    site.send(content, "left.csv", kind="removal", reason="left")
    assert site.members() == {}


def test_a_dry_run_and_all_or_nothing_change_nobody(site: Site) -> None:
    recorded(site, *members(2))
    assert remove(site, id_number(0), dry_run=True).by_row == {2: "updated"}
    assert len(site.members()) == 2
    with pytest.raises(Exception, match="rows were refused"):
        remove(site, id_number(0), id_number(77), all_or_nothing=True)
    assert len(site.members()) == 2


def test_a_list_gives_a_status_and_leaves_everything_else(site: Site) -> None:
    rows = [member(0, **{"Last Payment": "2026-01-31"}), member(1)]
    recorded(site, *rows)
    before = site.members()
    done = remove(site, id_number(0), id_number(1), new_status="Lapsed")
    assert done.by_row == {2: "updated", 3: "updated"}
    assert done.rows[0]["changes"] == {"status": [None, "Lapsed"]}
    same = {"status", "changed_by_upload", "changed_at"}
    for number, row in site.members().items():
        assert row["status"] == "Lapsed"
        assert {k: row[k] for k in row if k not in same} == {
            k: v for k, v in before[number].items() if k not in same
        }
    assert remove(site, id_number(0), new_status="Lapsed").by_row == {2: "unchanged"}


def test_only_the_id_number_of_a_list_counts(site: Site) -> None:
    """A whole file of members is a list too: its other columns, and own rules, say nothing."""
    recorded(site, *members(2))
    needed = OwnField("branch", ("Branch",), "text", Rule(needed=True))
    row = member(0, Surname="", Province="Nowhere", Ward="no ward", **{"Cell Number": "1"})
    with fields.using(OwnFields((needed,))):
        done = site.send(csv_file([row]), "left.csv", kind="removal", reason="left")
        assert fields.current().fields == (needed,)
    assert (done.by_row, codes(done, 2)) == ({2: "updated"}, [])
    with pytest.raises(NoIdColumnError):
        site.send(listed("1", header="Number of shoes"), "left.csv", kind="removal", reason="left")


def test_members_of_another_office_and_of_none_stay(site: Site) -> None:
    nobodys = member(2, Province="", Municipality="", Ward="")
    recorded(site, member(0), member(1, **ETHEKWINI), nobodys)
    numbers = [id_number(n) for n in range(3)]
    done = remove(site, *numbers, scope=Scope("GP", "City of Johannesburg"))
    assert done.by_row == {2: "updated", 3: "out_of_scope", 4: "out_of_scope"}
    assert set(site.members()) == set(numbers[1:])
    report = done.sheet("All Uploaded Rows")
    assert report["Problems"][1] == "This member belongs to another office."
    assert report["Existing Member Name"][1] is None
    done = remove(site, *numbers[1:], scope=Scope("GP", None), new_status="Lapsed")
    assert set(done.by_row.values()) == {"out_of_scope"}


def test_a_list_by_passport_removes_its_holder(site: Site) -> None:
    row = {"ID Number": "", "Passport Number": "AB12345", "Passport Country": "Namibia"}
    people = [{**member(0), **row}, member(1)]
    headers = (*member(0), "Passport Number", "Passport Country")
    site.send(csv_file(people, headers=headers), "people.csv", accepts_passports=True)
    content = csv_file([row], headers=tuple(row))
    done = site.send(content, "left.csv", kind="removal", reason="left", accepts_passports=True)
    assert done.by_row == {2: "updated"}
    assert set(site.members()) == {id_number(1)}


def test_a_list_that_is_too_long_is_refused_as_a_whole(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(site, *members(3))
    from rollbook.pipeline import removal

    check = removal.check_size
    monkeypatch.setattr(removal, "check_size", lambda rows, _: check(rows, 2))
    with pytest.raises(TooManyRemovalsError, match="3 rows"):
        remove(site, *(id_number(n) for n in range(3)))
    assert len(site.members()) == 3


async def undone(client: httpx.AsyncClient, upload_id: UUID) -> dict[str, int]:
    answer = await client.post(f"{UNDO}/{upload_id}", json={"dry_run": False})
    assert answer.status_code == 200, answer.text
    data: dict[str, int] = answer.json()["data"]
    return data


async def test_undoing_brings_removed_members_back_as_they_were(
    site: Site, client: httpx.AsyncClient, system: System
) -> None:
    recorded(site, *members(4))
    await index.run_once(system)
    before = site.members()
    done = remove(site, *(id_number(n) for n in range(3)))
    await index.run_once(system)
    listing = (await client.get(BASE)).json()["data"]
    assert listing["total"] == 1
    # One of them joins again meanwhile.
    recorded(site, member(2, Surname="Again"))
    counts = await undone(client, done.upload["id"])
    assert (counts["restored"], counts["kept"], counts["gone"]) == (2, 1, 0)
    after = site.members()
    assert {n: after[n] for n in before if n != id_number(2)} == {
        n: before[n] for n in before if n != id_number(2)
    }
    assert after[id_number(2)]["surname"] == "Again"
    await index.run_once(system)
    assert (await client.get(BASE)).json()["data"]["total"] == 4
    shown = await client.get(f"{BASE}/{before[id_number(0)]['member_id']}")
    assert shown.json()["data"]["history"][-1]["source"]["how"] == "created"


async def test_an_earlier_upload_can_be_undone_after_a_list(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, member(0, Status="Active"))
    lapsed = recorded(site, member(0, Status="Lapsed"))
    ward = recorded(site, member(0, Ward="79800002"))
    assert remove(site, id_number(0), new_status="Lapsed").by_row == {2: "unchanged"}
    assert (await undone(client, ward))["restored"] == 1
    # The list has confirmed the status.
    data = await undone(client, lapsed)
    assert (data["restored"], data["kept"]) == (0, 1)


async def test_undoing_a_list_brings_back_nobody_whose_creation_was_undone(
    site: Site, client: httpx.AsyncClient
) -> None:
    created = recorded(site, *members(3))
    # One of them is confirmed by another file, and would have outlived the first undo.
    recorded(site, member(0))
    removed = remove(site, id_number(0), id_number(1))
    assert (await undone(client, created))["removed"] == 1
    data: dict[str, Any] = await undone(client, removed.upload["id"])
    assert (data["restored"], data["kept"]) == (1, 1)
    assert data["kept_because"]["creation_undone"] == 1
    assert set(site.members()) == {id_number(0)}
    kept = await client.get(f"{UNDO}/{removed.upload['id']}/kept")
    assert [row["reason"] for row in kept.json()["data"]["items"]] == ["creation_undone"]


async def test_undoing_a_status_restores_the_former_one(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, member(0, Status="Active"))
    done = remove(site, id_number(0), new_status="Lapsed")
    assert (await undone(client, done.upload["id"]))["restored"] == 1
    assert site.members()[id_number(0)]["status"] == "Active"


async def test_a_filter_is_counted_confirmed_and_sent_as_an_upload(
    site: Site, system: System, as_user: AsUser, make_user: MakeUser
) -> None:
    recorded(site, *members(3), member(7, **ETHEKWINI))
    await index.run_once(system)
    client = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"))
    asked = {"ward": "79800001", "reason": "moved", "new_status": "Moved"}
    counted = await client.post(f"{BASE}/removal", json=asked)
    assert (counted.status_code, counted.json()["data"]) == (200, {"members": 3, "job_id": None})
    wrong = await client.post(f"{BASE}/removal", json={**asked, "members": 4})
    assert (wrong.status_code, "3 members fit now" in wrong.text) == (409, True)
    sent = await client.post(f"{BASE}/removal", json={**asked, "members": 3})
    assert sent.status_code == 202, sent.text
    job_id = sent.json()["data"]["job_id"]
    status = (await client.get(sent.headers["Location"])).json()["data"]
    assert (status["kind"], status["new_status"], status["reason"]) == ("removal", "Moved", "moved")
    upload = site.connection.execute(
        "SELECT source_key, province, municipality FROM uploads WHERE id = %s", (UUID(job_id),)
    ).fetchone()
    site.connection.rollback()
    assert upload is not None
    assert (upload["province"], upload["municipality"]) == ("GP", "City of Johannesburg")
    _, chunks = await system.store.open(upload["source_key"])
    content = b"".join([bytes(chunk) async for chunk in chunks]).decode()
    assert content.splitlines()[1:] == [f"{id_number(n)},," for n in range(3)]


async def test_a_filter_that_names_nobody_or_all_is_refused(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, *members(2))
    for asked, said in (
        ({}, "Give a filter at least"),
        ({"status": "nothing"}, "No member fits"),
        ({"status": "nothing", "reason": ""}, "reason"),
        ({"province": "Atlantis"}, "no such province"),
        ({"search": " "}, "search: blank"),
        ({"status": "", "ward": "\t"}, "ward and status: blank"),
        ({"search": " ", "province": "GP"}, "search: blank"),
        ({"ward": "79800001", "new_status": " "}, "new_status"),
        ({"ward": "79800001", "reason": f"is {id_number(1)} again"}, "ID number"),
    ):
        answer = await client.post(f"{BASE}/removal", json={"reason": "moved", **asked})
        assert (answer.status_code, said in answer.text) == (422, True), (asked, answer.text)


async def test_a_filter_removes_at_most_so_many(
    site: Site, settings: Settings, operator: User
) -> None:
    recorded(site, *members(3))
    async with client_with(settings, operator, removal_most=2) as client:
        asked = {"municipality": "Johannesburg", "reason": "moved"}
        answer = await client.post(f"{BASE}/removal", json=asked)
        assert (answer.status_code, "More than 2 members" in answer.text) == (422, True)


async def test_options_that_contradict_each_other_are_refused(client: httpx.AsyncClient) -> None:
    for options in (
        {"kind": "removal"},
        {"kind": "removal", "reason": "x"},
        {"reason": "left"},
        {"new_status": "Left"},
        {"kind": "removal", "reason": "left", "existing": "fill"},
        {"kind": "deletion", "reason": "left"},
        {"kind": "removal", "reason": "left", "new_status": ""},
        {"kind": "removal", "reason": "left", "new_status": " \t"},
        {"kind": "removal", "reason": "   "},
        {"kind": "removal", "reason": f"{id_number(1)} has left"},
    ):
        answer = await client.post(
            "/api/v1/bulk-upload/process",
            files={"file": ("left.csv", listed(id_number(0)))},
            data=options,
        )
        assert answer.status_code == 422, (options, answer.text)
