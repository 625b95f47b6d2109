"""The files in an S3 store: the whole way, large ones in parts, and the store away."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING
from uuid import uuid4

import fastexcel
import httpx
import pytest

from rollbook import clock
from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.files import FileStore
from rollbook.backends.store import PART_BYTES
from rollbook.errors import ServiceUnavailableError, WrongStoreError
from rollbook.service.doctor_store import store_findings
from rollbook.service.system import open_system
from rollbook.uploads import control, lookup
from tests.files import member, members, workbook
from tests.integration.backends.object_store import BUCKET, Door, opened, s3_server
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, sent, working
from tests.waiting import PATIENCE_S, job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User

    MakeUser = Callable[..., Awaitable[User]]

API = "/api/v1/bulk-upload"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture
async def door(s3: int) -> AsyncIterator[Door]:
    """A proxy in front of it; the environment points there, as an operator's would."""
    async with opened(Door(s3)) as door:
        yield door


@pytest.fixture
def in_s3(settings: Settings, door: Door) -> Settings:  # noqa: ARG001 - it sets the environment
    """Settings whose store is a folder of the bucket."""
    url = f"s3://{BUCKET}/rollbook/files"
    changes = {"store_url": url, "store_allow_http": True, "store_retry_s": 0.2}
    return settings.model_copy(update=changes)


def keys(s3: int) -> set[str]:
    listing = httpx.get(f"http://127.0.0.1:{s3}/{BUCKET}?list-type=2", timeout=PATIENCE_S).text
    return set(re.findall(r"<Key>([^<]+)</Key>", listing))


async def test_an_upload_goes_its_whole_way_through_the_bucket(
    in_s3: Settings, s3: int, make_user: MakeUser
) -> None:
    user = await make_user()
    content = workbook([*members(3), member(9, **{"ID Number": "12"})])
    app = create_app(in_s3)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://test",
            headers={"Authorization": f"Bearer {issue_token(in_s3, user)}"},
        ) as api,
        working(app.state.system),
    ):
        answer = await api.post(f"{API}/process", files={"file": ("members.xlsx", content)})
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["data"]["job_id"]
        assert await job_event(in_s3, job_id, "completed", "failed") == "completed"
        report = await api.get(f"{API}/report/{job_id}")
        refused = await api.get(f"{API}/failed-rows/{job_id}")
    assert fastexcel.read_excel(report.content).load_sheet("All Uploaded Rows").height == 4
    assert fastexcel.read_excel(refused.content).load_sheet(0).height == 1
    # The source went with the merge, and nothing lies outside of the folder.
    place = f"rollbook/files/{job_id}"
    kept = {key for key in keys(s3) if job_id in key}
    assert kept == {f"{place}/{name}-1.{kind}" for name, kind in (
        ("report", "xlsx"), ("refused", "xlsx"),
    )}  # fmt: skip


@pytest.mark.parametrize(("status", "says"), [("Enabled", True), ("Suspended", False)])
async def test_the_doctor_says_that_a_bucket_keeps_what_is_removed(
    status: str, says: bool, in_s3: Settings, s3: int
) -> None:
    address = f"http://127.0.0.1:{s3}/versions-{status.lower()}"
    setting = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        (await client.put(address)).raise_for_status()
        (await client.put(f"{address}?versioning", content=setting)).raise_for_status()
    changes = {"store_url": f"s3://versions-{status.lower()}/files"}
    found = await store_findings(in_s3.model_copy(update=changes), None)
    assert [one.check for one in found if one.level == "warning"] == ["versions"] * says


