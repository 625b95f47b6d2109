"""Sending a file by parts: tus 1.0 (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from rollbook.accounts.users import issue_token
from rollbook.model import Role, User
from rollbook.uploads import checks, partial, receive
from tests.files import csv_file
from tests.integration.worker.test_worker import working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"
TUS = {"Tus-Resumable": "1.0.0"}
PARTS = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a limit that is soon reached."""
    return settings.model_copy(update={"waiting_uploads_per_user": 10})


@pytest.fixture
async def user(make_user: MakeUser) -> User:
    return await make_user(Role.PROVINCE_ADMIN, "GP")


@pytest.fixture
def client(api: httpx.AsyncClient, settings: Settings, user: User) -> httpx.AsyncClient:
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    return api


async def begin(
    client: httpx.AsyncClient, size: int, name: str = "members.csv", **more: str
) -> httpx.Response:
    encoded = base64.b64encode(name.encode()).decode()
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": f"filename {encoded}", **more}
    return await client.post(f"{BASE}/files", headers=headers)


def address(began: httpx.Response) -> str:
    """Where the parts go, as a client finds it."""
    assert began.status_code == 201, began.text
    return str(began.request.url.join(began.headers["Location"]).path)


async def add(
    client: httpx.AsyncClient, where: str, content: bytes, offset: int, **more: str
) -> httpx.Response:
    headers = {**PARTS, "Upload-Offset": str(offset), **more}
    return await client.patch(where, content=content, headers=headers)


async def offset_of(client: httpx.AsyncClient, where: str) -> int:
    answer = await client.head(where, headers=TUS)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    return int(answer.headers["Upload-Offset"])


async def once(content: bytes) -> AsyncIterator[bytes]:
    """The body of a request that comes in one piece."""
    yield content


async def stored_keys(system: System) -> list[str]:
    return [stored.key async for stored in system.store.each()]


async def test_a_file_in_three_parts_is_checked_and_processed_as_one(
    client: httpx.AsyncClient, system: System
) -> None:
    content = csv_file(rows=30)
    where = address(await begin(client, len(content)))
    third = len(content) // 3
    for at in (0, third, 2 * third):
        assert await offset_of(client, where) == at
        end = len(content) if at == 2 * third else at + third
        added = await add(client, where, content[at:end], at)
        assert (added.status_code, added.headers["Upload-Offset"]) == (204, str(end))
    assert await offset_of(client, where) == len(content)
    check_id = where.rpartition("/")[2]
    assert await stored_keys(system) == [f"{check_id}/source.csv"]
    found = (await client.post(f"{BASE}/check/{check_id}", json={})).json()["data"]
    assert (found["file_name"], found["rows_expected"]) == ("members.csv", 30)
    async with working(system):
        form = {"check_id": (None, check_id)}
        sent = await client.post(f"{BASE}/process", files=form)
        assert sent.status_code == 202
        await job_event(system.settings, check_id, "completed")
    status = (await client.get(f"{BASE}/status/{check_id}")).json()["data"]
    assert status["outcomes"]["inserted"] == 30


async def test_what_came_in_before_the_line_was_cut_is_kept(
    client: httpx.AsyncClient, system: System, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "PART_BYTES", 1000)
    content = csv_file(rows=50)

    async def cut() -> AsyncIterator[bytes]:
        yield content[:1500]
        yield content[1500:2300]

    file = await partial.create(system, user, "members.csv", len(content))
    added = await partial.append(system, user, file.id, cut(), offset=0)
    assert added.received == 2300
    where = f"{BASE}/files/{file.id}"
    # A client that didn't hear of it goes on from where it believes to be, and is corrected.
    assert (await add(client, where, content[1000:], 1000)).status_code == 409
    assert await offset_of(client, where) == 2300
    assert (await add(client, where, content[2300:], 2300)).status_code == 204
    _, chunks = await system.store.open(f"{file.id}/source.csv")
    assert b"".join([bytes(chunk) async for chunk in chunks]) == content


