"""What an office's uploads have taught about its columns: listed, and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from rollbook.accounts.users import issue_token
from rollbook.model import Role
from tests.files import csv_file, id_number, member
from tests.integration.worker.test_worker import sent
from tests.pipeline_run import finished

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

MAPPINGS = "/api/v1/bulk-upload/mappings"
OFFICES = {
    "province": (Role.PROVINCE_ADMIN, "GP"),
    "municipality": (Role.MUNICIPALITY_ADMIN, "GP", "Emfuleni"),
    "other": (Role.PROVINCE_ADMIN, "LP"),
    "national": (Role.NATIONAL_ADMIN,),
}
#: A header may hold an ID number, where the first member is in the header row.
HEADER = f"Lid {id_number(1)}"


def lid_file(sequence: int) -> bytes:
    row = member(sequence)
    names = {"ID Number": HEADER, "Firstname": "Firstname", "Surname": "Surname"}
    return csv_file([{new: row[old] for old, new in names.items()}], headers=[*names.values()])


@pytest.fixture
async def offices(make_user: Callable[..., Awaitable[User]]) -> dict[str, User]:
    return {name: await make_user(*place) for name, place in OFFICES.items()}


async def test_a_mapping_is_changed_within_its_scope_and_the_next_file_is_read_so(
    api: httpx.AsyncClient, system: System, settings: Settings, offices: dict[str, User]
) -> None:
    user = offices["municipality"]
    taught = {HEADER: "id_number", "Firstname": "surname", "Surname": "firstname"}
    await finished(system, user, await sent(system, user, lid_file(1), columns=taught))
    [own] = await listed(api, settings, user)
    shown = next(iter(own["columns"]))
    wrong: list[dict[str, Any]] = [
        {}, {"columns": {}}, {"columns": {"Other": "ward"}}, {"columns": {shown: "shoe_size"}},
        {"columns": {shown: 3}}, {"columns": {HEADER: "id_number"}},
    ]  # fmt: skip
    for body in wrong:
        assert (await api.patch(f"{MAPPINGS}/{own['id']}", json=body)).status_code == 422
    await listed(api, settings, offices["other"])
    body = {"columns": {shown: "id_number", "Surname": None}}
    assert (await api.patch(f"{MAPPINGS}/{own['id']}", json=body)).status_code == 404
    assert (await listed(api, settings, user)) == [own]
    changed = (await api.patch(f"{MAPPINGS}/{own['id']}", json=body)).json()["data"]
    assert [changed] == await listed(api, settings, user)
    assert changed["columns"] == body["columns"]
    assert changed["changed_by"] == user.email
    assert (changed["id"] != own["id"], changed["job_id"]) == (True, own["job_id"])
    # Who saw the mapping before it was changed changes nothing of it.
    assert (await api.patch(f"{MAPPINGS}/{own['id']}", json=body)).status_code == 404
    assert (await api.delete(f"{MAPPINGS}/{own['id']}")).status_code == 404
    later = await finished(system, user, await sent(system, user, lid_file(7)))
    assert later["error_code"] == "missing_columns"
    body = {"columns": {shown: "id_number"}}
    await api.patch(f"{MAPPINGS}/{changed['id']}", json=body)
    later = await finished(system, user, await sent(system, user, lid_file(8)))
    assert later["inserted"] == 1
    used = {one["field"]: one["how"] for one in later["reading"]["columns_used"]}
    assert used == {"id_number": "remembered", "firstname": "known", "surname": "known"}
    trail = (await api.get("/api/v1/bulk-upload/audit/mine")).json()["data"]["items"]
    acts = [entry for entry in trail if entry["act"] == "change_mapping"]
    assert {entry["outcome"] for entry in acts} == {"done", "refused"}
    assert [e["job_id"] for e in acts if e["outcome"] == "done"] == [own["job_id"]] * 2


async def listed(api: httpx.AsyncClient, settings: Settings, user: User) -> list[dict[str, Any]]:
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    answer = await api.get(MAPPINGS)
    assert answer.status_code == 200
    items: list[dict[str, Any]] = answer.json()["data"]["items"]
    return items


async def test_a_mapping_is_listed_and_forgotten_within_its_scope(
    api: httpx.AsyncClient, system: System, settings: Settings, offices: dict[str, User]
) -> None:
    columns = {HEADER: "id_number"}
    taught = {
        name: await sent(system, offices[name], lid_file(n), columns=columns)
        for n, name in enumerate(("province", "municipality"))
    }
    for name, job_id in taught.items():
        assert (await finished(system, offices[name], job_id))["inserted"] == 1
    found = {name: await listed(api, settings, user) for name, user in offices.items()}
    assert {name: len(items) for name, items in found.items()} == {
        "province": 2, "municipality": 1, "other": 0, "national": 2,
    }  # fmt: skip
    [own] = found["municipality"]
    assert own["job_id"] == str(taught["municipality"])
    assert (own["province"], own["municipality"]) == ("GP", "Emfuleni")
    assert own["file_name"] == "members.csv"
    assert own["remembered_at"] is not None
    assert list(own["columns"].values()) == ["id_number"]
    assert id_number(1) not in str(own)

    [above] = [one for one in found["province"] if one["id"] != own["id"]]
    await listed(api, settings, offices["municipality"])
    answers = [await api.delete(f"{MAPPINGS}/{one}") for one in (above["id"], uuid4())]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert (await api.delete(f"{MAPPINGS}/{own['id']}")).status_code == 200
    assert (await api.delete(f"{MAPPINGS}/{own['id']}")).status_code == 404
    assert await listed(api, settings, offices["municipality"]) == []

    later = await sent(system, offices["municipality"], lid_file(7))
    assert (await finished(system, offices["municipality"], later))["error_code"] == "no_id_column"
    trail = (await api.get("/api/v1/bulk-upload/audit/mine")).json()["data"]["items"]
    assert [
        e["job_id"] for e in trail if (e["act"], e["outcome"]) == ("forget_mapping", "done")
    ] == [own["job_id"]]
