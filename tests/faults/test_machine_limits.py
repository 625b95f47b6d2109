"""Processes that get no more open files or threads from their system (nofile, nproc, pids)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from rollbook.accounts import users
from rollbook.backends import exhaustion
from rollbook.backends.database import connect
from rollbook.service.rounds import every
from rollbook.service.system import open_system
from rollbook.uploads import lookup
from rollbook.worker import slots
from tests.faults import processes
from tests.faults.site import FINAL, each_or_first
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import (
    child_pids,
    ended,
    merges_held,
    sent,
    working,
)
from tests.ports import free_port
from tests.waiting import PATIENCE_S, to_each

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

#: A user whose processes and threads are counted for it only; root has no limit of them. Another
#: run of these tests beside this one has another: their processes would be counted together.
OWN_USER = 2_000_000 + os.getpid()
NAMES = {resource.RLIMIT_NOFILE: "--nofile", resource.RLIMIT_NPROC: "--nproc"}
#: A process that may have so many files opens none besides.
STANDARD_STREAMS = 3
#: Lines of the allocator that few threads cost; where it asks without a pause, it is thousands.
FEW = 500
#: What lets that user work with the files and sockets of this test.
CAPABILITIES = "+dac_override,+dac_read_search,+fowner,+chown"


def running(
    command: str, settings: Settings, log: Path, **more: str
) -> AbstractContextManager[psutil.Process]:
    """``rollbook worker`` or ``serve`` as a user of its own."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("a process can't be started as another user here: not root, or no setpriv")
    as_user = (
        setpriv, f"--reuid={OWN_USER}", f"--regid={OWN_USER}", "--clear-groups",
        f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}",
    )  # fmt: skip
    return processes.running(command, settings, log, through=as_user, **more)


async def taking_jobs(log: Path) -> None:
    """Wait until a worker takes jobs, by the last that its log says of that."""
    await until(lambda: "worker takes jobs" in _last_said(log))


async def taking_none(log: Path) -> None:
    """Wait until a worker takes no jobs for want of files and threads."""
    await until(lambda: "worker takes no jobs" in _last_said(log) and "threads" in _last_said(log))


def _last_said(log: Path) -> str:
    said = [line for line in log.read_text().splitlines() if "worker takes" in line]
    return said[-1] if said else ""


@contextlib.contextmanager
def limited(process: psutil.Process, kind: int, most: int) -> Iterator[None]:
    """Let a process, and what it starts, have so many open files or threads only."""
    soft, hard = _limits(process, kind)
    _limit(process, kind, most, hard)
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            _limit(process, kind, soft, hard)


def _limits(process: psutil.Process, kind: int) -> tuple[int, int]:
    asked = ["prlimit", f"--pid={process.pid}", "--noheadings", "--raw", "--output=SOFT,HARD"]
    said = subprocess.run(
        [*asked, NAMES[kind]], check=True, capture_output=True, text=True, timeout=30,
        **_same_user(process),
    ).stdout.split()  # fmt: skip
    soft, hard = (-1 if part == "unlimited" else int(part) for part in said)
    return soft, hard


def _limit(process: psutil.Process, kind: int, soft: int, hard: int) -> None:
    """Set the limits as the user of the process, as root may not do it everywhere."""
    wanted = ":".join("unlimited" if n == -1 else str(n) for n in (soft, hard))
    subprocess.run(
        ["prlimit", f"--pid={process.pid}", f"{NAMES[kind]}={wanted}"],
        check=True, timeout=30, **_same_user(process),
    )  # fmt: skip


def _same_user(process: psutil.Process) -> dict[str, Any]:
    return {"user": process.uids().real, "group": process.gids().real}