async def test_bytes_that_changed_on_their_way_are_not_kept(
    client: httpx.AsyncClient, system: System
) -> None:
    content = csv_file(rows=5)
    where = address(await begin(client, len(content)))
    for name in ("sha1", "sha256", "md5"):
        digest = base64.b64encode(hashlib.new(name, content).digest()).decode()
        changed = await add(
            client, where, content[::-1], 0, **{"Upload-Checksum": f"{name} {digest}"}
        )
        assert changed.status_code == 460
        assert "send it again" in changed.json()["message"]
        assert await offset_of(client, where) == 0
        assert await stored_keys(system) == []
    for wrong in ("crc32 AAAA", "sha1 not base64", "sha1"):
        refused = await add(client, where, content, 0, **{"Upload-Checksum": wrong})
        assert refused.status_code in {400, 460}
    added = await add(client, where, content, 0, **{"Upload-Checksum": f"md5 {digest}"})
    assert added.status_code == 204


async def test_a_file_that_comes_with_its_creation(client: httpx.AsyncClient) -> None:
    content = csv_file(rows=2)
    name = base64.b64encode(b"members.csv").decode()
    headers = {**PARTS, "Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name}"}
    began = await client.post(f"{BASE}/files", content=content, headers=headers)
    assert began.headers["Upload-Offset"] == str(len(content))
    assert await offset_of(client, address(began)) == len(content)


async def test_what_can_not_become_an_upload_is_refused_before_a_byte_is_sent(
    client: httpx.AsyncClient,
) -> None:
    for name, size, status, said in (
        ("members.pdf", 10, 415, "spreadsheet"),
        ("members.csv", 0, 422, "empty"),
        ("members.csv", 10**12, 413, "larger than"),
        ("", 10, 422, "filename"),
    ):
        refused = await begin(client, size, name)
        assert refused.status_code == status, (name, size)
        assert said in refused.json()["message"], (name, size)


async def test_content_that_is_no_spreadsheet_leaves_nothing(
    client: httpx.AsyncClient, system: System
) -> None:
    where = address(await begin(client, 8, "members.xlsx"))
    await add(client, where, b"%PDF", 0)
    refused = await add(client, where, b"-1.4", 4)
    assert refused.status_code == 415
    assert (await client.head(where, headers=TUS)).status_code == 404
    assert await stored_keys(system) == []


async def test_more_than_was_announced_is_refused(client: httpx.AsyncClient) -> None:
    where = address(await begin(client, 10))
    refused = await add(client, where, b"x" * 11, 0)
    assert refused.status_code == 413
    assert await offset_of(client, where) == 0


async def test_a_file_that_came_before_is_said_when_it_is_checked(
    client: httpx.AsyncClient,
) -> None:
    content = csv_file(rows=2)
    files = {"file": ("earlier.csv", content)}
    earlier = (await client.post(f"{BASE}/process", files=files)).json()["data"]["job_id"]
    where = address(await begin(client, len(content)))
    assert (await add(client, where, content, 0)).status_code == 204
    check = f"{BASE}/check/{where.rpartition('/')[2]}"
    said = await client.post(check, json={"allow_duplicate": False})
    assert (said.status_code, said.json()["job_id"]) == (409, earlier)
    assert (await client.post(check, json={})).status_code == 200  # it needn't be sent again


