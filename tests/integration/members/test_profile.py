"""One member: where each value comes from, what changed it, and corrections by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollbook.members import index
from rollbook.model import Role, Scope, User
from rollbook.uploads import undo
from tests.files import HEADERS, csv_file, id_number, member, members
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
ALL = (*HEADERS, "Email")
JOHANNESBURG = Scope("GP", "City of Johannesburg")


def send(site: Site, *rows: dict[str, str]) -> UUID:
    done = site.send(csv_file(rows, headers=ALL), "list.csv")
    upload_id: UUID = done.upload["id"]
    return upload_id


def path_of(site: Site, number: int = 1) -> str:
    return f"{BASE}/{site.members()[id_number(number)]['member_id']}"


async def shown(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def corrected(
    client: httpx.AsyncClient, path: str, status: int = 200, /, **fields: str | None
) -> dict[str, Any]:
    version = (await shown(client, path))["version"]
    body = {"version": version, "reason": "told us by phone", "fields": fields}
    answer = await client.patch(path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_field_names_the_upload_and_the_row_that_gave_it(
    site: Site, client: httpx.AsyncClient
) -> None:
    first = send(site, *members(1, 50), member(1, Email="one@example.org"))
    second = send(site, *members(3, 60), member(1, Ward="79800002", Email=""))
    third = send(site, member(1, Ward="79800003"))
    send(site, member(1, Ward="79800003"))
    path = path_of(site)
    data = await shown(client, path)
    sources = data["sources"]
    named = {name: (one["how"], one["job_id"], one["row_number"]) for name, one in sources.items()}
    assert named["firstname"] == named["email"] == ("created", str(first), 3)
    assert named["ward"] == ("upload", str(third), 2)
    assert all(one["is_certain"] for one in sources.values())
    wards = [(event["source"]["job_id"], event["fields"]["ward"]) for event in data["history"]]
    assert wards == [
        (str(third), {"before": "79800002", "after": "79800003"}),
        (str(second), {"before": "79800001", "after": "79800002"}),
        (str(first), {"before": None, "after": "79800001"}),
    ]
    assert [set(event["fields"]) for event in data["history"][:2]] == [{"ward"}, {"ward"}]
    held = [(one["how"], one["row_number"]) for one in data["uploads"]]
    assert held == [("confirmed", None), ("changed", 2), ("changed", 5), ("created", 3)]


async def test_uploads_are_looked_at_of_offices_that_the_member_is_or_was_of(
    site: Site, client: httpx.AsyncClient
) -> None:
    """The people of all uploads of a month are hundreds of megabytes in a large organisation."""
    cape_town = {"Province": "Western Cape", "Municipality": "Cape Town"}
    created = recorded(site, member(1))
    confirmed = recorded(site, member(1), scope=JOHANNESBURG)
    other = recorded(site, member(2, **cape_town), scope=Scope("WC", "City of Cape Town"))
    # No merge writes this: the office may not touch the member.
    with site.connection.transaction():
        site.connection.execute(
            "UPDATE upload_claims SET people = people || %s::bigint, filled = filled || 0::bigint"
            " WHERE upload_id = %s",
            (id_number(1), other),
        )
    path = path_of(site)
    held = [(one["job_id"], one["how"]) for one in (await shown(client, path))["uploads"]]
    assert held == [(str(confirmed), "confirmed"), (str(created), "created")]
    moved = recorded(site, member(1, **cape_town))
    held = [(one["job_id"], one["how"]) for one in (await shown(client, path))["uploads"]]
    assert held == [
        (str(moved), "changed"), (str(other), "confirmed"), (str(confirmed), "confirmed"),
        (str(created), "created"),
    ]  # fmt: skip


async def test_a_correction_of_the_place_hides_no_upload(
    site: Site, system: System, client: httpx.AsyncClient
) -> None:
    created = recorded(site, member(1))
    confirmed = recorded(site, member(1), scope=JOHANNESBURG)
    await index.run_once(system)
    path = path_of(site)
    await corrected(client, path, province="Western Cape", municipality="Cape Town")
    held = [one["job_id"] for one in (await shown(client, path))["uploads"]]
    assert held == [str(confirmed), str(created)]


async def test_what_is_no_longer_stored_is_said_to_be_uncertain(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, member(1))
    second = recorded(site, member(1, Surname="Second"))
    with site.connection.transaction():
        site.connection.execute("UPDATE uploads SET changes_forgotten_at = now()")
        site.connection.execute("DELETE FROM member_changes")
    data = await shown(client, path_of(site))
    for field in ("surname", "ward"):
        source = data["sources"][field]
        assert (source["job_id"], source["is_certain"]) == (str(second), False)
    assert len(data["history"]) == 1


async def test_uploads_and_accounts_of_other_offices_are_not_named(
    site: Site,
    system: System,
    client: httpx.AsyncClient,
    as_user: AsUser,
    make_user: MakeUser,
    operator: User,
) -> None:
    national = recorded(site, member(1))
    own = recorded(site, member(1, Ward="79800002"), scope=JOHANNESBURG)
    await index.run_once(system)
    path = path_of(site)
    await corrected(client, path, cell_number="0835550101")
    office = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"))
    answer = await office.get(path)
    data = answer.json()["data"]
    for secret in (str(national), operator.email):
        assert secret not in answer.text
    assert data["sources"]["firstname"]["job_id"] is None
    assert data["sources"]["ward"]["job_id"] == str(own)
    assert data["sources"]["cell_number"]["how"] == "correction"
    assert data["sources"]["cell_number"]["by"] is None
    assert [one["job_id"] for one in data["uploads"]] == [str(own)]


async def test_a_correction_is_read_as_a_cell_is_and_is_in_the_history(
    site: Site, system: System, client: httpx.AsyncClient, operator: User
) -> None:
    recorded(site, member(1))
    await index.run_once(system)
    path = path_of(site)
    answer = await corrected(
        client, path, cell_number="083 555 0101", surname="van der MERWE", municipality="Joburg"
    )
    data = answer["data"]
    assert data["corrected"] == ["surname", "cell_number"]
    assert data["fields"]["cell_number"] == "+27835550101"
    assert data["fields"]["municipality"] == "City of Johannesburg"
    source = data["sources"]["cell_number"]
    assert (source["how"], source["by"], source["reason"]) == (
        "correction", operator.email, "told us by phone",
    )  # fmt: skip
    assert data["history"][0]["fields"]["cell_number"] == {
        "before": "+27820000001", "after": "+27835550101",
    }  # fmt: skip
    assert data["history"][1]["fields"]["cell_number"]["after"] == "+27820000001"
    # At once, without the round.
    found = await client.get(BASE, params={"search": "merwe"})
    assert found.json()["data"]["total"] == 1
    audit = await client.get("/api/v1/bulk-upload/audit", params={"act": "correct_member"})
    (entry,) = audit.json()["data"]["items"]
    assert (entry["member_id"], entry["about"]) == (data["member_id"], "surname, cell_number")
    assert "Merwe" not in audit.text


async def test_the_same_again_changes_nothing(site: Site, client: httpx.AsyncClient) -> None:
    recorded(site, member(1))
    path = path_of(site)
    before = await shown(client, path)
    answer = await corrected(client, path, cell_number="082 000 0001")
    assert answer["data"]["corrected"] == []
    assert answer["message"].startswith("Nothing differs")
    assert await shown(client, path) == before


async def test_a_text_that_isnt_taken_is_refused_and_nothing_is_changed(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, member(1))
    before, path = site.members(), path_of(site)
    for field, text, said in (
        ("surname", None, "surname"),
        ("surname", "  ", "surname"),
        ("cell_number", "12", "phone"),
        ("last_payment", "next week", "date"),
        ("email", "no address", "e-mail"),
        ("province", "Atlantis", "province"),
        ("gender", "male", "ID number's own"),
        ("id_number", "8001015009087", "ID number's own"),
        ("expiry_is_derived", "true", "follows"),
        ("shoe_size", "43", "no such field"),
    ):
        answer = await corrected(client, path, 422, ward="79800002", **{field: text})
        assert [problem["field"] for problem in answer["errors"]] == [field], (field, text)
        assert said.lower() in answer["errors"][0]["message"].lower(), (field, text)
        assert site.members() == before, (field, text)


async def test_a_lost_update_is_refused(site: Site, client: httpx.AsyncClient) -> None:
    recorded(site, member(1))
    path = path_of(site)
    old = (await shown(client, path))["version"]
    await corrected(client, path, ward="79800002")
    body = {"version": old, "reason": "too late", "fields": {"ward": "79800003"}}
    assert (await client.patch(path, json=body)).status_code == 409
    new = (await shown(client, path))["version"]
    recorded(site, member(1, Ward="79800004"))
    assert (await client.patch(path, json={**body, "version": new})).status_code == 409
    assert (await shown(client, path))["fields"]["ward"] == "79800004"


async def test_expiry_dates_follow_the_payment_or_count_as_given(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, member(1, **{"Last Payment": "2026-01-31"}))
    path = path_of(site)

    async def after(**fields: str | None) -> tuple[str, bool]:
        found = (await corrected(client, path, **fields))["data"]["fields"]
        return found["expiry_date"], found["expiry_is_derived"]

    assert await after(last_payment="2026-03-01") == ("2028-03-01", True)
    assert await after(expiry_date="2027-06-30") == ("2027-06-30", False)
    assert await after(last_payment="2026-04-01") == ("2027-06-30", False)
    assert await after(ward="79800002") == ("2027-06-30", False)
    assert await after(expiry_date=None) == ("2028-04-01", True)


async def test_a_corrected_member_is_left_alone_by_undoing(
    site: Site, client: httpx.AsyncClient, system: System, operator: User
) -> None:
    recorded(site, member(1))
    changing = recorded(site, member(1, Surname="Wrong"), member(2))
    creating = recorded(site, member(3))
    for number in (1, 3):
        await corrected(client, path_of(site, number), ward="79800002")
    counts = (await undo.undo(system, operator, changing, dry_run=False)).counts
    assert (counts.removed, counts.restored, counts.edited) == (1, 0, 1)
    counts = (await undo.undo(system, operator, creating, dry_run=False)).counts
    assert (counts.removed, counts.edited) == (0, 1)
    assert site.members()[id_number(1)]["surname"] == "Wrong"
    assert (await shown(client, path_of(site)))["sources"]["ward"]["how"] == "correction"


async def test_undoing_a_later_upload_brings_the_correction_back(
    site: Site, client: httpx.AsyncClient, system: System, operator: User
) -> None:
    recorded(site, member(1))
    await corrected(client, path_of(site), ward="79800002")
    later = recorded(site, member(1, Ward="79800003"))
    assert (await shown(client, path_of(site)))["sources"]["ward"]["job_id"] == str(later)
    await undo.undo(system, operator, later, dry_run=False)
    data = await shown(client, path_of(site))
    assert data["fields"]["ward"] == "79800002"
    assert data["sources"]["ward"]["how"] == "correction"
    assert [event["source"]["how"] for event in data["history"]] == ["correction", "created"]


async def test_a_change_in_the_database_is_said_to_come_from_elsewhere(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, member(1))
    with site.connection.transaction():
        site.connection.execute("UPDATE members SET occupation = 'Nurse'")
    data = await shown(client, path_of(site))
    assert data["sources"]["occupation"]["how"] == "elsewhere"
    assert data["sources"]["ward"]["how"] == "created"


async def test_a_status_is_set_with_a_reason(site: Site, client: httpx.AsyncClient) -> None:
    recorded(site, member(1, Status="Active"))
    path = path_of(site)
    version = (await shown(client, path))["version"]
    body = {"version": version, "reason": "resigned", "status": "Inactive"}
    answer = await client.post(f"{path}/status", json=body)
    assert answer.json()["data"]["fields"]["status"] == "Inactive"
    assert (await client.post(f"{path}/status", json=body)).status_code == 409
    assert (await client.post(f"{path}/status", json={**body, "reason": ""})).status_code == 422


async def test_an_office_keeps_its_members_and_leaves_those_of_others_alone(
    site: Site, as_user: AsUser, make_user: MakeUser, system: System
) -> None:
    recorded(
        site, member(1), member(2, Province="KwaZulu-Natal", Municipality="eThekwini", Ward="")
    )
    await index.run_once(system)
    office = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"))
    before = site.members()
    for field, place in (("municipality", "Emfuleni"), ("province", "KwaZulu-Natal")):
        answer = await corrected(office, path_of(site), 422, **{field: place})
        assert answer["errors"][0]["field"] == field
    body = {"version": 1, "reason": "not ours", "fields": {"ward": "79800002"}}
    assert (await office.patch(path_of(site, 2), json=body)).status_code == 404
    assert site.members() == before


async def test_a_member_whom_a_merge_has_locked_is_said_to_be_busy(
    site: Site, settings: Settings, operator: User
) -> None:
    recorded(site, member(1))
    path = path_of(site)
    async with client_with(settings, operator, member_lock_wait_s=0.05) as client:
        with site.connection.transaction():
            site.connection.execute("SELECT FROM members FOR UPDATE")
            answer = await corrected(client, path, 503, ward="79800002")
    assert "please try again" in answer["detail"]
