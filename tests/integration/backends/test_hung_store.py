"""A store on a share that hangs: every step comes to its end, and the event loop goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from rollbook.backends import files
from rollbook.backends.files import DISK_CALLS, FileStore, source_key
from rollbook.errors import ConfigurationError, ServiceUnavailableError
from rollbook.service import doctor_store
from tests.hung_share import hung
from tests.integration.folder.watching import until
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rollbook.config import Settings

#: Seconds that the store gets while it hangs.
ANSWER_S = 0.3


async def content() -> AsyncIterator[bytes]:
    yield b"some bytes"


async def all_of(answers: AsyncIterator[Any]) -> list[Any]:
    return [answer async for answer in answers]


@pytest.mark.parametrize("is_proven", [True, False])
async def test_no_step_waits_for_ever_and_all_goes_on_when_the_share_answers(
    tmp_path: Path, *, is_proven: bool
) -> None:
    store, patient = FileStore(tmp_path.as_uri(), answer_s=ANSWER_S), FileStore(tmp_path.as_uri())
    installation, key, other = uuid4(), source_key(uuid4(), "csv"), source_key(uuid4(), "csv")
    await patient.say_installation(installation)
    await patient.receive(key, content())
    if is_proven:
        store.expect(installation)
    now = dt.datetime.now(dt.UTC)
    async with asyncio.timeout(PATIENCE_S):
        with hung(tmp_path):
            ends = await asyncio.gather(
                store.receive(other, content()),
                store.open(key),
                store.copy(key, other),
                store.remove(key),
                store.has(key),
                store.check(),
                store.now(),
                store.installations(),
                store.say_installation(installation),
                store.remove_empty(now),
                all_of(store.each()),
                all_of(store.remove_all([key])),
                return_exceptions=True,
            )
            assert [type(end) for end in ends] == [ServiceUnavailableError] * len(ends)
            assert await asyncio.to_thread(lambda: "free") == "free"
        await until(lambda: not DISK_CALLS.late)
        await patient.receive(other, content())
        assert {file.key for file in await all_of(patient.each())} == {key, other}
        size, chunks = await patient.open(other)
        assert b"".join(await all_of(chunks)) == b"some bytes"
        assert size == len(b"some bytes")


async def test_a_share_that_hangs_from_the_start_is_said_and_is_used_when_it_answers(
    settings: Settings, tmp_path: Path
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    settings = settings.model_copy(update={"store_url": share.as_uri(), "store_answer_s": ANSWER_S})
    async with asyncio.timeout(PATIENCE_S):
        with hung(share):
            store = FileStore.of(settings)
            with pytest.raises(ServiceUnavailableError, match="doesn't answer"):
                await store.receive(source_key(uuid4(), "csv"), content())
            [finding] = await doctor_store.store_findings(settings, None)
            assert (finding.level, "Mount it again" in finding.remedy) == ("error", True)
        await until(lambda: not DISK_CALLS.late)
        await store.receive(source_key(uuid4(), "csv"), content())
        [finding] = await doctor_store.store_findings(settings, None)
        assert finding.level == "ok"


@pytest.mark.parametrize(
    "url", ["file:srv/store", "file://host/srv/store", "file:///srv/store?a=b", "file:///srv/a#b"]
)
def test_an_address_of_no_folder_of_this_machine_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="names no folder of this machine"):
        FileStore(url)


async def test_the_bound_is_for_the_store_and_not_for_who_sends() -> None:
    seen: list[float | None] = []

    async def sender() -> AsyncIterator[bytes]:
        for part in (b"first", b"second"):
            seen.append(bound.when())
            yield part

    async with asyncio.timeout(PATIENCE_S) as bound:
        async for _ in files._timed(sender(), bound, PATIENCE_S):
            assert bound.when() is not None
        assert bound.when() is not None
    assert seen == [None, None]