async def test_a_bucket_that_is_not_there_is_a_store_that_is_not_there(
    in_s3: Settings, tmp_path: Path
) -> None:
    gone = in_s3.model_copy(update={"store_url": "s3://no-such-bucket/files"})
    store = FileStore.of(gone)
    (tmp_path / "report").write_bytes(b"x")
    with pytest.raises(WrongStoreError):
        await asyncio.to_thread(store.put, "report", tmp_path / "report")
    with pytest.raises(WrongStoreError):
        await store.say_installation(uuid4())
    with pytest.raises(WrongStoreError):
        await store.now()
    [found] = await store_findings(gone, None)
    assert "Make the bucket" in found.remedy


async def test_a_large_file_goes_in_parts_and_a_broken_one_leaves_nothing(
    in_s3: Settings, s3: int
) -> None:
    store = FileStore.of(in_s3)
    block = bytes(range(256)) * 4096
    blocks = 2 * PART_BYTES // len(block) + 1

    async def chunks(*, breaks: bool) -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield block
        if breaks:
            raise ConnectionResetError("the sender went away")

    await store.receive("large/source.csv", chunks(breaks=False))
    size, content = await store.open("large/source.csv")
    digest = hashlib.sha256()
    async for chunk in content:
        digest.update(chunk)
    assert size == blocks * len(block)
    assert digest.digest() == hashlib.sha256(block * blocks).digest()
    # An object in parts says how many it has.
    whole = f"http://127.0.0.1:{s3}/{BUCKET}/rollbook/files/large/source.csv"
    head = await asyncio.to_thread(httpx.head, whole, timeout=PATIENCE_S)
    assert head.headers["etag"].strip('"').endswith("-3")
    with pytest.raises((ConnectionResetError, ServiceUnavailableError)):
        await store.receive("broken/source.csv", chunks(breaks=True))
    assert not any("broken" in key for key in keys(s3))
    uploads = f"http://127.0.0.1:{s3}/{BUCKET}?uploads"
    begun = await asyncio.to_thread(httpx.get, uploads, timeout=PATIENCE_S)
    assert "broken" not in begun.text


async def test_a_store_that_is_away_costs_no_attempt_and_is_said(
    in_s3: Settings, door: Door, make_user: MakeUser
) -> None:
    user = await make_user()
    patient = in_s3.model_copy(update={"backoff_ms": 600_000})
    app = create_app(in_s3)
    async with (
        open_system(patient) as system,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as api,
    ):
        async with working(system) as worker:
            await until(worker.fitness.is_fit)
            await control.pause(system, by=user)
            upload_id = await sent(system, user, workbook(members(5)), "members.xlsx")
            await door.shut()
            await control.resume(system, by=user)
            await job_event(in_s3, upload_id, "delayed")
        waiting = await lookup.get(system, user, upload_id)
        assert (waiting["status"], waiting["error_code"]) == ("pending", "service_unavailable")
        ready = await api.get("/readyz")
        assert (ready.status_code, ready.json()["store"]) == (503, "not reachable")
        with pytest.raises(ServiceUnavailableError):
            await sent(system, user, workbook(members(5, start=50)), "more.xlsx")
        await door.open()
        assert (await api.get("/readyz")).status_code == 200
        assert await system.queue.promote_later_than(clock.now(), [upload_id]) == 1
        async with working(system):
            done = await ended(system, user, upload_id)
        assert (done["status"], done["inserted"]) == ("completed", 5)
        assert done["attempt"] - done["attempts_before"] == 1


async def test_what_the_bucket_does_not_let_us_do_is_not_taken_for_an_empty_store(
    in_s3: Settings,
) -> None:
    other = in_s3.model_copy(update={"store_url": "s3://no-such-bucket-here"})
    store = FileStore.of(other)
    with pytest.raises(ServiceUnavailableError):
        _ = [stored async for stored in store.each()]


def test_without_tls_an_object_store_is_refused_unless_it_was_allowed(
    in_s3: Settings, tmp_path: Path
) -> None:
    store = FileStore.of(in_s3.model_copy(update={"store_allow_http": False}))
    with pytest.raises(ServiceUnavailableError):
        store.fetch("a/source.csv", tmp_path / "copy")
