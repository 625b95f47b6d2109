"""A streaming standby of PostgreSQL: promoted when the primary dies, or asked by mistake."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import httpx
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from rollbook.accounts import users
from rollbook.api.app import create_app
from rollbook.backends.database import connect
from rollbook.engines import Engines
from rollbook.engines.postgres import PORT, Postgres, programs
from rollbook.engines.process import Engine
from rollbook.engines.sockets import socket_folder
from rollbook.service.system import open_system
from rollbook.uploads import lookup, reconciler
from tests import cluster
from tests.files import csv_file, members
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, grow_old, in_members, sent, working
from tests.waiting import to_each
from tests.waiting import until as waiting_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

START_S = 60.0


class Standby(Postgres):
    """A PostgreSQL that is ready when it answers reading."""

    def is_ready(self) -> bool:
        lines = self.pid_file.read_text(encoding="utf-8").splitlines()
        return len(lines) >= 8 and lines[7].strip() in {"ready", "standby"}

    def wait_ready(self, timeout_s: float) -> None:
        Engine.wait_ready(self, timeout_s)


class Pair:
    """A primary and its streaming standby."""

    def __init__(self, folder: Path) -> None:
        cluster.put(folder / "primary")
        self._primary = Engines(folder / "primary", valkey=False)
        address = self._primary.start().database_url
        assert address is not None
        self.primary = address
        home = folder / "standby"
        home.mkdir(mode=0o700)
        subprocess.run(
            [
                programs() / "pg_basebackup", f"--pgdata={home / 'postgres'}", "--checkpoint=fast",
                "--write-recovery-conf", f"--dbname={address}", "--no-sync",
            ],
            check=True, timeout=START_S, capture_output=True,
        )  # fmt: skip
        self._standby = Standby(
            home, socket_folder(home), stop_timeout_s=30, fast_unsafe=True, as_root="auto"
        )
        self._standby.start(None)
        self._standby.wait_ready(START_S)
        self.standby = self._standby.url
        hosts = ",".join(unquote(parse_qs(urlsplit(one).query)["host"][0])
                         for one in (self.primary, self.standby))  # fmt: skip
        #: Both of them, of which the one that takes changes is used.
        self.both = (
            f"postgresql://rollbook@/rollbook?host={quote(hosts)}&port={PORT},{PORT}"
            "&target_session_attrs=read-write"
        )

    def is_behind(self) -> bool:
        """Does the standby lack something that the primary has committed?"""
        with psycopg.connect(self.primary) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_replication"
                " WHERE replay_lsn >= pg_current_wal_insert_lsn()"
            ).fetchone()
        return row == (0,)

    def kill_primary(self) -> None:
        """SIGKILL of all its processes."""
        first = psutil.Process(self._primary.pids["postgres"])
        to_each((first, *first.children(recursive=True)), psutil.Process.kill)

    def promote(self) -> None:
        """Make the standby the primary."""
        with psycopg.connect(self.standby, autocommit=True) as connection:
            connection.execute("SELECT pg_promote(true, 60)")

    def stop(self) -> None:
        """Stop both."""
        self._standby.ask_to_stop()
        self._standby.stop()
        self._primary.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    found = Pair(tmp_path)
    yield found
    found.stop()


def locked(address: str) -> psycopg.Connection[dict[str, Any]]:
    """A connection that lets no merge go on."""
    connection = psycopg.connect(address, row_factory=dict_row)
    connection.execute("LOCK TABLE members IN EXCLUSIVE MODE")
    return connection


async def test_a_promoted_standby_takes_over_and_nothing_that_it_has_is_lost_or_merged_twice(
    pair: Pair, settings: Settings, normal_after: Callable[..., None]
) -> None:
    quick = settings.model_copy(
        update={
            "database_url": SecretStr(pair.both), "backoff_ms": 200, "longest_backoff_s": 2,
            "lock_duration_ms": 1500, "stalled_interval_ms": 500,
        }
    )  # fmt: skip
    async with open_system(quick) as system:
        await users.add_first(system.pool, quick)
        user = await users.acting(system.pool, None)
        async with working(system):
            done = await sent(system, user, csv_file(members(3)))
            assert (await ended(system, user, done))["status"] == "completed"
            holding = await asyncio.to_thread(locked, pair.primary)
            running = await sent(system, user, csv_file(members(4, start=10)))

            async def merges() -> bool:
                found = holding.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone()
                return found is not None

            await until(merges)
            waiting = await sent(system, user, csv_file(members(5, start=20)))
            await until(lambda: not pair.is_behind())  # the standby has all
            pair.kill_primary()
            holding.close()
            began = time.monotonic()
            await asyncio.to_thread(pair.promote)  # the worker keeps its job meanwhile
            await until(lambda: _ended(system, user, [running, waiting]))
            normal_after(time.monotonic() - began, "the standby is promoted, two uploads")
            for upload_id, rows in ((done, 3), (running, 4), (waiting, 5)):
                upload = await lookup.get(system, user, upload_id)
                assert (upload["status"], upload["inserted"]) == ("completed", rows), upload[
                    "error"
                ]
                assert upload["attempt"] == upload["attempts_before"] + 1
            await reconciler.run_once(system)
    with connect(pair.standby) as connection:
        found = connection.execute(
            "SELECT created_by_upload, count(*) AS n FROM members GROUP BY 1"
        ).fetchall()
    assert {row["created_by_upload"]: row["n"] for row in found} == {
        done: 3, running: 4, waiting: 5,
    }  # fmt: skip


async def test_a_standby_that_is_asked_by_mistake_is_said_and_costs_nothing(
    pair: Pair, settings: Settings
) -> None:
    """Its address alone is configured, or its name leads to it for a while."""
    right = settings.model_copy(update={"database_url": SecretStr(pair.primary), "backoff_ms": 200})
    async with open_system(right) as system:
        await users.add_first(system.pool, right)
        user = await users.acting(system.pool, None)
        upload_id = await sent(system, user, csv_file(members(3)))
        waiting_until(lambda: not pair.is_behind(), "the standby has all")
        wrong = right.model_copy(update={"database_url": SecretStr(pair.standby)})
        app = create_app(wrong)
        headers = {"Authorization": f"Bearer {users.issue_token(wrong, user)}"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://test", headers=headers,
            ) as api,
            working(app.state.system) as worker,
        ):  # fmt: skip
            status = await api.get(f"/api/v1/bulk-upload/status/{upload_id}")
            assert status.status_code == 200, status.text
            file = {"file": ("members.csv", csv_file(members(4, start=50)))}
            answer = await api.post("/api/v1/bulk-upload/process", files=file)
            assert answer.status_code == 503, answer.text
            assert "read-only" in answer.json()["detail"]
            ready = await api.get("/readyz")
            assert (ready.status_code, ready.json()["postgresql"]) == (503, "read-only")

            async def is_said() -> bool:
                return any("read-only" in problem for problem in worker.fitness.problems)

            await until(is_said)
        found = await lookup.get(system, user, upload_id)
        assert (found["status"], found["attempt"]) == ("pending", 0)
        async with working(system):
            await grow_old(right)
            await reconciler.run_once(system)
            assert (await ended(system, user, upload_id))["status"] == "completed"
    assert len(in_members(right)) == 3


async def _ended(system: System, user: User, uploads: list[UUID]) -> bool:
    try:
        found = [await lookup.get(system, user, upload_id) for upload_id in uploads]
    except Exception:  # noqa: BLE001 - nobody answers at the moment
        return False
    return all(upload["status"] in {"completed", "failed"} for upload in found)
