"""Break everything that can break, under load, and count afterwards.

Run from the root of the project, as root: ``make faults-long`` (MINUTES=30 SEED=1; ONLY names
kinds of faults, such as ``everything_restarted``, whose figures go into no page). Two API
processes and three workers share PostgreSQL, Valkey and an S3 server. Offices send new members and,
again and again, the full lists of their members; an operator undoes some of these meanwhile. Every
kind of fault of docs/explanation/guarantees.md comes in a random order. After each one a small file
is sent, and the seconds until it is through are measured.

Every wait has a bound (``bounds``). The exit code is 0 where every promise held in time, 1 where
one is broken, and 2 where all held but something was late on a loaded machine. The report says
what was waited for; it is in ``build/storm-report.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit
from uuid import UUID

import httpx
import psutil
from benchmarks.soak.load import Load
from benchmarks.storm import page
from benchmarks.storm.bounds import PATIENCE, BrokenPromiseError, Waits, verdict
from redis import Redis
from tests.faults.frozen import frozen
from tests.faults.proxy import Swallower
from tests.faults.site import ARROWS, FINAL, QUICK, Site
from tests.faults.test_retries import small_disk
from tests.files import csv_file, id_number, members
from tests.integration.backends.object_store import BUCKET, MOODS, Door, MoodyDoor, s3_server

from rollbook.engines.postgres import SOCKET_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
#: Minutes from which on the figures of a run go into the docs.
LONG_RUN_MIN: Final = 30
API: Final = "/api/v1/bulk-upload"

#: Rows of a file of new members, and how often one of that size is sent.
SIZES: Final = {10: 6, 500: 4, 5_000: 2}
#: Full lists: how many there are, members of each, and by how many each next one moves on.
LISTS: Final = 3
LIST_ROWS: Final = 400
LIST_STEP: Final = 7
#: The first number of the members of lists: no other file of a run reaches it.
LIST_START: Final = 1_000_000
#: Uploads that may be open before the offices wait a little.
OPEN_AT_MOST: Final = 6
#: Seconds between the end of a fault and the next.
QUIET_S: Final = 5.0
#: Seconds that a fault that lasts may last.
SHORTEST_S, LONGEST_S = 4.0, 12.0
#: Longest pause between two restarts of a series, and what a process gets to end after SIGTERM, in
#: seconds. A worker without PostgreSQL takes longer; the engines must be back soon.
LONGEST_PAUSE_S: Final = 1.5
STOP_S: Final = 3.0
#: Seconds within which a small file is through after a fault, a file is taken by an API, an engine
#: runs again, and all that is open at the end is through.
PROBE_S: Final = 60.0
SEND_S: Final = 60.0
ENGINE_S: Final = 60.0
END_S: Final = 120.0
REPORT: Final = ROOT / "build" / "storm-report.json"
PACE: Final = {
    **QUICK,
    "concurrency": 2,
    "lock_duration_ms": 5000,
    "stalled_interval_ms": 2000,
    "attempts": 8,
    "max_stalled_count": 50,
    "redis_answer_s": 3,
    "database_answer_s": 20,
    "deaf_after_s": 6,
    "lock_wait_s": 20,
    "longest_backoff_s": 5,
    "scratch_free_mb": 8,
    # The storm uses one token from its beginning to its end.
    "token_lifetime_min": 24 * 60,
    "store_url": f"s3://{BUCKET}/rollbook",
    "store_allow_http": True,
    "store_retry_s": 3,
    "waiting_uploads_per_user": 200,
    "waiting_uploads_per_office": 200,
    "requests_per_minute": 6000,
    "office_requests_per_minute": 6000,
}
#: A process whose clock is more than a year ahead.
WRONG_CLOCK: Final = """
import datetime as dt
from rollbook import clock
right = clock.now
clock.now = lambda: right() + dt.timedelta(days=400)
from rollbook.cli import main
main()
"""


#: Every kind of fault: methods of ``Storm``.
KINDS: Final = (
    "redis_frozen", "redis_killed", "postgresql_frozen", "postgresql_killed", "store_frozen",
    "store_away", "packets_swallowed", "wrong_clock", "other_store", "scratch_disk_full",
    "store_full", "api_killed_during_an_upload", "worker_vanished_in_merge", "redis_flushed",
    "redis_restored", "redis_read_only", "store_moody", "scratch_removed", "everything_restarted",
)  # fmt: skip


class Doors:
    """A door before the S3 server, which runs in a thread of its own."""

    def __init__(self, server: int) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._door = Door(server)
        self._full: asyncio.Server | None = None
        self.port = self._door.port
        self._moody = MoodyDoor(server, self.port)
        self.open()

    def open(self) -> None:
        """Pass on again."""
        self._do(self._door.open())

    def shut(self) -> None:
        """Refuse every connection."""
        self._do(self._door.shut())

    def begin_full(self) -> None:
        """Answer as a store without room does, in the place of the server."""
        self.shut()
        self._full = self._do(asyncio.start_server(_no_room, "127.0.0.1", self.port))

    def end_full(self) -> None:
        """Pass on again."""
        assert self._full is not None
        self._loop.call_soon_threadsafe(self._full.close)
        self._do(self._full.wait_closed())
        self.open()

    def begin_moody(self, mood: str) -> None:
        """Answer every other request with 503 or 500, a reset, or half an answer."""
        self.shut()
        self._moody.mood, self._moody.share = mood, 0.5
        self._do(self._moody.open())

    def end_moody(self) -> None:
        """Pass on again."""
        self._do(self._moody.shut())
        self.open()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


async def _no_room(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = b"<Error><Code>XMinioStorageFull</Code><Message>No room</Message></Error>"
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
    writer.close()


class Storm(Load):
    """One run."""

    #: The faults that come.
    kinds: Sequence[str] = KINDS

    def __init__(self, site: Site, seed: int, doors: Doors, s3_pid: int, more: ExitStack) -> None:
        super().__init__(site)
        self.doors = doors
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self._s3 = psutil.Process(s3_pid)
        self._more = more
        self._proxies, self._through = self._behind_proxies()
        self.apis = [self._serve(place) for place in (0, 1)]
        self._scratch = site.folder / "small"
        self._grow = more.enter_context(small_disk(self._scratch, 60_000))
        self.workers = [self._work(place) for place in (0, 1, 2)]
        self.token = site.token()
        #: The members' numbers of each file that was accepted.
        self.sent: dict[UUID, range] = {}
        self._lists = [0] * LISTS
        self._listed: list[UUID] = []
        self.undone = 0
        self.normal: defaultdict[str, list[float]] = defaultdict(list)
        self.waits = more.enter_context(closing(Waits(self._describe, self._abandon)))

    # --- processes --------------------------------------------------------------------------------

    def _behind_proxies(self) -> tuple[list[Swallower], dict[str, str]]:
        """Proxies before both engines, and the addresses through them."""
        folder = self.site.folder
        parts = urlsplit(self.site.settings.database_address)
        [host] = parse_qs(parts.query)["host"]
        (folder / "pp").mkdir()
        database = Swallower(f"{unquote(host)}/{SOCKET_NAME}", folder / "pp" / SOCKET_NAME)
        redis = Swallower(urlsplit(self.site.settings.redis_address).path, folder / "vp")
        proxies = [self._more.enter_context(proxy) for proxy in (database, redis)]
        through = f"postgresql://{parts.netloc}{parts.path}?host={quote(str(folder / 'pp'))}"
        return proxies, {"DATABASE_URL": through, "REDIS_URL": f"unix://{folder / 'vp'}"}

    def _serve(self, place: int) -> subprocess.Popen[bytes]:
        through = self._through if place == 1 else {}
        return self.site.run("serve", ROLLBOOK_PORT=str(self.ports[place]), **through)

    def _work(self, place: int) -> subprocess.Popen[bytes]:
        """Worker 1 has its scratch folder on a small disk, worker 2 is after the proxies."""
        more: dict[str, str] = self._through if place == 2 else {}
        if place == 1:
            more = {"ROLLBOOK_DATA_DIR": str(self._scratch / "data")}
        return self.site.run("worker", **more)

    def _replace(self, place: int) -> None:
        self.site.kill(self.workers[place])
        self.workers[place] = self._work(place)

    # --- load -------------------------------------------------------------------------------------

    def run(self, minutes: float) -> None:
        """Send and break for so long, then let everything come to its end."""
        self.waits.until(self._answers, "both APIs answer", ENGINE_S)
        for _ in range(3):
            self.normal["undisturbed"].append(self._probe())
        senders: list[Callable[[], None]] = [self._send_new, self._undo_some]
        senders += [partial(self._send_lists, number) for number in range(LISTS)]
        with self.waits.step("the run, and the last files of the offices", minutes * 60 + SEND_S):
            self._run(minutes, senders, self._break, join_s=SEND_S * PATIENCE)
        self._end_of(list(self.sent), "everything is through", END_S)

    def _new(self, rows: int) -> tuple[bytes, range]:
        with self._content:
            start = self.site._rows  # noqa: SLF001 - the site's own numbers
            return self.site.content(rows), range(start, start + rows)

    def _send_new(self) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            rows = self.random.choices(list(SIZES), list(SIZES.values()))[0]
            self._send(f"new-{number}", *self._new(rows))
            self._wait_for_room(OPEN_AT_MOST)

    def _send_lists(self, number: int) -> None:
        """Send a list's members, then most of them and a few more, and so on."""
        sent = 0
        while not self._stopping.is_set():
            start = LIST_START + number * 100_000 + sent * LIST_STEP
            content = csv_file(members(LIST_ROWS, start=start))
            upload = self._send(f"list-{number}-{sent}", content, range(start, start + LIST_ROWS))
            self._listed.append(upload)
            sent += 1
            self._wait_for_room(OPEN_AT_MOST)

    def _send(self, key: str, content: bytes, numbers: range) -> UUID:
        """Send a file until an API takes it: a client behind a load balancer."""
        tries = itertools.count()
        said = "nothing"

        def is_taken() -> bool:
            nonlocal said
            port = self.ports[(numbers.start + next(tries)) % 2]
            try:
                answer = self._post(port, key, self.token, content)
            except httpx.TransportError as error:
                said = repr(error)
                self.resent += 1
                return False
            said = answer.text
            if answer.status_code == 202:
                self.sent[UUID(answer.json()["data"]["job_id"])] = numbers
                return True
            if not answer.is_server_error and answer.status_code != 408:
                raise BrokenPromiseError(f"{key} is refused: {answer.text}")
            self.resent += 1
            return False

        try:
            self.waits.until(is_taken, f"an API takes {key}", SEND_S)
        except BrokenPromiseError as error:
            raise BrokenPromiseError(f"{error}\nThe last answer: {said}") from error
        return UUID(json.loads(said)["data"]["job_id"])

    def _undo_some(self) -> None:
        """Undo a list now and then, mostly one that later ones have confirmed."""
        draw = random.Random(1)  # noqa: S311 - no secret
        while not self._stopping.wait(draw.uniform(2, 8)):
            if not self._listed:
                continue
            upload = draw.choice(self._listed)
            with suppress(httpx.TransportError):
                answer = httpx.post(
                    f"http://127.0.0.1:{self.ports[0]}{API}/undo/{upload}",
                    headers={"Authorization": f"Bearer {self.token}"},
                    json={"dry_run": False}, timeout=60,
                )  # fmt: skip
                self.undone += answer.is_success
                assert answer.is_success or answer.status_code in {409, 429} or (
                    answer.is_server_error and answer.status_code != 500
                ), answer.text  # fmt: skip

    # --- faults -----------------------------------------------------------------------------------

    def _break(self, deadline: float) -> None:
        kinds: list[str] = []
        while time.monotonic() + QUIET_S < deadline:
            time.sleep(QUIET_S)
            if not kinds:  # each once, in a new order
                kinds = list(self.kinds)
                self.random.shuffle(kinds)
            kind = kinds.pop()
            name = kind.replace("_", " ")
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
            with self.waits.step(name, ENGINE_S * 2):
                getattr(self, kind)()
            self.normal[name].append(self._probe())
            if self._errors:
                raise self._errors[0]

    def _probe(self) -> float:
        """Seconds until a small file that is sent now is through."""
        began = time.monotonic()
        content, numbers = self._new(5)
        upload = self._send(f"probe-{numbers.start}", content, numbers)
        self._end_of([upload], f"the probe {upload} is through", PROBE_S)
        return time.monotonic() - began

    def _end_of(self, uploads: list[UUID], what: str, bound_s: float) -> None:
        def are_through() -> bool:
            [row] = self.site.query(
                "SELECT count(*) AS n FROM uploads WHERE id = ANY(%s) AND status = ANY(%s)",
                uploads, list(FINAL),
            )  # fmt: skip
            return int(row["n"]) == len(uploads)

        self.waits.until(are_through, what, bound_s)

    def _while(self) -> None:
        time.sleep(self.random.uniform(SHORTEST_S, LONGEST_S))

    def redis_frozen(self) -> None:
        """SIGSTOP."""
        with frozen([psutil.Process(self.site.valkey.pids["valkey"])]):
            self._while()

    def redis_killed(self) -> None:
        """SIGKILL, and started again after a while."""
        self._kill_redis()
        self._while()
        self._start_again(self.site.valkey, "valkey")

    def _kill_redis(self) -> None:
        psutil.Process(self.site.valkey.pids["valkey"]).kill()
        self._has_ended(self.site.valkey, "valkey")

    def postgresql_frozen(self) -> None:
        """SIGSTOP of all its processes."""
        with frozen([psutil.Process(self.site.postgres.pids["postgres"])]):
            self._while()

    def postgresql_killed(self) -> None:
        """SIGKILL of all its processes, and started again after a while."""
        self._kill_postgresql()
        self._while()
        self._start_again(self.site.postgres, "postgres")

    def _kill_postgresql(self) -> None:
        first = psutil.Process(self.site.postgres.pids["postgres"])
        for process in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._has_ended(self.site.postgres, "postgres")

    def _has_ended(self, engines: Any, key: str) -> None:
        self.waits.until(lambda: engines.ended() == [key], f"{key} has ended", ENGINE_S)

    def _start_again(self, engines: Any, key: str) -> None:
        with self.waits.step(f"{key} runs again", ENGINE_S):
            engines.start_again(key)
            engines.wait_ready(key)

    def everything_restarted(self) -> None:
        """Engines, APIs and workers end in a random order, and start again in another."""
        site = self.site
        parts: dict[str, list[Callable[[], None]]] = {
            "PostgreSQL": [
                self._kill_postgresql, partial(self._start_again, site.postgres, "postgres"),
            ],
            "Valkey": [self._kill_redis, partial(self._start_again, site.valkey, "valkey")],
        }  # fmt: skip
        for name, processes, start in (
            ("API", self.apis, self._serve),
            ("worker", self.workers, self._work),
        ):
            for place in range(len(processes)):
                parts[f"{name} {place}"] = [
                    partial(self._stop, processes, place),
                    partial(self._start, processes, place, start),
                ]
        order = []
        while parts:
            name = self.random.choice(sorted(parts))
            parts[name].pop(0)()
            order.append(name)
            if not parts[name]:
                del parts[name]
            time.sleep(self.random.uniform(0, LONGEST_PAUSE_S))
        # Each part's first place is its end, and its second one its start.
        print(", ".join(order), flush=True)

    def _stop(self, processes: list[subprocess.Popen[bytes]], place: int) -> None:
        """SIGKILL, at times a while after SIGTERM."""
        if self.random.random() < 0.5:
            processes[place].terminate()
            with suppress(subprocess.TimeoutExpired):
                processes[place].wait(STOP_S)
        self.site.kill(processes[place])

    def _start(
        self,
        processes: list[subprocess.Popen[bytes]],
        place: int,
        start: Callable[[int], subprocess.Popen[bytes]],
    ) -> None:
        processes[place] = start(place)

    def store_frozen(self) -> None:
        """SIGSTOP."""
        with frozen([self._s3]):
            self._while()

    def store_away(self) -> None:
        """Every connection is refused."""
        self.doors.shut()
        self._while()
        self.doors.open()

    def store_full(self) -> None:
        """It answers that it has no room."""
        self.doors.begin_full()
        self._while()
        self.doors.end_full()

    def packets_swallowed(self) -> None:
        """The connections of one API and one worker say nothing any more; at times new ones too."""
        new = self.random.random() < 0.5
        for proxy in self._proxies:
            proxy.swallow(new=new)
        self._while()
        for proxy in self._proxies:  # what was swallowed stays so; new connections are served
            proxy.swallow()

    def wrong_clock(self) -> None:
        """One more worker, whose clock is more than a year ahead."""
        self._guest("worker", program=("-c", WRONG_CLOCK))

    def other_store(self) -> None:
        """One more worker, which sees another store."""
        self._guest("worker", ROLLBOOK_STORE_URL=f"s3://{BUCKET}/elsewhere")

    def _guest(self, command: str, **more: Any) -> None:
        guest = self.site.run(command, **more)
        time.sleep(LONGEST_S + self.random.uniform(0, LONGEST_S))
        assert guest.poll() is None, "it has ended by itself"
        self.site.kill(guest)

    def scratch_disk_full(self) -> None:
        """Of one worker."""
        big = self._scratch / "big"
        with suppress(OSError), big.open("wb") as file:
            while True:
                file.write(b"x" * 100_000)
        self._while()
        big.unlink()

    def api_killed_during_an_upload(self) -> None:
        """SIGKILL, with half a file received."""
        content, _ = self._new(2_000)
        head = (
            f"POST {API}/process HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}"
            "\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"Content-Length: {len(content) + 1000}\r\n\r\n--b\r\nContent-Disposition: form-data; "
            'name="file"; filename="half.csv"\r\n\r\n'
        )
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[1])) as sender:
            sender.sendall(head.encode() + content[: len(content) // 2])
            time.sleep(0.5)
        self.apis[1].kill()
        self.apis[1].wait()
        self._while()
        self.apis[1] = self._serve(1)

    def worker_vanished_in_merge(self) -> None:
        """A worker and its children are frozen in a merge, and killed after a while, or thawed."""
        soon = time.monotonic() + 10  # nothing may be merging at the moment
        while time.monotonic() < soon and not self._merges():
            time.sleep(0.05)
        busy = self.site.query(
            "SELECT pid FROM workers WHERE jobs <> '{}' ORDER BY heartbeat_at DESC LIMIT 1"
        )
        pids = [worker.pid for worker in self.workers]
        place = pids.index(busy[0]["pid"]) if busy and busy[0]["pid"] in pids else 0
        with frozen([psutil.Process(pids[place])]):
            self._while()
            if self.random.random() < 0.5:
                self._replace(place)

    def _merges(self) -> bool:
        found = self.site.query(
            "SELECT FROM uploads WHERE status = 'processing' AND stage = 'merge'"
        )
        return bool(found)

    def redis_flushed(self) -> None:
        """All keys gone."""
        self.site.flush()

    def redis_restored(self) -> None:
        """Killed, and started again with what it held some seconds before."""
        held, copy = self.site.folder / "valkey" / "valkey", self.site.folder / "copy"
        with Redis.from_url(self.site.settings.redis_address) as client:
            client.waitaof(1, 0, 10_000)
        shutil.copytree(held, copy)
        self._while()
        psutil.Process(self.site.valkey.pids["valkey"]).kill()
        self.waits.until(lambda: self.site.valkey.ended() == ["valkey"], "valkey ends", ENGINE_S)
        shutil.rmtree(held)
        copy.rename(held)
        self._start_again(self.site.valkey, "valkey")

    def redis_read_only(self) -> None:
        """A replica of nothing, as after a failover that went wrong."""
        with Redis.from_url(self.site.settings.redis_address) as client:
            client.replicaof("127.0.0.1", "1")
            self._while()
            client.replicaof("NO", "ONE")

    def store_moody(self) -> None:
        """Every other request gets 503 or 500, a reset, or half an answer."""
        self.doors.begin_moody(self.random.choice(MOODS))
        self._while()
        self.doors.end_moody()

    def scratch_removed(self) -> None:
        """The scratch folder of one or two workers, under their jobs."""
        shutil.rmtree(self.site.settings.data_dir / "scratch", ignore_errors=True)

    # --- what is said when something isn't as promised --------------------------------------------

    def _describe(self) -> str:
        """Open uploads, workers, sessions that hold or wait for locks, and engines."""
        site = self.site
        lines = [f"engines that have ended: {site.postgres.ended() + site.valkey.ended()}"]
        for statement in (
            "SELECT id, status, stage, attempt, worker, heartbeat_at, retry_at, error FROM uploads"
            " WHERE status IN ('pending', 'processing') LIMIT 10",
            "SELECT pid, heartbeat_at, jobs, problems FROM workers",
            "SELECT pid, application_name, state, now() - xact_start AS open_for, wait_event,"
            " pg_blocking_pids(pid) AS blocked_by, left(query, 80) AS query FROM pg_stat_activity"
            " WHERE xact_start < now() - interval '5 seconds'",
        ):
            lines += [str(row) for row in site.query(statement)]
        return "\n".join(lines)

    def _abandon(self, why: str) -> None:
        """End the run from another thread: its own waits in a call that doesn't end."""
        _report(*verdict(why, self.waits.late), {})
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        os._exit(1)

    # --- figures ----------------------------------------------------------------------------------

    def check(self) -> dict[str, Any]:
        """Nothing lost, nothing merged twice, nobody removed whom a list still holds."""
        site, sent = self.site, self.sent
        with self.waits.step("the queue agrees with the record", END_S):
            site._check_statuses(list(sent))  # noqa: SLF001 - along the arrows, too
        found = {row["id"]: row for row in site.query("SELECT * FROM uploads")}
        assert set(found) == set(sent), "an accepted file is lost, or came twice"
        bad = {(row["error_code"], row["error"]) for row in found.values()
               if row["status"] != "completed"}  # fmt: skip
        assert bad == set(), f"not completed: {bad}"
        assert {i: row["rows_total"] for i, row in found.items()} == {
            upload: len(numbers) for upload, numbers in sent.items()
        }
        twice = site.query(
            "SELECT upload_id, id_number FROM member_writes GROUP BY 1, 2 HAVING count(*) > 1"
        )
        assert twice == [], f"{len(twice)} members were written twice by one upload"
        there = {row["id_number"] for row in site.query("SELECT id_number FROM members")}
        held = {
            id_number(number)
            for upload, numbers in sent.items()
            if found[upload]["undone_at"] is None
            for number in numbers
        }
        assert held <= there, f"{len(held - there)} members are gone whom a list still holds"
        changes = site.query("SELECT DISTINCT before, after FROM status_changes")
        assert {(change["before"], change["after"]) for change in changes} <= ARROWS
        return {
            "uploads": len(sent),
            "rows": sum(map(len, sent.values())),
            "undone": sum(row["undone_at"] is not None for row in found.values()),
            "held": len(held),
            "attempts_again": sum(row["attempt"] - 1 for row in found.values()),
            "sent_again": self.resent,
        }


def storm(minutes: float, seed: int, kinds: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Run it and look at everything; the exit code and the figures."""
    with tempfile.TemporaryDirectory(prefix="rb-") as name, ExitStack() as more:
        folder = Path(name)
        before = {child.pid for child in psutil.Process().children()}
        server = more.enter_context(s3_server(folder))
        [s3_pid] = {child.pid for child in psutil.Process().children()} - before
        doors = Doors(server)
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{doors.port}",
            "AWS_ACCESS_KEY_ID": "synthetic",
            "AWS_SECRET_ACCESS_KEY": "synthetic",
            "AWS_REGION": "af-south-1",
        }
        site = Site(folder, seed, pace=PACE)
        more.callback(site.close)
        site.start()
        run = Storm(site, seed, doors, s3_pid, more)
        run.kinds = kinds
        broken: str | None = None
        figures: dict[str, Any] = {"minutes": minutes, "seed": seed}
        try:
            run.run(minutes)
            figures |= run.check()
        except AssertionError as error:
            broken = str(error)
            REPORT.parent.mkdir(exist_ok=True)
            REPORT.with_name("storm.log").write_text(site.log())
            print("The log of all processes is in build/storm.log.", flush=True)
        code, report = verdict(broken, run.waits.late)
    figures["until_normal_s"] = {
        kind: {
            "times": len(seconds),
            "median": round(statistics.median(seconds), 1),
            "longest": round(max(seconds), 1),
        }
        for kind, seconds in sorted(run.normal.items())
    }
    figures["machine"] = f"{psutil.cpu_count()} cores, {platform.platform(terse=True)}"
    figures["date"] = time.strftime("%Y-%m-%d")
    _report(code, report, figures)
    return code, figures


def _report(code: int, report: dict[str, Any], figures: dict[str, Any]) -> None:
    """Write what was found, also where the run doesn't come to its end."""
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report | figures, indent=1) + "\n", encoding="utf-8")
    print(f"{report['verdict']} (exit code {code}); the report is in {REPORT}", flush=True)
    if report["broken"]:
        print(report["broken"], flush=True)


def main() -> None:
    """Run; write the figures where every promise held, and into the docs after a long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS, metavar="FAULT")
    given = parser.parse_args()
    code, figures = storm(given.minutes, given.seed, given.only)
    print(json.dumps(figures, indent=1))
    if code != 1 and given.only == KINDS:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        if given.minutes >= LONG_RUN_MIN:
            page.write(figures, is_in_time=code == 0)
    sys.exit(code)


if __name__ == "__main__":
    main()
