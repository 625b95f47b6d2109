"""Exports come back unchanged and hold the scope's members; a person's file holds everything."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import openpyxl
import pytest

from rollbook.errors import ServiceUnavailableError
from rollbook.members import export, index
from rollbook.model import Role, User
from tests.files import HEADERS, csv_file, id_number, member, members
from tests.integration.members.clients import client_with, made
from tests.recorded import recorded
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.model import Progress
    from rollbook.service.system import System
    from tests.pipeline_run import Site

    MakeUser = Callable[..., Awaitable[User]]
    AsUser = Callable[[User], httpx.AsyncClient]

BASE = "/api/v1/members"
ALL = (
    *HEADERS, "Email", "Last Payment", "Expiry Date", "Status", "Residential Address",
    "Membership Amount", "Landline Number", "Date Joined", "Gender", "Race", "Language",
)  # fmt: skip
PEOPLE = [
    member(1, **{"Last Payment": "2026-01-31", "Email": "one@example.org", "Race": "African"}),
    member(2, Firstname="Zoë", Surname="van der Merwe", **{"Expiry Date": "2027-06-30"}),
    member(3, **{"Residential Address": "=1+1", "Membership Amount": "1200.50"}),
    member(4, **{"Landline Number": "+44 20 7946 0958", "Date Joined": "2001-02-03"}),
    member(5, **{"Residential Address": "-12 Long Street, Flat 3\nBraamfontein", "Ward": "12"}),
    member(
        6, Surname="O'Brien", Province="KwaZulu-Natal", Municipality="eThekwini", Ward="59500001",
        **{"Last Payment": "2026-02-28", "Expiry Date": "2028-02-28"},
    ),
    member(7, **{"Last Payment": "2024-02-29", "Cell Number": "", "Status": "Active"}),
]  # fmt: skip


@pytest.fixture
def filled(site: Site) -> Site:
    recorded(site, *PEOPLE)
    return site


async def exported(
    client: httpx.AsyncClient, system: System, settings: Settings, **asked: Any
) -> bytes:
    answer = await client.post(f"{BASE}/export", json=asked)
    assert answer.status_code == 202, answer.text
    path = answer.headers["Location"]
    assert answer.json()["data"]["status"] == "pending"
    assert (await client.get(f"{path}/content")).status_code == 409
    await made(system, settings, answer.json()["data"]["job_id"])
    data = (await client.get(path)).json()["data"]
    assert data["status"] == "completed"
    content = await client.get(f"{path}/content")
    assert content.status_code == 200
    assert len(content.content) == data["file_bytes"]
    return content.content


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
async def test_an_export_that_is_sent_back_changes_nothing(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings, kind: str
) -> None:
    site.send(csv_file(PEOPLE, headers=ALL), "people.csv")
    before = site.members()
    content = await exported(client, system, settings, format=kind)
    done = site.send(content, f"export.{kind}")
    assert done.outcomes["unchanged"] == len(PEOPLE) == done.upload["rows_total"]
    assert done.upload["reading"]["columns_not_read"] == []
    assert site.members() == before


async def test_an_edited_export_changes_what_was_edited(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    site.send(csv_file(PEOPLE, headers=ALL), "people.csv")
    content = await exported(client, system, settings, format="xlsx")
    book = openpyxl.load_workbook(io.BytesIO(content))
    sheet = book["Members"]
    titles = [cell.value for cell in sheet[1]]
    assert titles[0] == "ID Number"
    for row in sheet.iter_rows(min_row=2):
        if row[0].value == id_number(1):
            row[titles.index("Surname")].value = "Changed"
    target = io.BytesIO()
    book.save(target)
    done = site.send(target.getvalue(), "edited.xlsx")
    assert (done.outcomes["updated"], done.outcomes["unchanged"]) == (1, len(PEOPLE) - 1)
    assert site.members()[id_number(1)]["surname"] == "Changed"


async def test_no_cell_of_a_csv_is_a_formula(
    filled: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    del filled
    content = await exported(client, system, settings, format="csv")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert len(rows) == 1 + len(PEOPLE)
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]


async def test_texts_that_look_like_formulas_stay_texts_in_every_program(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    texts = [
        '=HYPERLINK("https://example.org","x")', "+1+1", "-1+1", "@SUM(1)", "A;=1+1;B", "A;@x",
        "A\t=1+1\tB", "A\n=1+1;B", "12;-3", 'x","=1+1',
    ]  # fmt: skip
    rows = [member(n, **{"Residential Address": text}) for n, text in enumerate(texts)]
    site.send(csv_file(rows, headers=ALL), "formulas.csv")
    stored = {
        number: one["residential_address"]
        for number, one in site.members().items()
        if one["residential_address"]
    }
    assert len(stored) == len(texts)

    book = openpyxl.load_workbook(
        io.BytesIO(await exported(client, system, settings, format="xlsx"))
    )
    titles = [cell.value for cell in book["Members"][1]]
    lines = list(book["Members"].iter_rows(min_row=2))
    assert {cell.data_type for line in lines for cell in line} <= {"s", "n", "d"}
    at = titles.index("Residential Address")
    assert {line[0].value: line[at].value for line in lines} == stored

    content = (await exported(client, system, settings, format="csv")).decode("utf-8-sig")
    for separator in (",", ";", "\t"):
        cells = [c for row in csv.reader(io.StringIO(content), delimiter=separator) for c in row]
        assert len(cells) >= len(texts)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


async def test_an_export_holds_the_scope_and_what_fits_the_filters(
    filled: Site, as_user: AsUser, make_user: MakeUser, system: System, settings: Settings
) -> None:
    await index.run_once(system)

    async def numbers(client: httpx.AsyncClient, **asked: Any) -> set[str]:
        content = await exported(client, system, settings, format="csv", **asked)
        return {line.split(",")[0] for line in content.decode("utf-8-sig").splitlines()[1:]} & {
            id_number(n) for n in range(10)
        }

    national = as_user(await make_user(Role.NATIONAL_ADMIN))
    assert await numbers(national, search="van der") == {id_number(2)}
    assert await numbers(national, id_number=id_number(4)) == {id_number(4)}
    assert await numbers(national, expires_before="2027-07-01") == {id_number(2), id_number(7)}
    assert await numbers(national, municipality="Durban") == {id_number(6)}
    assert await numbers(national, status="inactive") == set()
    office = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "KZN", "eThekwini"))
    assert await numbers(office) == {id_number(6)}
    assert await numbers(office, province="GP") == set()
    del filled


async def test_a_file_is_its_owner_s_alone_and_each_download_is_audited(
    filled: Site,
    as_user: AsUser,
    make_user: MakeUser,
    system: System,
    settings: Settings,
    operator: User,
) -> None:
    client = as_user(operator)
    path = (await client.post(f"{BASE}/export", json={"format": "csv"})).headers["Location"]
    await made(system, settings, path.rpartition("/")[2])
    as_user(await make_user(Role.SUPER_ADMIN))
    for address in (path, f"{path}/content"):
        assert (await client.get(address)).status_code == 404
    as_user(operator)
    assert (await client.get(f"{path}/content")).status_code == 200
    audit = await client.get("/api/v1/bulk-upload/audit", params={"act": "download_export"})
    done = [entry["outcome"] for entry in audit.json()["data"]["items"]]
    assert done == ["done", "refused"]
    del filled


async def test_a_file_is_removed_when_its_time_has_ended(
    filled: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    path = (await client.post(f"{BASE}/export", json={"format": "csv"})).headers["Location"]
    await made(system, settings, path.rpartition("/")[2])
    assert await export.forget_expired(system) == 0
    with filled.connection.transaction():
        filled.connection.execute("UPDATE member_files SET expires_at = now() - interval '1 s'")
    stored = [file async for file in system.store.each(UUID(path.rpartition("/")[2]))]
    assert len(stored) == 1
    assert await export.forget_expired(system) == 1
    assert [file async for file in system.store.each(UUID(path.rpartition("/")[2]))] == []
    assert (await client.get(path)).status_code == 404


async def test_one_user_can_t_fill_the_queue(
    filled: Site, settings: Settings, operator: User
) -> None:
    del filled
    async with client_with(settings, operator, exports_per_user=2) as client:
        for status in (202, 202, 429):
            answer = await client.post(f"{BASE}/export", json={"format": "csv"})
            assert answer.status_code == status


async def test_progress_is_said_and_adds_up(
    filled: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    del filled
    path = (await client.post(f"{BASE}/export", json={"format": "xlsx"})).headers["Location"]
    said = await made(system, settings, path.rpartition("/")[2])
    assert [(one.rows_done, one.rows_total) for one in said] == [(len(PEOPLE), len(PEOPLE))]
    # Made once: a second worker finds it done.
    assert await made(system, settings, path.rpartition("/")[2]) == []


async def test_a_worker_makes_what_is_due_and_tries_again_what_failed(
    filled: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    """The same as in a worker, but for the child process."""
    del filled
    stop = asyncio.Event()
    faults: list[Exception] = [ServiceUnavailableError("away"), ValueError("a cell")]
    path = (await client.post(f"{BASE}/export", json={"format": "csv"})).headers["Location"]

    async def make(file_id: UUID, attempt: int, learn: Callable[[Progress], None]) -> None:
        del learn
        if faults:
            raise faults.pop(0)
        await made(system, settings, str(file_id), attempt)
        stop.set()

    async with asyncio.timeout(PATIENCE_S):
        await export.make_due(system, make, stop)
    assert (await client.get(path)).json()["data"]["status"] == "completed"


async def test_a_file_that_can_t_be_made_says_so_in_the_end(
    filled: Site, client: httpx.AsyncClient, system: System
) -> None:
    del filled
    stop = asyncio.Event()
    tries = []
    path = (await client.post(f"{BASE}/export", json={"format": "csv"})).headers["Location"]

    async def make(file_id: UUID, attempt: int, learn: Callable[[Progress], None]) -> None:
        del attempt, learn
        tries.append(file_id)
        raise ValueError("a cell's text")

    async def state() -> Any:
        return (await client.get(path)).json()["data"]

    making = asyncio.create_task(export.make_due(system, make, stop))
    async with asyncio.timeout(PATIENCE_S):
        data = await state()
        while data["status"] == "pending":
            data = await state()
    stop.set()
    await making
    assert (data["status"], len(tries)) == ("failed", export.TRIES)
    assert "a cell's text" not in str(data)
    answer = await client.get(f"{path}/content")
    assert answer.status_code == 409


@pytest.mark.parametrize("kind", ["json", "xlsx"])
async def test_a_person_s_file_holds_everything_of_the_person_and_nobody_else(
    filled: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    kind: str,
    operator: User,
) -> None:
    second = recorded(filled, member(1, Ward="79800002"), *members(2, 50))
    await index.run_once(system)
    path = f"{BASE}/{filled.members()[id_number(1)]['member_id']}"
    version = (await client.get(path)).json()["data"]["version"]
    body = {"version": version, "reason": "the reason", "fields": {"occupation": "Nurse"}}
    assert (await client.patch(path, json=body)).status_code == 200
    answer = await client.post(f"{path}/access", json={"format": kind})
    assert answer.status_code == 202
    location = answer.headers["Location"]
    await made(system, settings, location.rpartition("/")[2])
    content = (await client.get(f"{location}/content")).content
    if kind == "json":
        person = json.loads(content)
        assert person["record"]["id_number"] == id_number(1)
        assert [row["upload_id"] for row in person["changes"]] == [str(second)]
        assert person["corrections"][0]["reason"] == "the reason"
        assert len(person["uploads"]) == 2
        assert {row["row_number"] for row in person["rows"]} == {2}
        assert {row["act"] for row in person["audit"]} == {"correct_member", "access_member"}
        text = content.decode()
    else:
        book = openpyxl.load_workbook(io.BytesIO(content))
        assert book.sheetnames[:2] == ["Record", "Former values"]
        text = "\n".join(
            str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row
        )
    assert id_number(1) in text
    assert "the reason" in text
    assert operator.email not in text
    for other in (2, 50, 51):
        assert id_number(other) not in text


async def test_a_person_of_another_office_can_t_be_asked_for(
    filled: Site, as_user: AsUser, make_user: MakeUser, system: System
) -> None:
    await index.run_once(system)
    office = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "KZN", "eThekwini"))
    path = f"{BASE}/{filled.members()[id_number(1)]['member_id']}/access"
    assert (await office.post(path)).status_code == 404
