"""One trial: an API process, a worker, a crowd of clients, and uploads that run meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import time
from array import array
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import redis
from benchmarks.queue.environments import ROOT
from tests.files import csv_file, member

from rollbook.accounts.users import add as add_user
from rollbook.accounts.users import issue_token
from rollbook.backends import schema
from rollbook.config import Settings, environment_for
from rollbook.live.messages import seq_of
from rollbook.model import Role, Scope, User
from rollbook.service.system import open_system
from rollbook.uploads import receive
from rollbook.uploads.options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from rollbook.service.system import System

PROVINCES = ("EC", "FS", "GP", "KZN", "LP", "MP", "NC", "NW", "WC")
PASSWORD = "a long enough password"  # noqa: S105 - of accounts that nobody keeps
PATIENCE_S = 300
#: Events of the queue's stream that become messages.
TOLD = {"waiting", "delayed", "progress", "ended"}


@dataclass(frozen=True, slots=True)
class Setup:
    """What is tried."""

    clients: int
    uploads: int
    rows: int
    #: Uploads that one worker runs at a time.
    at_once: int
    #: Do all clients get everything, or nine of ten their own province's messages?
    hears_all: bool
    #: The cores of the API process, and of all others.
    api_cores: list[int]
    other_cores: list[int]


@dataclass(slots=True)
class Outcome:
    """What a trial found."""

    seconds: float
    #: Events that happened, and how many times one was delivered.
    events: int
    deliveries: int
    #: Clients that didn't receive exactly the events of their scope, once and in order.
    wrong: int
    lost_lines: int
    #: Memory of the API process, bytes: before the clients came, with them, and at the end.
    rss: tuple[int, int, int]
    #: Processor time of the API process, seconds.
    cpu_s: float
    server_ms: list[float] = field(repr=False)
    client_ms: list[float] = field(repr=False)


def run(folder: Path, settings: Settings, setup: Setup) -> Outcome:
    """Run a trial in an empty database and an empty Redis."""
    settings = settings.model_copy(update={"port": _free_port(), "concurrency": setup.at_once})
    schema.migrate(settings.database_address)
    users = asyncio.run(_users(settings))
    senders = [users[None], *(users[p] for p in PROVINCES)]
    everybody = senders[:1] if setup.hears_all else senders
    listeners = [everybody[number % len(everybody)] for number in range(setup.clients)]
    files = [
        (sender, _file(setup.rows, number, sender.scope.province))
        for number, sender in zip(range(setup.uploads), itertools.cycle(senders), strict=False)
    ]
    others = setup.other_cores
    environment = environment_for(settings) | {
        "PYTHONPATH": str(ROOT), "BENCH_LAGS": str(folder / "lags"),
        "ROLLBOOK_LIVE_LINES_PER_USER": str(setup.clients),  # few users stand for many
    }  # fmt: skip
    with (
        _process(folder, environment, "benchmarks.live.server", cores=setup.api_cores) as server,
        _process(folder, environment, "rollbook", "worker", niceness=10, cores=others),
        _process(folder, environment, "benchmarks.live.crowd", talks=True, cores=others) as crowd,
    ):
        _until_ready(settings)
        api = psutil.Process(server.pid)
        assert api.cpu_affinity() == setup.api_cores
        before = api.memory_info().rss
        tokens = [issue_token(settings, user) for user in listeners]
        _say(crowd, {"host": "127.0.0.1", "port": settings.port, "tokens": tokens})
        assert _heard(crowd) == "ready"
        with_clients = api.memory_info().rss
        began, cpu = time.monotonic(), _cpu(api)
        places = asyncio.run(_send(settings, files))
        seconds = time.monotonic() - began
        cpu = _cpu(api) - cpu
        time.sleep(2)  # what is on its way arrives; nothing is asked for that could be waited for
        _say(crowd, "stop")
        told = json.loads(_heard(crowd))
        after = api.memory_info().rss
    happened = _happened(settings)
    lags = array("f")
    lags.frombytes((folder / "lags").read_bytes())
    wrong = sum(
        client["seqs"] != _expected(happened, places, user.scope, client["since"])
        for client, user in zip(told, listeners, strict=True)
    )
    return Outcome(
        seconds=seconds,
        events=len(happened),
        deliveries=sum(len(client["seqs"]) for client in told),
        wrong=wrong,
        lost_lines=sum(client["is_lost"] for client in told),
        rss=(before, with_clients, after),
        cpu_s=cpu,
        server_ms=list(lags),
        client_ms=[lag for client in told for lag in client["lags"]],
    )


def _expected(
    happened: list[tuple[int, str]], places: dict[str, Scope], scope: Scope, since: int
) -> list[int]:
    """From Redis's own stream: what a listener of this scope should receive."""
    return [seq for seq, job_id in happened if seq > since and scope.includes(places[job_id])]


def _happened(settings: Settings) -> list[tuple[int, str]]:
    with redis.Redis.from_url(settings.redis_address, decode_responses=True) as client:
        entries: Any = client.xrange(f"bull:{settings.queue_name}:events")
    return [
        (seq_of(entry_id), fields["jobId"])
        for entry_id, fields in entries
        if fields["event"] in TOLD
    ]


async def _users(settings: Settings) -> dict[str | None, User]:
    users: dict[str | None, User] = {}
    async with open_system(settings) as system:
        for place in (None, *PROVINCES):
            role = Role.SUPER_ADMIN if place is None else Role.PROVINCE_ADMIN
            users[place] = await add_user(
                system.pool,
                email=f"{place or 'national'}@example.org",
                password=PASSWORD,
                role=role,
                scope=Scope(place),
            )
    return users


async def _send(settings: Settings, files: list[tuple[User, bytes]]) -> dict[str, Scope]:
    """Send all files at once, and wait until all of them have ended."""
    async with open_system(settings) as system:
        places = {await _sent(system, user, content): user.scope for user, content in files}
        async with asyncio.timeout(PATIENCE_S):
            while await _open(system):  # noqa: ASYNC110 - other processes work on them
                await asyncio.sleep(0.2)
    return places


def _file(rows: int, number: int, place: str | None) -> bytes:
    """Members of a place whom no other file has."""
    province = place or PROVINCES[number % len(PROVINCES)]
    people = (member(number * rows + n, Province=province) for n in range(rows))
    return csv_file(people, headers=("ID Number", "Firstname", "Surname", "Province"))


async def _sent(system: System, user: User, content: bytes) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    stored = await receive.store_file(system, "members.csv", chunks())
    return str((await receive.record(system, user, stored, Options()))["id"])


async def _open(system: System) -> int:
    async with system.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) AS left FROM uploads WHERE status IN ('pending', 'processing')"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row["left"])


@contextmanager
def _process(
    folder: Path,
    environment: dict[str, str],
    module: str,
    *more: str,
    cores: list[int],
    niceness: int = 0,
    talks: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    command = ["nice", "-n", str(niceness), sys.executable, "-m", module, *more]
    pipe = subprocess.PIPE if talks else subprocess.DEVNULL
    with (folder / f"{module}.log").open("a") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=pipe,
            stdout=subprocess.PIPE if talks else log, stderr=log, text=True,
            # As services have it: within one session, Linux gives a process the less of its core
            # the busier the others are elsewhere, and twenty children would leave the API nothing.
            start_new_session=True,
        )  # fmt: skip
        psutil.Process(process.pid).cpu_affinity(cores)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _until_ready(settings: Settings) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", settings.port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the API didn't start")


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def _say(process: subprocess.Popen[str], words: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(words) + "\n")
    process.stdin.flush()


def _heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
