"""Redis or Valkey of the operator's own: behind Sentinels, with TLS, and through a failover."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from rollbook.backends.redis import make_client
from rollbook.config import Settings
from rollbook.errors import ConfigurationError, ServiceUnavailableError
from rollbook.queue.subscriber import Subscriber
from rollbook.queue.uploads import UploadQueue
from rollbook.service.system import open_system
from tests.files import csv_file, members
from tests.integration.backends.sentinels import PASSWORD, SENTINEL_PASSWORD, Watched, tls_program
from tests.integration.worker.test_worker import sent, working
from tests.ports import free_port
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from rollbook.model import User
    from rollbook.queue.subscriber import QueueEvent

NO_TLS = "no Redis with TLS here (Debian: apt-get install redis-tools)"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server, its replica and three Sentinels."""
    with Watched(tmp_path_factory.mktemp("plain"), tls=False) as started:
        yield started


@pytest.fixture(scope="module")
def with_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The same with TLS between all of them."""
    if tls_program() is None:
        pytest.skip(NO_TLS)
    with Watched(tmp_path_factory.mktemp("tls"), tls=True) as started:
        yield started


@pytest.fixture(params=["plain", "with_tls"])
def watched(request: pytest.FixtureRequest) -> Watched:
    """Either."""
    found: Watched = request.getfixturevalue(request.param)
    return found


def pointed_at(watched: Watched, **more: Any) -> dict[str, Any]:
    """The settings by which an operator names the Sentinels."""
    nodes = ",".join(f"127.0.0.1:{node.port}" for node in watched.sentinels)
    return {
        "redis_url": None,
        # The first is nobody's: a Sentinel may be down.
        "redis_sentinels": f"127.0.0.1:{free_port()}, {nodes}",
        "redis_sentinel_master": "members",
        "redis_sentinel_password": SecretStr(SENTINEL_PASSWORD),
        "redis_password": SecretStr(PASSWORD),
        "redis_tls": watched.tls,
        "redis_ca_file": watched.ca_file if watched.tls else None,
        **more,
    }


async def test_the_queue_goes_on_with_the_server_that_takes_over(
    watched: Watched,
    settings: Settings,
    make_user: Callable[..., Awaitable[User]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All Sentinels live; on a busy machine each may be slow.
    monkeypatch.setattr("rollbook.backends.redis.SENTINEL_ANSWER_S", PATIENCE_S)
    named = settings.model_copy(update=pointed_at(watched))
    user = await make_user()
    ended: dict[str, str] = {}
    heard = asyncio.Event()

    def listen(event: QueueEvent) -> None:
        if event.name in ("completed", "failed"):
            ended[event.job_id] = event.name
            heard.set()

    async def has_ended(upload_id: UUID) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while str(upload_id) not in ended:
                await heard.wait()
                heard.clear()
        return ended[str(upload_id)]

    subscriber = Subscriber(named)
    subscriber.listen(listen)
    async with open_system(named) as system, subscriber.running():
        async with asyncio.timeout(PATIENCE_S):
            await subscriber.reading.wait()
        async with working(system):
            first = await sent(system, user, csv_file(members(2)))
            assert await has_ended(first) == "completed"
            await system.queue.pause()
            before = await sent(system, user, csv_file(members(2, start=10)))
            await asyncio.to_thread(watched.replicated)
            await asyncio.to_thread(watched.fail, signal.SIGKILL)
            await _resumed(system.queue)
            # It was added to the server that is gone; the worker and the listener were at it too.
            assert await has_ended(before) == "completed"
            after = await sent(system, user, csv_file(members(2, start=20)))
            assert await has_ended(after) == "completed"


async def _resumed(queue: UploadQueue) -> None:
    """Resume, as soon as the new server answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await queue.resume()
            except ServiceUnavailableError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_certificate_of_somebody_unknown_is_refused(with_tls: Watched) -> None:
    settings = Settings(_env_file=None, **pointed_at(with_tls, redis_ca_file=None))
    async with make_client(settings.redis_address) as client:
        with pytest.raises(ServiceUnavailableError):
            await UploadQueue(settings, client).ping()


async def test_one_server_with_tls_needs_no_sentinel(with_tls: Watched) -> None:
    port = with_tls.master.port
    for given in (
        {"redis_host": "127.0.0.1", "redis_port": port, "redis_tls": True,
         "redis_password": SecretStr(PASSWORD)},
        {"redis_url": SecretStr(f"rediss://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/0")},
    ):  # fmt: skip
        settings = Settings(_env_file=None, redis_ca_file=with_tls.ca_file, **given)
        async with make_client(settings.redis_address) as client:
            await UploadQueue(settings, client).ping()


@pytest.mark.parametrize(
    "address",
    ["redis+sentinel:///0", "redis+sentinel://a:port/0", "http://redis.example.org", "redis.host"],
)
def test_an_address_that_cannot_be_one_is_a_sentence(address: str) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        make_client(address)
