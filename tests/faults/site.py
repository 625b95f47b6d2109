"""A whole installation to break: engines that can be stopped one by one, and real processes.

The engines keep their data over a stop, the processes are the command line's own, and the database
notes every write to ``members`` by upload, so that a second merge can't hide behind equal values.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import psycopg
import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from rollbook.accounts import users
from rollbook.backends.database import connect
from rollbook.backends.redis import make_client
from rollbook.config import Settings
from rollbook.engines import Engines
from rollbook.errors import ServiceUnavailableError
from rollbook.service.system import open_system
from rollbook.uploads import receive, reconciler
from rollbook.uploads.options import Options
from tests import cluster, in_memory, waiting, warm_process
from tests.files import csv_file, members
from tests.waiting import join, kill, to_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from rollbook.model import User
    from rollbook.service.system import System

T = TypeVar("T")

#: Settings that let minutes pass in seconds; the logic is the same.
QUICK: dict[str, Any] = {
    "lock_duration_ms": 1500,
    "stalled_interval_ms": 500,
    "reconcile_interval_s": 1,
    "backoff_ms": 200,
    "attempts": 3,
    "max_stalled_count": 20,
    "shutdown_grace_s": 1,
    "concurrency": 1,
}
FINAL = ("completed", "failed", "cancelled")
PATIENCE_S = 90.0

#: Every committed write to a member, by the upload that made it, and every change of a status.
WITNESS = """
CREATE TABLE member_writes (upload_id uuid, id_number text);
CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    -- Undoing puts the earlier upload's values back, which is no second merge of it.
    IF current_setting('rollbook.undoing', true) = 'on' THEN RETURN NULL; END IF;
    INSERT INTO member_writes SELECT changed_by_upload, id_number FROM written; RETURN NULL;
END $$;
CREATE TRIGGER inserted AFTER INSERT ON members REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION witness();
CREATE TRIGGER updated AFTER UPDATE ON members REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION witness();
CREATE TABLE status_changes (upload_id uuid, before text, after text);
CREATE FUNCTION status_witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO status_changes VALUES (NEW.id, OLD.status, NEW.status); RETURN NULL;
END $$;
CREATE TRIGGER changed AFTER UPDATE ON uploads
    FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION status_witness();
"""
#: The arrows of the state diagram in docs/explanation/guarantees.md.
ARROWS = {
    ("pending", "processing"),
    ("processing", "completed"),
    ("processing", "pending"),
    ("processing", "failed"),
    ("pending", "failed"),
    ("pending", "cancelled"),
    ("processing", "cancelled"),
    ("failed", "pending"),
}
#: What the queue may say of an upload that has ended, once no process holds it any more.
AT_THE_END: dict[str, set[str | None]] = {
    "completed": {"completed", None},
    "failed": {"failed", None},
    "cancelled": {None},
}


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for a condition and return what it came to; a part that is away counts as not yet."""
    away = (psycopg.OperationalError, ConnectionError, ServiceUnavailableError)
    return waiting.until(condition, what, patience_s=patience_s, not_yet=away)