def threads(process: psutil.Process) -> list[str]:
    """The names of the threads of a process."""
    names = []
    for path in Path(f"/proc/{process.pid}/task").glob("*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            names.append(path.read_text().strip())
    return names


def threads_of_user() -> int:
    """How many threads the processes of the user have."""
    found = to_each(psutil.process_iter(), lambda one: (one.uids().real, one.num_threads()))
    return sum(threads for _, (user, threads) in found if user == OWN_USER)


#: Puts a file into a store, and fetches it, in processes of a user who gets few more threads.
STORE_USE = """
import os, resource, shutil, signal, sys, tempfile
from pathlib import Path
from rollbook.backends.files import FileStore
from rollbook.errors import NoResourcesError

folder = Path(tempfile.mkdtemp())
try:
    (folder / "source").write_bytes(b"a file")
    os.chown(folder, USER, USER)
    os.setgid(USER)
    os.seteuid(USER)
    store = FileStore((folder / "store").as_uri())
    for room in range(6):
        process = os.fork()
        if process == 0:
            signal.alarm(20)  # ends what waits for ever
            os.seteuid(0)
            os.setuid(USER)
            used = len(os.listdir(f"/proc/{os.getppid()}/task")) + 1
            resource.setrlimit(resource.RLIMIT_NPROC, (used + room, used + room))
            try:
                store.put(f"{room}/file", folder / "source")
                store.fetch(f"{room}/file", folder / f"fetched-{room}")
                end = (folder / f"fetched-{room}").read_bytes() == b"a file"
            except NoResourcesError:
                end = 2
            os._exit(end)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
finally:
    os.seteuid(0)
    shutil.rmtree(folder)
"""


def test_a_store_that_gets_no_thread_refuses_and_waits_for_none() -> None:
    """Its runtime waits for ever for a thread, where it has one and gets no other."""
    if os.geteuid() != 0:
        pytest.skip("a process can't be started as another user here: not root")
    script = STORE_USE.replace("USER", str(OWN_USER + 1))
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=150
    )
    ends = [int(line) for line in done.stdout.split()]
    assert set(ends) == {1, 2}
    assert ends == sorted(ends, reverse=True)


def test_threads_that_were_tried_count_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the store's own would be refused, and its call would wait for ever."""
    tried: list[int | None] = []
    # As with a thread that has told that it ends, and hasn't: a busy machine has them by itself.
    monkeypatch.setattr(threading.Thread, "join", lambda thread: tried.append(thread.native_id))
    for _ in range(20):
        exhaustion._try_threads(3)
        assert not [one for one in tried if Path(f"/proc/self/task/{one}").exists()]
    assert len(tried) == 60


class Panic(BaseException):
    """What libraries in Rust raise that can start no thread: no ``Exception``."""


async def test_a_service_of_rounds_goes_on_after_a_panic() -> None:
    rounds = 0

    async def run_once() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise Panic("OS can't spawn worker thread")

    async with every(0.01, run_once, service="a service"):

        async def goes_on() -> bool:
            return rounds > 2

        await until(goes_on)


