"""Four hosts, of which one is cut off while it merges.

PostgreSQL with PgBouncer, Valkey with users of its own and an S3 server are on one host, the API
is on another, and two workers are on a host each. The settings are the defaults.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from rollbook.engines import Engines
from rollbook.engines.valkey import _binary as valkey
from tests import cluster
from tests.closing import BRIEFLY
from tests.faults import hosts
from tests.faults.hosts import Network
from tests.faults.site import WITNESS, only_at_length
from tests.files import csv_file, members
from tests.integration.backends.object_store import BUCKET, s3_server
from tests.pooler import pooled
from tests.waiting import kill, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 100_000
WORKERS = ("worker-1", "worker-2")
PASSWORD = "only-these-hosts"
EMAIL = "operator@example.org"
#: What docs/explanation/guarantees.md promises of the default settings, in seconds.
LOCKS_FREE_S, HANDED_OUT_S = 35.0, 80.0
#: How long an attempt may take on a busy machine, in undisturbed ones.
SHARE = 4.0

#: What a user of Valkey needs: the queue's keys, and INFO, which the doctor reads.
ACL = f"user rollbook on >{PASSWORD} ~bull:* &* +@all -@admin -@dangerous +info"
#: What PgBouncer needs to find that a client is gone, see docs/how-to/own-engines.md.
KEEPALIVE = """
tcp_keepalive = 1
tcp_keepidle = 10
tcp_keepintvl = 5
tcp_keepcnt = 3
tcp_user_timeout = 25000
"""
#: The sessions that work on a file, of whichever state.
CHILDREN = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'rollbook-child %%'"
#: A worker has said, since a moment, that it works on nothing.
LETS_GO = """
SELECT FROM workers WHERE pid = %s AND jobs = '{}' AND heartbeat_at > to_timestamp(%s)
"""
#: Seconds for a worker whose host is there again to notice.
PATIENCE_S = 120.0
#: The moments of an attempt at which a host is cut: what its session does then.
MOMENTS = {
    "members are written": "state = 'active' AND query LIKE '%%INSERT INTO members AS m%%'",
    "the report is written": (
        "state = 'idle in transaction' AND EXISTS (SELECT FROM pg_locks JOIN pg_class"
        " ON pg_class.oid = relation WHERE relname = 'members' AND mode = 'RowExclusiveLock'"
        " AND pg_locks.pid = pg_stat_activity.pid)"
    ),
    "its rows are copied": "state = 'active' AND query LIKE '%%COPY staged FROM STDIN%%'",
}


class Installation:
    """Rollbook on four hosts, with the default settings."""

    def __init__(self, folder: Path, more: ExitStack, *, by_pooler: bool) -> None:
        self._folder, self._more = folder, more
        self.network = more.enter_context(Network("engines", "api", *WORKERS))
        self._engines = self.network.address("engines")
        with self.network.inside("engines"):
            database_url = self._postgres(by_pooler=by_pooler)
            self._valkey()
            s3 = more.enter_context(s3_server(folder, self._engines))
        self._environment = {
            **{name: value for name, value in os.environ.items() if "ROLLBOOK" not in name},
            "DATABASE_URL": database_url,
            "REDIS_URL": f"redis://rollbook:{PASSWORD}@{self._engines}:6379/0",
            "ROLLBOOK_STORE_URL": f"s3://{BUCKET}",
            "ROLLBOOK_STORE_ALLOW_HTTP": "true",
            "ROLLBOOK_SECRET_KEY": "known to nobody but these four hosts",
            "ROLLBOOK_HOST": self.network.address("api"),
            "ROLLBOOK_NEW_PASSWORD": PASSWORD,
            "AWS_ENDPOINT_URL": f"http://{self._engines}:{s3}",
            "AWS_ACCESS_KEY_ID": "synthetic",
            "AWS_SECRET_ACCESS_KEY": "synthetic",
            "AWS_REGION": "af-south-1",
        }
        self._api = self._run("api", "serve")
        #: The workers by the names of their hosts.
        self.workers = {name: self._run(name, "worker") for name in WORKERS}
        self._sign_in()

    def send(self, first: int) -> UUID:
        """Send a file of people who begin at this number."""
        content = csv_file(members(ROWS, start=first))
        with self.network.inside("api"):
            answer = self._http.post(
                "/api/v1/bulk-upload/process", files={"file": ("members.csv", content)}
            )
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["data"]["job_id"])

    def report(self, upload_id: UUID) -> httpx.Response:
        """The report of an upload, as it is downloaded."""
        with self.network.inside("api"):
            return self._http.get(f"/api/v1/bulk-upload/report/{upload_id}")

    def query(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the record, read on its own host."""
        return self._record.execute(statement.encode(), parameters).fetchall()

    def upload(self, upload_id: UUID) -> dict[str, Any]:
        """The record of an upload."""
        return self.query("SELECT * FROM uploads WHERE id = %s", upload_id)[0]

    def log(self) -> str:
        """The last of what all processes have said."""
        return "".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self._folder.glob("*.log"))
        )

    def _is_ready(self) -> bool:
        assert self._api.poll() is None, self.log()
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _run(self, host: str, command: str) -> subprocess.Popen[bytes]:
        home = self._folder / host
        home.mkdir()
        log = self._more.enter_context((self._folder / f"{host}.log").open("wb"))
        with self.network.inside(host):
            process = subprocess.Popen(
                [sys.executable, "-m", "rollbook", command],
                cwd=home,
                env={**self._environment, "ROLLBOOK_DATA_DIR": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._more.callback(kill, process)
        return process

    def _postgres(self, *, by_pooler: bool) -> str:
        """Start PostgreSQL; its address for the other hosts."""
        cluster.put(self._folder / "pg")
        (self._folder / "pg" / "postgres" / "pg_hba.conf").write_text(
            f"local all all trust\nhost all all {hosts.ALL} trust\n", encoding="ascii"
        )
        options = {"listen_addresses": self._engines}
        engine = Engines(self._folder / "pg", valkey=False, options=options)
        self._more.callback(engine.stop)
        own = engine.start().database_url
        assert own is not None
        self._record = self._more.enter_context(
            psycopg.connect(own, autocommit=True, row_factory=dict_row)
        )
        self._record.execute(WITNESS)
        if not by_pooler:
            return f"postgresql://rollbook@{self._engines}:5432/rollbook"
        return self._more.enter_context(
            pooled(
                own, mode="session", host=self._engines, password=PASSWORD, size=60, more=KEEPALIVE
            )
        )

    def _valkey(self) -> None:
        rules = self._folder / "users.acl"
        rules.write_text(f"user default off\n{ACL}\n", encoding="ascii")
        options = ["--bind", self._engines, "--aclfile", str(rules), "--appendonly", "yes"]
        log = self._more.enter_context((self._folder / "valkey.log").open("wb"))
        process = subprocess.Popen(
            [valkey(), *options, "--dir", str(self._folder)], stdout=log, stderr=log
        )
        self._more.callback(kill, process)

    def _sign_in(self) -> None:
        with self.network.inside("api"):
            subprocess.run(
                [sys.executable, "-m", "rollbook", "users", "add", EMAIL, "--role", "super_admin"],
                cwd=self._folder / "api",
                env=self._environment,
                check=True,
                capture_output=True,
                timeout=PATIENCE_S,
            )
        self._http = self._more.enter_context(
            httpx.Client(
                base_url=f"http://{self.network.address('api')}:8000",
                timeout=120,
                trust_env=False,
                limits=BRIEFLY,
            )
        )
        signed = {"email": EMAIL, "password": PASSWORD}
        with self.network.inside("api"):
            until(self._is_ready, "the API is ready")
            answer = self._http.post("/api/v1/auth/login", json=signed)
        assert answer.is_success, answer.text
        self._http.headers["Authorization"] = f"Bearer {answer.json()['data']['token']}"


@only_at_length
@pytest.mark.parametrize("by_pooler", [False, True], ids=["direct", "pgbouncer"])
def test_a_file_whose_host_is_cut_off_is_merged_once_by_another(
    by_pooler: bool, tmp_path: Path, normal_after: Callable[..., None]
) -> None:
    if reason := hosts.unavailable():
        pytest.skip(reason)
    with ExitStack() as more:
        installation = Installation(tmp_path, more, by_pooler=by_pooler)
        began = time.monotonic()
        _completed(installation, installation.send(0), SHARE * HANDED_OUT_S)
        undisturbed_s = time.monotonic() - began
        normal_after(undisturbed_s, f"undisturbed, {ROWS} rows")
        for number, (moment, condition) in enumerate(MOMENTS.items(), start=1):
            _cut_and_join(installation, number, moment, condition, undisturbed_s, normal_after)


def _cut_and_join(
    installation: Installation,
    number: int,
    moment: str,
    condition: str,
    undisturbed_s: float,
    normal_after: Callable[..., None],
) -> None:
    upload_id = installation.send(number * ROWS)
    sessions = f"{CHILDREN} AND {condition}"
    patience_s = HANDED_OUT_S + SHARE * undisturbed_s
    [session] = until(
        lambda: installation.query(sessions), moment, patience_s=patience_s, pause_s=0.002
    )
    host, worker = _where(installation, upload_id)
    installation.network.cut(host)
    cut = time.monotonic()
    until(
        lambda: session not in installation.query(CHILDREN),
        "the session of the host that is cut has ended",
        patience_s=2 * LOCKS_FREE_S,
    )
    free_s = time.monotonic() - cut
    normal_after(free_s, f"locks are free, cut while {moment}")
    _completed(installation, upload_id, patience_s)
    completed_s = time.monotonic() - cut
    normal_after(completed_s, f"completed, cut while {moment}")
    assert free_s < LOCKS_FREE_S
    installation.network.join(host)
    joined_at = time.time()
    until(
        lambda: installation.query(LETS_GO, worker.pid, joined_at),
        "the worker that was cut gives the file up",
        patience_s=PATIENCE_S,
    )
    upload = installation.upload(upload_id)
    assert (upload["inserted"], upload["rows_total"]) == (ROWS, ROWS)
    [written] = installation.query(
        "SELECT count(*) AS writes, count(DISTINCT id_number) AS people FROM member_writes"
        " WHERE upload_id = %s", upload_id,
    )  # fmt: skip
    assert written == {"writes": ROWS, "people": ROWS}
    assert installation.report(upload_id).is_success


def _where(installation: Installation, upload_id: UUID) -> tuple[str, subprocess.Popen[bytes]]:
    """The host that works on a file, and its worker."""
    [found] = installation.query(
        "SELECT pid FROM workers JOIN uploads ON worker = name WHERE uploads.id = %s", upload_id
    )
    return next(
        (name, process)
        for name, process in installation.workers.items()
        if process.pid == found["pid"]
    )


def _completed(installation: Installation, upload_id: UUID, patience_s: float) -> None:
    def is_completed() -> bool:
        upload = installation.upload(upload_id)
        assert upload["status"] != "failed", upload["error"]
        return bool(upload["status"] == "completed")

    try:
        until(is_completed, "completed", patience_s=patience_s)
    except AssertionError as error:
        raise AssertionError(f"{error}; the log:\n{installation.log()}") from None
