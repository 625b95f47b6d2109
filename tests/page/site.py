"""A running installation for the page: API and worker as processes, accounts, and levers."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from rollbook.accounts import users
from rollbook.backends.database import connect
from rollbook.config import Settings, environment_for
from rollbook.model import Role, Scope
from rollbook.service.system import open_system
from tests import warm_process
from tests.closing import BRIEFLY
from tests.conftest import PASSWORD
from tests.ports import free_port
from tests.waiting import PATIENCE_S, kill, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Nothing here is encrypted.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
#: Role and place of each account, by the name before its address's @.
ACCOUNTS = {
    "thandi.nkosi": (Role.SUPER_ADMIN, Scope()),
    "pieter": (Role.PROVINCE_ADMIN, Scope("GP")),
    "lerato": (Role.PROVINCE_ADMIN, Scope("LP")),
    "sipho": (Role.MUNICIPALITY_ADMIN, Scope("KZN", "eThekwini")),
}
#: An operator, two offices, and a third that has never sent anything.
OPERATOR, GAUTENG, LIMPOPO, ETHEKWINI = (f"{name}@example.org" for name in ACCOUNTS)

#: A failure on our side, which goes away: as long as it lasts no member can be written.
_REFUSE = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'not now'; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON members EXECUTE FUNCTION refuse()
"""


@dataclass
class Site:
    """One installation."""

    folder: Path
    settings: Settings
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def watched(self) -> Path:
        """The folder that ``start("watch")`` takes files from."""
        assert self.settings.watch_dir is not None
        return self.settings.watch_dir

    def open(self) -> None:
        """Make the accounts and the folder, and start the processes."""
        self.watched.mkdir()
        asyncio.run(self._add_accounts())
        self.start("serve")
        self.start("worker")
        self.ready()

    async def _add_accounts(self) -> None:
        async with open_system(self.settings) as system:
            for name, (role, scope) in ACCOUNTS.items():
                await users.add(
                    system.pool,
                    email=f"{name}@example.org",
                    password=PASSWORD,
                    role=role,
                    scope=scope,
                )

    def close(self) -> None:
        """Stop the processes."""
        for name in list(self.processes):
            self.stop(name)

    def start(self, command: str) -> None:
        """Start ``rollbook serve``, ``worker`` or ``watch``."""
        with (self.folder / "log").open("ab") as log:
            self.processes[command] = warm_process.start(
                command,
                cwd=self.folder,
                env={**environment_for(self.settings), "ROLLBOOK_LOG_FORMAT": "human"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self, command: str) -> None:
        """Kill one of them; what is to survive that, survives it."""
        process = self.processes.pop(command)
        kill(process)

    def ready(self) -> None:
        """Wait for the API."""
        try:
            until(self.answers, "the API answers", patience_s=100)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.log()}") from None

    def answers(self) -> bool:
        """Is the API ready?"""
        try:
            # Its own context would load all certificates, fifty times a second.
            return httpx.get(f"{self.url}/readyz", verify=NO_TLS, timeout=PATIENCE_S).is_success
        except httpx.TransportError:
            return False

    def log(self) -> str:
        """What the processes have said."""
        return (self.folder / "log").read_text(errors="replace")[-6000:]

    def sign_in(self, email: str) -> Any:
        """What the API says of a new session: its token, the user, the seconds that it has."""
        body = {"email": email, "password": PASSWORD}
        answer = httpx.post(f"{self.url}/api/v1/auth/login", json=body, timeout=PATIENCE_S)
        return answer.json()["data"]

    def api(self, email: str = OPERATOR) -> httpx.Client:
        """A client of the REST interface, signed in: the clients of an account share a session."""
        if email not in self.tokens:
            self.tokens[email] = self.sign_in(email)["token"]
        headers = {"Authorization": f"Bearer {self.tokens[email]}"}
        base = f"{self.url}/api/v1"
        return httpx.Client(base_url=base, headers=headers, timeout=PATIENCE_S, limits=BRIEFLY)

    def idle(self) -> None:
        """Wait until no upload is open, also none of an earlier test."""
        self.until(
            "SELECT 1 WHERE NOT EXISTS"
            " (SELECT FROM uploads WHERE status IN ('pending', 'processing'))"
        )

    def sent(self, content: bytes, name: str, email: str = OPERATOR, **options: str) -> str:
        """The job id of a file that was sent by the API."""
        with self.api(email) as api:
            files = {"file": (name, content)}
            answer = api.post("/bulk-upload/process", files=files, data=options)
        assert answer.is_success, answer.text
        return str(answer.json()["data"]["job_id"])

    def uploaded(self, content: bytes, name: str, email: str = OPERATOR, **options: str) -> str:
        """The job id of a file that was sent by the API, and is through."""
        job_id = self.sent(content, name, email, **options)
        self.wait_for("completed", job_id)
        return job_id

    def wait_for(self, status: str, *job_ids: str) -> None:
        """Wait until uploads have a status."""
        self.until(
            "SELECT 1 WHERE NOT EXISTS (SELECT FROM uploads WHERE id = ANY(%(ids)s::uuid[])"
            " AND status <> %(status)s)",
            ids=list(job_ids),
            status=status,
        )

    def until(self, query: str, **parameters: Any) -> None:
        """Wait until the database answers a query with a row.

        The API would work for each look, and there are twenty in a second.
        """
        with connect(self.settings.database_address) as connection:
            until(lambda: connection.execute(query, parameters).fetchone(), f"{query} {parameters}")

    def execute(self, statements: str, **parameters: str | None) -> None:
        """Change the database without the system's knowledge."""
        with connect(self.settings.database_address) as connection:
            connection.execute(statements, parameters or None)

    def ask(self, query: str, **parameters: Any) -> list[Any]:
        """The first column of what the database answers."""
        with connect(self.settings.database_address) as connection:
            return [next(iter(row.values())) for row in connection.execute(query, parameters)]

    def move(self, email: str, role: Role, scope: Scope) -> None:
        """Give an account another role and place, as when somebody changes offices."""
        self.execute(
            "UPDATE users SET role = %(role)s, province = %(province)s, "
            "municipality = %(municipality)s WHERE email = %(email)s",
            email=email,
            role=role,
            province=scope.province,
            municipality=scope.municipality,
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold every merge: a running upload stays running until the end of this."""
        with connect(self.settings.database_address) as connection:
            connection.execute("LOCK TABLE members IN EXCLUSIVE MODE")
            yield

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Let every merge fail."""
        self.execute(_REFUSE)
        try:
            yield
        finally:
            self.execute("DROP TRIGGER refuse ON members")


def site_settings(database_url: str, redis_url: str, folder: Path) -> Settings:
    """Settings under which things happen at once."""
    return Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        data_dir=folder / "data",
        watch_dir=folder / "incoming",
        watch_still_s=0.1,
        secret_key=SecretStr("known to the tests of the page alone"),
        queue_name="page",
        port=free_port(),
        attempts=1,
        backoff_ms=10,
        reconcile_interval_s=1,
        shutdown_grace_s=1,
        # As long as ``Site.held`` may last: an upload that gives up leaves its slot to the next.
        lock_wait_s=20 * 60,
        job_timeout_s=20 * 60,
        check_timeout_s=PATIENCE_S,
        token_lifetime_min=4 * 60,  # that of ``Site.tokens`` is never renewed
    )