async def test_a_child_without_open_files_costs_no_attempt(
    make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with open_system(settings) as opened, working(opened) as worker:

        async def has_child() -> bool:
            return bool(child_pids(worker))

        await until(has_child)
        [pid] = child_pids(worker)
        # Not as many as it has open: some of those may be closed meanwhile.
        with limited(psutil.Process(pid), resource.RLIMIT_NOFILE, STANDARD_STREAMS):
            upload = await ended(opened, user, await sent(opened, user, csv_file(3)))
        assert upload["status"] == "completed", upload["error"]
        assert upload["attempt"] == upload["attempts_before"] + 1
        assert upload["attempts_before"] >= 1  # it did meet the limit


async def test_a_worker_without_open_files_or_threads_says_so_and_fails_nothing(
    system: System, make_user: MakeUser, settings: Settings, tmp_path: Path
) -> None:
    user = await make_user()
    log = tmp_path / "log"
    with running("worker", settings, log) as process:
        await taking_jobs(log)
        # What is under way goes on: the memory of its child can't be measured, and isn't too much.
        with merges_held(settings):
            first = await sent(system, user, csv_file(2))

            async def merges() -> bool:
                return bool((await lookup.get(system, user, first))["stage"] == "merge")

            await until(merges)
            with limited(process, resource.RLIMIT_NOFILE, 16):
                await asyncio.sleep(5 * slots.MEMORY_INTERVAL_S)
        upload = await ended(system, user, first)
        assert (upload["status"], upload["inserted"]) == ("completed", 2), upload["error"]

        async def is_recorded() -> bool:
            with connect(settings.database_address) as connection:
                row = connection.execute("SELECT problems FROM workers").fetchone()
            return row is not None and any("threads" in text for text in row["problems"])

        # Below what it has already: nothing more is opened or started, and what there is goes on.
        for rows, kind, most in (
            (3, resource.RLIMIT_NOFILE, 16),
            (4, resource.RLIMIT_NPROC, 1),
        ):
            await taking_jobs(log)
            with limited(process, kind, most):
                # First by its log: the record has what it said of the limit before until it beats.
                await taking_none(log)
                await until(is_recorded)
                upload_id = await sent(system, user, csv_file(rows))
                found = await lookup.get(system, user, upload_id)
                assert (found["status"], found["attempt"]) == ("pending", 0)
            upload = await ended(system, user, upload_id)
            assert upload["status"] == "completed", upload["error"]
            assert upload["attempt"] == 1


@pytest.mark.timeout(4 * PATIENCE_S)  # up to four children start cold, one after the other
async def test_children_that_can_start_no_thread_fail_nothing(
    system: System, make_user: MakeUser, settings: Settings, tmp_path: Path
) -> None:
    """The worker itself has what it needs, and each child that it starts lacks some threads."""
    user = await make_user()
    log = tmp_path / "log"
    with running("worker", settings, log) as process:
        await taking_jobs(log)
        before = threads_of_user()
        uploads = []
        to_each(process.children(), psutil.Process.kill)
        for room in each_or_first(2, 1, 3, 4, 6):
            with limited(process, resource.RLIMIT_NPROC, before + room):
                upload_id = await sent(system, user, csv_file(room + 2))
                uploads.append(upload_id)

                async def was_tried(upload_id: Any = upload_id) -> bool:
                    found = await lookup.get(system, user, upload_id)
                    return found["attempt"] > 0 or any(
                        "threads" in text or "process for" in text
                        for text in (found["error"] or "", log.read_text())
                    )

                await until(was_tried)
        for upload_id in uploads:

            async def is_through(upload_id: Any = upload_id) -> bool:
                return (await lookup.get(system, user, upload_id))["status"] in FINAL

            await until(is_through, patience_s=3 * PATIENCE_S)
            upload = await lookup.get(system, user, upload_id)
            assert upload["status"] == "completed", (upload["error"], log.read_text()[-3000:])
            assert upload["attempt"] == upload["attempts_before"] + 1
        # Two of these, of which one can't be started, take a processor and fill the log.
        [child] = process.children()
        assert threads(child).count("jemalloc_bg_thd") <= 1
        assert log.read_text().count("background thread creation failed") <= FEW


async def test_an_api_without_open_files_or_threads_answers_with_a_sentence(
    system: System, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    await users.add_first(system.pool, settings)
    user = await users.acting(system.pool, None)
    headers = {"Authorization": f"Bearer {users.issue_token(settings, user)}"}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running("serve", settings, log, ROLLBOOK_PORT=str(port)) as process:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/readyz")).is_success
                except httpx.TransportError:
                    return False

            await until(answers)
            number = 0

            async def send() -> int:
                """The status of the answer to a file; 0 where there is no answer."""
                nonlocal number
                number += 1
                file = {"file": ("members.csv", csv_file(number))}
                try:
                    answer = await client.post("/api/v1/bulk-upload/process", files=file)
                except httpx.TransportError:
                    return 0  # no file could be opened for the connection
                assert answer.json()["detail" if answer.is_error else "message"].endswith(".")
                return answer.status_code

            said = set()
            for kind, low, used in (
                (resource.RLIMIT_NOFILE, 16, process.num_fds),
                (resource.RLIMIT_NPROC, 1, threads_of_user),
            ):
                for room in (None, 0, 1, 2, 3):
                    with limited(process, kind, low if room is None else used() + room):
                        said.add(await send())
                await until(answers)
                assert await send() == 202
            assert said <= {0, 202, 503}
            assert 503 in said