async def test_a_file_is_its_senders(
    client: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    where = address(await begin(client, 100))
    other = await make_user(Role.PROVINCE_ADMIN, "GP")
    foreign = {"Authorization": f"Bearer {issue_token(settings, other)}"}
    assert (await client.head(where, headers={**TUS, **foreign})).status_code == 404
    assert (await add(client, where, b"x", 0, **foreign)).status_code == 404
    assert (await client.delete(where, headers={**TUS, **foreign})).status_code == 404
    assert (await client.delete(where, headers=TUS)).status_code == 204
    assert (await client.head(where, headers=TUS)).status_code == 404


async def test_another_version_of_the_protocol_is_refused(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Tus-Resumable": "0.2.2"}):
        refused = await client.head(f"{BASE}/files/{uuid4()}", headers=headers)
        assert (refused.status_code, refused.headers["Tus-Version"]) == (412, "1.0.0")
    options = await client.options(f"{BASE}/files")
    assert options.headers["Tus-Version"] == "1.0.0"
    assert "creation" in options.headers["Tus-Extension"].split(",")


async def test_files_that_nobody_finishes_are_limited_and_removed(
    client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    most = settings.waiting_uploads_per_user
    where = address(await begin(client, 100))
    await add(client, where, b"Surname,", 0)
    for _ in range(most - 1):
        assert (await begin(client, 100)).status_code == 201
    assert (await begin(client, 100)).status_code == 429
    assert len(await stored_keys(system)) == 1
    assert await partial.remove_expired(system) == 0
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE partial_files SET created_at = now() - interval '13 hours'"
        )
    assert await partial.remove_expired(system) == most
    assert await stored_keys(system) == []
    assert (await begin(client, 100)).status_code == 201


async def test_a_file_whose_parts_are_being_joined_is_neither_expired_nor_withdrawn(
    client: httpx.AsyncClient, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender would be told, after all of it came, that a part is no longer there."""
    content = csv_file(rows=2)
    where = address(await begin(client, len(content)))
    assert (await add(client, where, content[:50], 0)).status_code == 204
    store_file = receive.store_file
    removed: list[int] = []

    async def meanwhile(*given: Any, **named: Any) -> receive.StoredFile:
        async with system.pool.connection() as connection:
            await connection.execute(
                "UPDATE partial_files SET created_at = now() - interval '13 hours'"
            )
        removed.append(await partial.remove_expired(system))
        assert (await client.delete(where, headers=TUS)).status_code == 423
        return await store_file(*given, **named)

    monkeypatch.setattr(receive, "store_file", meanwhile)
    assert (await add(client, where, content[50:], 50)).status_code == 204
    assert removed == [0]
    assert await offset_of(client, where) == len(content)


async def test_a_finished_file_whose_answer_was_lost_is_not_sent_again(
    client: httpx.AsyncClient,
) -> None:
    content = csv_file(rows=2)
    where = address(await begin(client, len(content)))
    assert (await add(client, where, content, 0)).status_code == 204
    assert (await add(client, where, content, 0)).status_code == 409
    assert await offset_of(client, where) == len(content)
    assert (await add(client, where, b"", len(content))).status_code == 204


async def test_a_lost_answer_of_a_commit_costs_no_part(
    client: httpx.AsyncClient, system: System, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = csv_file(rows=50)
    file = await partial.create(system, user, "members.csv", len(content))
    extend = partial._extend

    async def committed_and_cut(*given: Any) -> None:
        await extend(*given)
        raise psycopg.OperationalError("the line was cut")

    monkeypatch.setattr(partial, "_extend", committed_and_cut)
    with pytest.raises(psycopg.OperationalError):
        await partial.append(system, user, file.id, once(content[:1000]), offset=0)
    monkeypatch.setattr(partial, "_extend", extend)
    where = f"{BASE}/files/{file.id}"
    assert await offset_of(client, where) == 1000
    add_check = checks.add

    async def added_and_cut(*given: Any) -> None:
        await add_check(*given)
        raise psycopg.OperationalError("the line was cut")

    monkeypatch.setattr(checks, "add", added_and_cut)
    with pytest.raises(psycopg.OperationalError):
        await partial.append(system, user, file.id, once(content[1000:]), offset=1000)
    assert await offset_of(client, where) == len(content)
    assert (await client.post(f"{BASE}/check/{file.id}", json={})).status_code == 200


async def test_a_part_that_the_store_lost_lets_the_file_begin_again(
    client: httpx.AsyncClient, system: System
) -> None:
    content = csv_file(rows=2)
    where = address(await begin(client, len(content)))
    await add(client, where, content[:50], 0)
    for key in await stored_keys(system):
        await system.store.remove(key)
    lost = await add(client, where, content[50:], 50)
    assert (lost.status_code, "from its beginning" in lost.json()["message"]) == (404, True)
    assert (await client.head(where, headers=TUS)).status_code == 404
    assert await stored_keys(system) == []


async def test_a_crash_while_the_parts_are_joined_ends_with_its_claim(
    client: httpx.AsyncClient, system: System
) -> None:
    content = csv_file(rows=20)
    where = address(await begin(client, len(content)))
    await add(client, where, content[:50], 0)
    async with system.pool.connection() as connection:
        await connection.execute("UPDATE partial_files SET joining_until = now() + interval '1 h'")
    assert (await add(client, where, content[50:], 50)).status_code == 423
    async with system.pool.connection() as connection:
        await connection.execute("UPDATE partial_files SET joining_until = now() - interval '1 s'")
    assert (await add(client, where, content[50:90], 50)).status_code == 204
    assert (await add(client, where, content[90:], 90)).status_code == 204
