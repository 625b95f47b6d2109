"""One installation for the tests of who may see what: API, worker, offices, an upload each."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
from pydantic import SecretStr

from rollbook.accounts import users as accounts
from rollbook.accounts.users import issue_token
from rollbook.model import Role, Scope, User
from rollbook.service.system import open_system
from tests.conftest import PASSWORD
from tests.files import csv_file, member, members
from tests.integration.notifications.receivers import MailServer, WebhookReceiver
from tests.page.site import NO_TLS, Site
from tests.waiting import PATIENCE_S, join

if TYPE_CHECKING:
    from collections.abc import Callable

    from rollbook.config import Settings

#: Every role, with offices that lie beside and above each other; the names stand before the @.
OFFICES = {
    "super": (Role.SUPER_ADMIN, Scope()),
    "national": (Role.NATIONAL_ADMIN, Scope()),
    "gauteng": (Role.PROVINCE_ADMIN, Scope("GP")),
    "limpopo": (Role.PROVINCE_ADMIN, Scope("LP")),
    "johannesburg": (Role.MUNICIPALITY_ADMIN, Scope("GP", "Johannesburg")),
    "tshwane": (Role.MUNICIPALITY_ADMIN, Scope("GP", "City of Tshwane")),
}
#: Sent nothing; the same office as johannesburg.
COLLEAGUE = "colleague"
BASE = "/api/v1/bulk-upload"


class Receivers:
    """A mail server, and receivers of webhooks and of traces, in a thread of their own."""

    def __init__(self) -> None:
        self.mailer = MailServer()
        self.webhook = WebhookReceiver()
        self.collector = WebhookReceiver()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    def __enter__(self) -> Receivers:
        """Listen."""
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        join(self._thread)
        self._loop.close()

    async def _serve(self) -> None:
        async with self.mailer.running(), self.webhook.running(), self.collector.running():
            self._started.set()
            await self._stop.wait()  # no bound: until __exit__

    @property
    def settings(self) -> dict[str, Any]:
        """With which notifications come here."""
        return {
            "smtp_host": "127.0.0.1",
            "smtp_port": self.mailer.port,
            "smtp_tls": "none",
            "smtp_from": "rollbook@example.org",
            "public_url": "https://rollbook.example.org",
            "webhook_url": SecretStr(f"http://127.0.0.1:{self.webhook.port}/hook"),
            "webhook_secret": SecretStr("whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBhbG9uZSwgMzIu"),
            "webhook_allowed_networks": "127.0.0.0/8",
            "otel_traces_endpoint": f"http://127.0.0.1:{self.collector.port}/v1/traces",
        }

    def told(self, job_id: str) -> bool:
        """Have both received an upload's events?"""
        by_mail = any(job_id in mail.as_string() for mail in self.mailer.mails)
        return by_mail and any(job_id.encode() in body for _, _, body in self.webhook.requests)

    def traced(self, job_id: str) -> bool:
        """Have spans of an upload come?"""
        return any(job_id.encode() in body for _, _, body in self.collector.requests)

    def everything(self) -> str:
        """All that has come."""
        mails = [f"{dict(mail.items())} {mail.get_content()}" for mail in self.mailer.mails]
        posted = [*self.webhook.requests, *self.collector.requests]
        return "\n".join([*mails, *map(str, posted)])


class _Lines(httpx.HTTPTransport):
    """Connections that outlive their client, for the next one."""

    def __init__(self, log: Callable[[], str]) -> None:
        super().__init__(verify=NO_TLS)
        self._log = log

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; where a connection breaks, say what the servers have said."""
        try:
            return super().handle_request(request)
        except httpx.TransportError as error:
            error.add_note(f"{request.method} {request.url}; the log:\n{self._log()}")
            raise

    def __exit__(self, *_: object) -> None:
        """Keep them."""

    def close(self) -> None:
        """Keep them."""


@dataclass
class House(Site):
    """The installation."""

    receivers: Receivers = field(default_factory=Receivers)
    users: dict[str, User] = field(default_factory=dict)
    #: The upload of each office: three rows, of which one is refused.
    uploads: dict[str, str] = field(default_factory=dict)
    _lines: _Lines = field(init=False)

    def __post_init__(self) -> None:
        self._lines = _Lines(self.log)

    async def _add_accounts(self) -> None:
        wanted = {**OFFICES, COLLEAGUE: OFFICES["johannesburg"]}
        async with open_system(self.settings) as system:
            for name, (role, scope) in wanted.items():
                email = f"{name}@example.org"
                self.users[name] = await accounts.add(
                    system.pool, email=email, password=PASSWORD, role=role, scope=scope
                )

    def fill(self) -> None:
        """Let every office send its file, and wait until all are through."""
        for number, name in enumerate(OFFICES):
            rows = [*members(2, start=100 * number), member(1, **{"ID Number": "8001015009088"})]
            self.uploads[name] = self.send(name, csv_file(rows), f"file-of-{name}.csv")
        for name, job_id in self.uploads.items():
            self.completed(name, job_id)

    def client(self, name: str | None) -> httpx.Client:
        """A client in the name of an account, or of nobody."""
        headers = {} if name is None else self.bearer(name)
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=PATIENCE_S,
            transport=self._lines,
            trust_env=False,
        )

    def close(self) -> None:
        """Stop the processes, and close the connections to them."""
        super().close()
        httpx.HTTPTransport.close(self._lines)

    def bearer(self, name: str, settings: Settings | None = None) -> dict[str, str]:
        """The header that says who asks."""
        return {
            "Authorization": f"Bearer {issue_token(settings or self.settings, self.users[name])}"
        }

    def send(self, name: str, content: bytes, file_name: str, **fields: Any) -> str:
        """Send a file, and give its job id."""
        with self.client(name) as client:
            answer = client.post(
                f"{BASE}/process", files={"file": (file_name, content)}, data=fields
            )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["data"]["job_id"])

    def completed(self, name: str, job_id: str) -> dict[str, Any]:
        """Wait until an upload is through, and give its status."""
        data = self.ended(name, job_id)
        assert data["status"] == "completed", data["error"]
        return data

    def ended(self, name: str, job_id: str) -> dict[str, Any]:
        """Wait until an upload has ended in any way, and return its status."""
        self.until(
            "SELECT 1 FROM uploads WHERE id = %(id)s"
            " AND status IN ('completed', 'failed', 'cancelled')",
            id=job_id,
        )
        with self.client(name) as client:
            data: dict[str, Any] = client.get(f"{BASE}/status/{job_id}").json()["data"]
        return data

    def seen_by(self, name: str) -> set[str]:
        """The offices whose uploads an office sees."""
        scope = OFFICES[name][1]
        return {other for other, (_, place) in OFFICES.items() if scope.includes(place)}

    def secrets_from(self, name: str) -> set[str]:
        """What an office must read nowhere: ids, file names and addresses of others' uploads."""
        foreign = OFFICES.keys() - self.seen_by(name)
        return {
            secret
            for other in foreign
            for secret in (self.uploads[other], f"file-of-{other}", f"{other}@example.org")
        }

    @property
    def unknown(self) -> str:
        """An id that was never given out."""
        return str(uuid4())

    def all_logs(self) -> str:
        """All that the processes have said."""
        return (self.folder / "log").read_text(errors="replace")