class Site:
    """One installation, its processes and the uploads that were sent to it."""

    def __init__(
        self, folder: Path, seed: int, pace: dict[str, Any] = QUICK, *, span_s: float = 1.0
    ) -> None:
        self.folder = folder
        #: Seconds that an undisturbed attempt takes.
        self.span_s = span_s
        self._pace = pace
        self.random = random.Random(seed)
        self._engines = in_memory.made()
        self.postgres = Engines(self._engines / "pg", valkey=False)
        self.valkey = Engines(self._engines / "valkey", postgres=False)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._log = (folder / "log").open("ab")
        self._rows = 0
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._asking = threading.Lock()
        #: The stage that each fault hit, as far as the record knew; None where nothing ran.
        self.hits: list[str | None] = []

    def start(self) -> None:
        """Start the engines with an empty, witnessed database."""
        cluster.put(self.postgres.data_dir)
        database_url = self.postgres.start().database_url
        redis_url = self.valkey.start().redis_url
        assert database_url is not None
        assert redis_url is not None
        with connect(database_url) as connection:
            connection.execute(WITNESS)
        self.settings = Settings(
            _env_file=None,
            database_url=SecretStr(database_url),
            redis_url=SecretStr(redis_url),
            data_dir=self.folder / "data",
            secret_key=SecretStr("known to this test alone, 32 bytes"),
            **self._pace,
        )
        self.progress = ProgressWitness(self.settings)
        self.progress.start()

    def close(self) -> None:
        """Stop all processes that still run."""
        with ExitStack() as stack:
            stack.callback(self._log.close)
            stack.callback(shutil.rmtree, self._engines)
            stack.callback(self.valkey.stop)
            stack.callback(self.postgres.stop)
            stack.callback(self.progress.stop)
            stack.callback(self._disconnect)
            for process in self._processes:
                stack.callback(process.wait)
                stack.callback(self._end, process)

    # --- processes ----------------------------------------------------------------------------

    def run(self, command: str, **more: str) -> subprocess.Popen[bytes]:
        """Start ``rollbook worker`` or ``rollbook serve``, with more environment."""
        environment = {
            **os.environ,
            **{f"ROLLBOOK_{name.upper()}": str(value) for name, value in self._pace.items()},
            "DATABASE_URL": self.settings.database_address,
            "REDIS_URL": self.settings.redis_address,
            "ROLLBOOK_DATA_DIR": str(self.settings.data_dir),
            "ROLLBOOK_SECRET_KEY": "known to this test alone, 32 bytes",
            "ROLLBOOK_LOG_FORMAT": "human",
            **more,
        }
        process = warm_process.start(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process, also one that is frozen, and wait until it has ended."""
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            kill(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process, and let children that were frozen with it notice that it is gone."""
        children = self.children(process)
        self.kill(process)
        to_each(children, psutil.Process.resume)
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
        assert alive == [], f"{process.args!r} left children behind"

    def children(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """The processes that a worker runs its attempts in."""
        found = []
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(process.pid).children(recursive=True)
        return [child for child in found if not warm_process.is_spare(child)]

    def log(self) -> str:
        """What the processes have said."""
        return (self.folder / "log").read_text(errors="replace")

    # --- uploads ------------------------------------------------------------------------------

    def content(self, rows: int) -> bytes:
        """A file of people whom no other file of this site has."""
        content = csv_file(members(rows, start=self._rows))
        self._rows += rows
        return content

    @asynccontextmanager
    async def system(self) -> AsyncIterator[System]:
        """The parts, opened in this process."""
        async with open_system(self.settings) as system:
            yield system

    def send(self, count: int, rows: int) -> list[UUID]:
        """Record and queue so many files of so many rows."""

        async def send() -> list[UUID]:
            async with self.system() as system:
                await users.add_first(system.pool, self.settings)
                user = await users.acting(system.pool, None)
                return [await self._send(system, user, rows) for _ in range(count)]

        return asyncio.run(send())

    def token(self) -> str:
        """A token of the first super_admin, which is made if need be."""

        async def sign_in() -> str:
            async with self.system() as system:
                await users.add_first(system.pool, self.settings)
                user = await users.acting(system.pool, None)
                return users.issue_token(self.settings, user)

        return asyncio.run(sign_in())

    async def _send(self, system: System, user: User, rows: int) -> UUID:
        content = self.content(rows)

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        stored = await receive.store_file(system, "members.csv", chunks())
        upload_id: UUID = (await receive.record(system, user, stored, Options()))["id"]
        return upload_id

    def query(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the record.

        Waits ask twenty times a second, so the connection is kept; one that a fault has broken is
        replaced.
        """
        with self._asking:
            if self._connection is not None:
                with suppress(psycopg.OperationalError):
                    return self._connection.execute(statement.encode(), parameters).fetchall()
                self._disconnect()
            self._connection = connect(self.settings.database_address)
            self._connection.autocommit = True
            return self._connection.execute(statement.encode(), parameters).fetchall()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def started(self, uploads: list[UUID]) -> None:
        """Wait until one of the uploads is being worked on, or has ended already."""
        until(
            lambda: self.query(
                "SELECT FROM uploads WHERE id = ANY(%s) AND status <> 'pending'", uploads
            ),
            "an attempt started",
        )

    def ended(self, uploads: list[UUID], patience_s: float = PATIENCE_S) -> None:
        """Wait until every upload is in a final state."""
        until(
            lambda: (
                len(
                    self.query(
                        "SELECT FROM uploads WHERE id = ANY(%s) AND status = ANY(%s)",
                        uploads,
                        list(FINAL),
                    )
                )
                == len(uploads)
            ),
            f"all uploads at an end; the log:\n{self.log()[-6000:]}",
            patience_s,
        )

    def flush(self) -> None:
        """FLUSHALL."""

        async def flush() -> None:
            async with make_client(self.settings.redis_address) as client:
                await client.flushall()

        asyncio.run(flush())

    def let_go(self, worker: subprocess.Popen[bytes], since: float) -> None:
        """Wait until a worker has said, after a moment of ``time.time``, that it holds no job."""
        until(
            lambda: self.query(
                "SELECT FROM workers WHERE pid = %s AND jobs = '{}' AND heartbeat_at > "
                "to_timestamp(%s)",
                worker.pid,
                since,
            ),
            "the worker lets go of its job",
        )

    def reconcile(self) -> None:
        """Let the reconciler do a round, from beginning to end."""

        async def reconcile() -> bool:
            async with self.system() as system:
                return await reconciler.run_once(system) is not None

        until(lambda: asyncio.run(reconcile()), "a round of the reconciler")

    def states(self, uploads: list[UUID]) -> list[str | None]:
        """The queue's words for where the jobs are."""

        async def ask() -> list[str | None]:
            async with self.system() as system:
                return await system.queue.states(uploads)

        return asyncio.run(ask())

    def jobs(self) -> int:
        """How many jobs the queue knows."""

        async def ask() -> int:
            async with self.system() as system:
                return (await system.queue.stats())["total"]

        return asyncio.run(ask())

    def moment(self, longest_s: float) -> None:
        """Let a random time pass."""
        time.sleep(self.random.uniform(0, longest_s))

    def aim(self, *, share: float = 1.0) -> None:
        """Let a random time pass, so that a fault hits somewhere in an attempt; note where.

        Args:
            share: how much of an attempt may pass.
        """
        self.moment(self.span_s * share)
        running = self.query("SELECT stage FROM uploads WHERE status = 'processing'")
        self.hits.append(running[0]["stage"] or "start" if running else None)

    def pause(self, seconds: float) -> None:
        """Let a part be away for so long."""
        time.sleep(seconds)

    # --- invariants ---------------------------------------------------------------------------

    def _check_statuses(self, uploads: list[UUID]) -> None:
        """No status changed along an arrow that there isn't, and the queue agrees at the end."""
        changes = self.query("SELECT DISTINCT before, after FROM status_changes")
        assert {(change["before"], change["after"]) for change in changes} <= ARROWS
        status = {row["id"]: row["status"] for row in self.query("SELECT id, status FROM uploads")}

        def agree() -> bool:
            states = self.states(uploads)
            return all(
                state in AT_THE_END[status[upload]]
                for upload, state in zip(uploads, states, strict=True)
            )

        until(agree, f"the queue agrees with the record; the log:\n{self.log()[-4000:]}")

    def check(self, uploads: list[UUID], *, all_complete: bool = True) -> None:
        """What must hold after every run."""
        self.progress.check(uploads if all_complete else [])
        self._check_statuses(uploads)
        found = {row["id"]: row for row in self.query("SELECT * FROM uploads")}
        assert set(uploads) <= set(found)
        for upload_id in uploads:
            upload = found[upload_id]
            assert upload["status"] in FINAL
            if all_complete:
                assert upload["status"] == "completed", upload["error"]
            rows = self.query("SELECT row_number FROM upload_rows WHERE upload_id = %s", upload_id)
            written = self.query("SELECT FROM member_writes WHERE upload_id = %s", upload_id)
            if upload["status"] == "completed":
                # Every row of the file has exactly one outcome.
                assert len({row["row_number"] for row in rows}) == len(rows) == upload["rows_total"]
                assert upload["inserted"] == len(written) == upload["rows_total"]
            else:
                assert rows == []
                assert written == []
        twice = self.query(
            "SELECT upload_id, id_number FROM member_writes GROUP BY 1, 2 HAVING count(*) > 1"
        )
        assert twice == [], "a member was written twice by one upload"


class ProgressWitness(threading.Thread):
    """Follows the event stream during the run; notes every progress by job and attempt.

    Reading afterwards would miss what FLUSHALL takes away.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._address = settings.redis_address
        self._stream = f"bull:{settings.queue_name}:events"
        self._last = "0-0"
        self._stopping = threading.Event()
        self.seen: defaultdict[tuple[str, int], list[int]] = defaultdict(list)

    def run(self) -> None:
        """Read until ``stop``, over every restart of the engine."""
        while not self._stopping.is_set():
            with (
                suppress(RedisError),
                Redis.from_url(self._address, decode_responses=True) as client,
            ):
                while not self._stopping.is_set():
                    self._note(client.xread({self._stream: self._last}, block=200))
            self._stopping.wait(0.05)

    def stop(self) -> None:
        """End the reading."""
        self._stopping.set()
        join(self)

    def check(self, uploads: list[UUID]) -> None:
        """Progress was seen of each of these, and within one attempt it never went back."""
        until(self._is_up_to_date, "every event was read")
        missing = {str(upload) for upload in uploads} - {job_id for job_id, _ in self.seen}
        assert missing == set(), "completed without any progress"
        for percents in self.seen.values():
            assert percents == sorted(percents)

    def _note(self, streams: Any) -> None:
        for _, entries in streams:
            for entry_id, fields in entries:
                if fields["event"] == "progress":
                    data = json.loads(fields["data"])
                    self.seen[fields["jobId"], data["attempt"]].append(data["percent"])
                self._last = entry_id

    def _is_up_to_date(self) -> bool:
        with Redis.from_url(self._address, decode_responses=True) as client:
            newest: Any = client.xrevrange(self._stream, count=1)
        return not newest or newest[0][0] == self._last


IS_LONG = "ROLLBOOK_FAULT_RUNS" in os.environ
#: Of a test whose fault another one brings about too, in ``make test``.
only_at_length = pytest.mark.skipif(not IS_LONG, reason="a fault at greater length: make faults")


def each_or_first(*moments: T) -> list[T]:
    """All of them in ``make faults``, the first of them in ``make test``."""
    return list(moments) if IS_LONG else list(moments[:1])


def seeds() -> Iterator[int]:
    """The seeds of this run: ROLLBOOK_FAULT_RUNS of them, from ROLLBOOK_FAULT_SEED on."""
    first = int(os.environ.get("ROLLBOOK_FAULT_SEED", "1"))
    yield from range(first, first + int(os.environ.get("ROLLBOOK_FAULT_RUNS", "1")))
