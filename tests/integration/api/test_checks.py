"""Checking a file before it is sent, and sending it by its check."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from rollbook.accounts.users import issue_token
from rollbook.model import Role, User
from rollbook.uploads import checks
from tests.files import csv_file, id_number, member
from tests.integration.worker.test_worker import working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"


@pytest.fixture
async def user(make_user: MakeUser) -> User:
    return await make_user(Role.PROVINCE_ADMIN, "GP")


@pytest.fixture
def client(api: httpx.AsyncClient, settings: Settings, user: User) -> httpx.AsyncClient:
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    return api


async def checked(
    client: httpx.AsyncClient, content: bytes, name: str = "members.csv", **fields: str
) -> httpx.Response:
    return await client.post(f"{BASE}/check", files={"file": (name, content)}, data=fields)


async def send(client: httpx.AsyncClient, check_id: str, **fields: str) -> httpx.Response:
    form = {"check_id": check_id, **fields}
    return await client.post(f"{BASE}/process", files={k: (None, v) for k, v in form.items()})


async def stored_keys(system: System) -> list[str]:
    return [stored.key async for stored in system.store.each()]


async def test_a_checked_file_is_sent_once_without_its_bytes(
    client: httpx.AsyncClient, system: System
) -> None:
    answer = (await checked(client, csv_file(rows=3))).json()["data"]
    assert answer["is_checked"] is True
    assert answer["rows_expected"] == 3
    assert {column["field"] for column in answer["columns"]} >= {"id_number", "surname"}
    async with working(system):
        sent = await send(client, answer["check_id"])
        assert sent.status_code == 202
        job_id = sent.json()["data"]["job_id"]
        assert job_id == answer["check_id"]
        await job_event(system.settings, job_id, "completed")
    # A request that is made again, since its answer was lost, makes no other upload.
    again = await send(client, answer["check_id"])
    assert again.json()["data"]["job_id"] == job_id
    status = (await client.get(f"{BASE}/status/{job_id}")).json()["data"]
    assert status["outcomes"]["inserted"] == 3
    assert await checks.remove_unused(system) == 0


async def test_a_check_that_was_sent_is_not_sent_with_other_options(
    client: httpx.AsyncClient,
) -> None:
    """Answered with the first upload, the second request would merge nothing and say it did."""
    check_id = (await checked(client, csv_file(rows=2))).json()["data"]["check_id"]
    assert (await send(client, check_id, dry_run="true")).status_code == 202
    refused = await send(client, check_id)
    assert refused.status_code == 409
    assert "dry_run" in refused.json()["detail"]
    assert (await send(client, check_id, dry_run="true")).status_code == 202


async def test_two_requests_at_once_make_one_upload(client: httpx.AsyncClient) -> None:
    check_id = (await checked(client, csv_file(rows=2))).json()["data"]["check_id"]
    answers = await asyncio.gather(
        *(send(client, check_id, allow_duplicate="true") for _ in range(4))
    )
    assert [answer.status_code for answer in answers] == [202] * 4
    assert {answer.json()["data"]["job_id"] for answer in answers} == {check_id}


async def test_what_the_check_was_made_with_counts_when_it_is_sent(
    client: httpx.AsyncClient, system: System
) -> None:
    content = f"Lid,Firstname,Surname\n{id_number(1)},Thandi,Mokoena\n".encode()
    answer = await checked(client, content, columns='{"Lid": "id_number"}')
    check_id = answer.json()["data"]["check_id"]
    async with working(system):
        job_id = (await send(client, check_id)).json()["data"]["job_id"]
        await job_event(system.settings, job_id, "completed")


async def test_what_the_text_that_empties_a_field_does_is_said_and_done(
    client: httpx.AsyncClient, system: System
) -> None:
    content = (
        "ID Number,Firstname,Surname,Cell Number,Occupation\n"
        f"{id_number(1)},Thandi,Mokoena,0821234567,[empty]\n"
    ).encode()
    first = (await checked(client, content)).json()["data"]
    assert first["emptied"] == {}
    changed = await check_again(client, first["check_id"], empty_text="[empty]")
    assert changed.json()["data"]["emptied"] == {"occupation": 1}
    refused = await check_again(client, first["check_id"], empty_text="123")
    assert refused.status_code == 422
    async with working(system):
        job_id = (await send(client, first["check_id"])).json()["data"]["job_id"]
        await job_event(system.settings, job_id, "completed")
    status = (await client.get(f"{BASE}/status/{job_id}")).json()["data"]
    assert status["empty_text"] == "[empty]"


async def test_one_sender_has_so_many_checked_files_at_most(
    client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    most = settings.waiting_uploads_per_user
    async with system.pool.connection() as connection:
        await connection.execute(
            """INSERT INTO file_checks (id, owner_id, file_name, file_kind, file_bytes, file_sha256)
            SELECT gen_random_uuid(), (SELECT id FROM users WHERE NOT is_system), 'a', 'csv', 1, ''
            FROM generate_series(1, %s)""",
            [most],
        )
    refused = await checked(client, csv_file(rows=2))
    assert refused.status_code == 429
    assert await stored_keys(system) == []


async def test_a_wide_file_is_answered_whole_and_each_check_gets_its_own_answer(
    client: httpx.AsyncClient,
) -> None:
    """An answer that is read in part would be the beginning of the answer to the next check."""
    wide = ",".join(f"Column number {n} {'x' * 60}" for n in range(160))
    cells = ",".join("y" * 150 for _ in range(160))
    content = f"ID Number,Firstname,Surname,{wide}\n{id_number(1)},A,B,{cells}\n".encode()
    first = await checked(client, content, "wide.csv")
    assert len(first.json()["data"]["columns"]) == 163
    assert len(first.content) > 1 << 16
    second = await checked(client, csv_file(rows=3), "other.csv")
    assert second.json()["data"]["rows_expected"] == 3


async def test_columns_named_after_the_check_make_the_file_readable(
    client: httpx.AsyncClient, system: System
) -> None:
    rows = [f"{id_number(number)},Thandi,Mokoena" for number in range(10)]
    content = "\n".join(["Lid,Roepnaam,Van", *rows]).encode()
    answer = (await checked(client, content)).json()["data"]
    assert answer["missing"] == ["id_number", "firstname"]
    mapping = '{"Lid": "id_number", "Roepnaam": "firstname"}'
    async with working(system):
        job_id = (await send(client, answer["check_id"], columns=mapping)).json()["data"]["job_id"]
        await job_event(system.settings, job_id, "completed")
    status = (await client.get(f"{BASE}/status/{job_id}")).json()["data"]
    assert status["outcomes"]["inserted"] == 10


async def check_again(client: httpx.AsyncClient, check_id: str, **choices: Any) -> httpx.Response:
    return await client.post(f"{BASE}/check/{check_id}", json=choices)


async def test_a_checked_file_is_checked_again_with_other_choices_and_without_its_bytes(
    client: httpx.AsyncClient, system: System
) -> None:
    rows = [f"{id_number(number)},Thandi,Mokoena" for number in range(10)]
    content = "\n".join(["Lid,Roepnaam,Van", *rows]).encode()
    check_id = (await checked(client, content)).json()["data"]["check_id"]
    named = {"Lid": "id_number", "Roepnaam": "firstname"}
    answer = (await check_again(client, check_id, columns=named)).json()["data"]
    assert answer["check_id"] == check_id
    assert answer["missing"] == []
    fields = {column["header"]: column["field"] for column in answer["columns"]}
    assert fields == {**named, "Van": "surname"}
    # Choices that can't be used change nothing, and the file stays.
    for choices, said in (
        ({"columns": {"Lid": "shoe_size"}}, "no field"),
        ({"columns": {"Shoes": "id_number"}}, "no column"),
        ({"sheet": "\0"}, "sheet"),
    ):
        refused = await check_again(client, check_id, **choices)
        assert refused.status_code == 422
        assert said in str(refused.json())
    assert len(await stored_keys(system)) == 1
    # Without choices it is as at first.
    assert (await check_again(client, check_id)).json()["data"]["missing"] == [
        "id_number", "firstname",
    ]  # fmt: skip
    assert (await send(client, check_id)).status_code == 202
    assert (await check_again(client, check_id)).status_code == 404


async def test_a_file_that_cannot_be_read_is_not_kept(
    client: httpx.AsyncClient, system: System
) -> None:
    answer = await checked(client, b"ID Number,Firstname,Surname\n")
    assert answer.status_code == 422
    assert "no rows" in answer.json()["detail"]
    assert await stored_keys(system) == []


async def test_a_file_that_was_sent_before_is_named_and_kept_only_if_allowed(
    client: httpx.AsyncClient, system: System
) -> None:
    content = csv_file(rows=2)
    first = await client.post(f"{BASE}/process", files={"file": ("a.csv", content)})
    refused = await checked(client, content)
    assert refused.status_code == 409
    assert refused.json()["job_id"] == first.json()["data"]["job_id"]
    assert len(await stored_keys(system)) == 1
    allowed = await checked(client, content, allow_duplicate="true")
    check_id = allowed.json()["data"]["check_id"]
    # Refused as a repeat, the checked file stays, and can be sent as one on purpose.
    assert (await send(client, check_id)).status_code == 409
    assert (await send(client, check_id, allow_duplicate="true")).status_code == 202


async def test_only_its_sender_can_send_a_checked_file(
    client: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    answer = (await checked(client, csv_file(rows=2))).json()["data"]
    other = await make_user(Role.NATIONAL_ADMIN)
    client.headers["Authorization"] = f"Bearer {issue_token(settings, other)}"
    refused = await send(client, answer["check_id"])
    assert refused.status_code == 404
    assert (await check_again(client, answer["check_id"])).status_code == 404
    assert (await send(client, str(uuid4()))).status_code == 404
    assert (await send(client, "nonsense")).status_code == 422


async def test_a_file_and_a_check_together_are_refused(
    client: httpx.AsyncClient, system: System
) -> None:
    answer = await client.post(
        f"{BASE}/process",
        files={"file": ("a.csv", csv_file(rows=1))},
        data={"check_id": str(uuid4())},
    )
    assert answer.status_code == 422
    assert "Send one of them" in answer.json()["detail"]
    assert await stored_keys(system) == []


async def test_what_nobody_sends_is_removed_after_its_time(
    client: httpx.AsyncClient, system: System
) -> None:
    check_id = (await checked(client, csv_file(rows=2))).json()["data"]["check_id"]
    assert await checks.remove_unused(system) == 0
    async with system.pool.connection() as connection:
        await connection.execute("UPDATE file_checks SET used_at = now() - interval '2 hours'")
    assert await checks.remove_unused(system) == 1
    assert await stored_keys(system) == []
    assert (await send(client, check_id)).status_code == 404


async def test_the_time_begins_again_when_the_file_is_sent(
    client: httpx.AsyncClient, system: System
) -> None:
    """A file on its way from check to upload must not be removed under its upload."""
    check_id = (await checked(client, csv_file(rows=2))).json()["data"]["check_id"]
    async with system.pool.connection() as connection:
        await connection.execute("UPDATE file_checks SET used_at = now() - interval '2 hours'")
    assert (await send(client, check_id, existing="nonsense")).status_code == 422
    assert (await send(client, check_id)).status_code == 202
    async with system.pool.connection() as connection:
        await connection.execute("UPDATE file_checks SET used_at = now() - interval '2 hours'")
    assert await checks.remove_unused(system) == 0
    assert len(await stored_keys(system)) == 1


async def test_a_check_that_takes_too_long_lets_the_file_be_sent(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def given_up(*_: Any) -> None:
        return None

    monkeypatch.setattr("rollbook.worker.checks.Checker.check", given_up)
    answer = (await checked(client, csv_file([member(1)]))).json()["data"]
    assert answer["is_checked"] is False
    assert answer["columns"] == []
    assert (await send(client, answer["check_id"])).status_code == 202
