"""Notifications of the end of uploads: mails that a server got, webhooks whose signature holds."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import re
import ssl
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpcore
import pytest
import standardwebhooks
import trustme
from pydantic import SecretStr

from rollbook import languages
from rollbook.backends.database import connect
from rollbook.errors import AddressRefusedError, NotificationError
from rollbook.model import OUTCOMES, RESULTS, Role, User
from rollbook.notifications import outbox, webhook
from rollbook.notifications.mail import compose
from rollbook.notifications.webhook import Guard, is_public, sign
from rollbook.notifications.worker import CONCURRENCY, deliver_due
from rollbook.service.system import open_system
from rollbook.uploads import control
from tests.files import csv_file, id_number, member, members
from tests.integration.notifications.receivers import MailServer, WebhookReceiver
from tests.integration.voter_roll.rolls import asking, until, verified
from tests.integration.worker.test_worker import ended, flush, sent, working
from tests.redis_content import everything
from tests.roll import ScriptedRoll
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.notifications.outbox import Notification
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

SECRET = "whsec_" + base64.b64encode(b"the key that signs in the tests.").decode()
OUTBOX = "SELECT * FROM notifications ORDER BY channel, created_at"


@pytest.fixture
async def mailer() -> AsyncIterator[MailServer]:
    async with MailServer().running() as server:
        yield server


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver().running() as server:
        yield server


def mailing(settings: Settings, mailer: MailServer, **changes: Any) -> Settings:
    quick = {
        "smtp_host": "127.0.0.1",
        "smtp_port": mailer.port,
        "smtp_tls": "none",
        "smtp_from": "rollbook@example.org",
        "public_url": "https://rollbook.example.org",
        "notification_backoff_s": 0.05,
    }
    return settings.model_copy(update={**quick, **changes})


def posting(settings: Settings, receiver: WebhookReceiver, **changes: Any) -> Settings:
    quick = {
        "webhook_url": SecretStr(f"http://127.0.0.1:{receiver.port}/hook?token=not-for-the-log"),
        "webhook_secret": SecretStr(SECRET),
        "webhook_allowed_networks": "127.0.0.0/8",
        "public_url": "https://rollbook.example.org",
        "notification_backoff_s": 0.05,
    }
    return settings.model_copy(update={**quick, **changes})


async def through(settings: Settings, user: User, content: bytes, **options: Any) -> UUID:
    """Process a file to its end, with a worker that announces it."""
    async with open_system(settings) as system, working(system):
        upload_id = await sent(system, user, content, **options)
        await ended(system, user, upload_id)
        await settled(settings)
    return upload_id


async def cut_short(settings: Settings, make_user: MakeUser, sender: User | None = None) -> None:
    """Have an upload end unread, because another user cancels it, and announce it."""
    owner = sender or await make_user()
    async with open_system(settings) as system, delivering(system):
        upload_id = await sent(system, owner, csv_file(1))
        await control.cancel(system, await make_user(), upload_id)
        await settled(settings)


async def settled(settings: Settings) -> list[Row]:
    """Wait until every notification is delivered or given up."""
    return await until(
        settings,
        OUTBOX,
        lambda rows: rows and all(row["delivered_at"] or row["given_up_at"] for row in rows),
    )


async def tried(settings: Settings, tries: int = 1) -> list[Row]:
    """Wait until each notification was tried so often, in vain or not."""
    return await until(
        settings, OUTBOX, lambda rows: rows and all(row["tries"] >= tries for row in rows)
    )


@contextlib.asynccontextmanager
async def delivering(system: System) -> AsyncIterator[asyncio.Event]:
    """A worker that only delivers notifications, until the event that it yields is set."""
    stop = asyncio.Event()
    task = asyncio.create_task(deliver_due(system, stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


def verify(request: tuple[str, dict[str, str], bytes], secret: str = SECRET) -> dict[str, Any]:
    """What a receiver with the specification's own library makes of it."""
    _, headers, body = request
    content: dict[str, Any] = standardwebhooks.Webhook(secret).verify(body, headers)
    return content


# --- by mail --------------------------------------------------------------------------------------


async def test_the_uploader_gets_a_mail_with_counts_and_a_link_and_nothing_of_a_member(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    content = csv_file([*members(5), member(1), member(7, Surname="")])
    job_id = await through(mailing(settings, mailer), user, content)
    (mail,) = mailer.mails
    assert mailer.recipients == [user.email]
    assert mail["From"] == "Rollbook <rollbook@example.org>"
    assert mail["Subject"] == "Your upload of members.csv is complete: 5 of 7 rows accepted"
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert f"https://rollbook.example.org/#/uploads/{job_id}" in text
    assert re.search(r"5 +new members", text)
    assert re.search(r"1 +refused: invalid", text)
    assert re.search(r"1 +refused: repeats another row", text)
    assert re.search(r"^Your file 'members.csv' of 20\d\d-\d\d-\d\d \d\d:\d\d SAST is", text)
    for personal in (id_number(0), "First0", "Last0", "082000"):
        assert personal not in mail.as_string()
    (row,) = await settled(settings)
    assert mail["Message-ID"] == f"<{row['id']}@example.org>"


async def test_a_mail_says_what_there_is_to_know_of_an_end(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    """A failure's kind, and nothing of the file; rows in doubt; that nothing was changed."""
    user = await make_user()
    failing = csv_file([{"Sipho Dlamini": "x"}], headers=["Sipho Dlamini"])
    doubtful = csv_file([member(1), member(2, **{"Cell Number": "x"})])
    async with open_system(mailing(settings, mailer)) as system, working(system):
        uploads = [
            await sent(system, user, failing),
            await sent(system, user, doubtful),
            await sent(system, user, csv_file(2), dry_run=True),
        ]
        for upload_id in uploads:
            await ended(system, user, upload_id)
        await until(settings, OUTBOX, lambda rows: len(rows) == len(uploads))
        await settled(settings)
    of_failure, of_doubtful, of_dry_run = (
        next(mail for mail in mailer.mails if str(upload_id) in mail.get_content())
        for upload_id in uploads
    )
    assert of_failure["Subject"] == "Your upload of members.csv failed"
    assert "No column with ID numbers was found" in of_failure.get_content()
    assert "Sipho" not in of_failure.get_content()
    assert "Rows with a warning, to be checked: 1." in of_doubtful.get_content()
    assert "dry run: no member was changed" in of_dry_run.get_content()


def test_a_mail_shows_the_files_name_on_one_line_without_id_numbers(settings: Settings) -> None:
    name = f"{id_number(1)}\r\nBcc: x@example.org \N{RIGHT-TO-LEFT OVERRIDE}{'long ' * 40}.csv"
    moment = dt.datetime(2026, 11, 24, 23, 30, tzinfo=dt.UTC)
    notification = outbox.Notification(
        id="1", kind="failed", channel="email", ended_at=moment, tries=0, email="a@example.org",
        upload_id=uuid4(), sent_at=moment, file_name=name, is_dry_run=False, rows_total=None,
        rows_with_warnings=None, error_code="no_rows", outcomes={}, roll=None, is_current=True,
    )  # fmt: skip
    own = settings.model_copy(update={"smtp_from": "r@example.org", "time_zone": "Asia/Tokyo"})
    mail = compose(own, notification)
    text = mail.get_content()
    assert id_number(1) not in f"{mail['Subject']} {text}"
    assert (mail["Bcc"], "\N{RIGHT-TO-LEFT OVERRIDE}" in text) == (None, False)
    first, *_ = text.splitlines()
    assert first.startswith(f"Your file '{id_number(1)[:4]}")
    assert "\u2026' of 2026-11-25 08:30 JST could not be processed" in first


@pytest.mark.parametrize("language", [*languages.available(), "xx"])
@pytest.mark.parametrize("is_chosen", [True, False])
def test_a_mail_is_in_the_uploaders_language_or_the_installations(
    settings: Settings, language: str, is_chosen: bool
) -> None:
    """A language whose catalogue is gone is English, and the mail says so."""
    moment = dt.datetime(2026, 11, 24, 23, 30, tzinfo=dt.UTC)
    for kind in ("completed", "failed", "cancelled", "verified"):
        notification = outbox.Notification(
            id="1", kind=kind, channel="email", ended_at=moment, tries=0, email="a@example.org",
            upload_id=uuid4(), sent_at=moment, file_name="a.csv", is_dry_run=False, rows_total=3,
            rows_with_warnings=2, error_code="no_rows",
            outcomes={**dict.fromkeys(OUTCOMES, 0), "inserted": 2, "invalid": 1},
            roll={**dict.fromkeys(RESULTS, 1)}, is_current=True,
            language=language if is_chosen else None,
        )  # fmt: skip
        own = settings.model_copy(
            update={"smtp_from": "r@example.org", "language": "en" if is_chosen else language}
        )
        mail = compose(own, notification)
        with languages.speaking(language):
            counts = {"n": 3, "accepted": 2} if kind == "completed" else {}
            subject = languages.phrase(f"mail.{kind}.subject", file="a.csv", **counts)
            automatic = languages.phrase("mail.automatic")
        assert mail["Subject"] == subject
        assert mail["Content-Language"] == (language if language != "xx" else "en")
        assert mail.get_content().splitlines()[-1] == automatic


async def test_the_last_answer_of_the_voter_roll_is_told_in_a_mail_of_its_own(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    user = await make_user()
    with ScriptedRoll().running() as url:
        both = asking(mailing(settings, mailer), url)
        async with open_system(both) as system, working(system):
            upload_id = await sent(system, user, csv_file(3))
            await verified(both, upload_id)
            rows = await until(
                settings, OUTBOX, lambda found: sum(bool(row["delivered_at"]) for row in found) == 2
            )
    assert {row["kind"] for row in rows} == {"completed", "verified"}
    (mail,) = [mail for mail in mailer.mails if "voter roll" in mail["Subject"]]
    assert "a new report" in mail.get_content()


async def test_a_mail_that_the_server_takes_later_is_sent_again_under_the_same_id(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    mailer.answers = ["451 greylisted, come again", "451 greylisted, come again"]
    await cut_short(mailing(settings, mailer), make_user)
    (row,) = await settled(settings)
    assert row["tries"] == 3
    assert row["delivered_at"] is not None
    assert [mail["Message-ID"] for mail in mailer.mails] == [f"<{row['id']}@example.org>"]


async def test_a_mail_to_an_address_that_there_is_not_is_given_up_at_once(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    mailer.answers = ["550 no such user"]
    await cut_short(mailing(settings, mailer), make_user)
    (row,) = await settled(settings)
    assert row["given_up_at"] is not None
    assert (row["tries"], row["error_code"]) == (1, "notification_refused")
    assert mailer.mails == []


async def test_a_mail_server_that_is_away_is_tried_so_often_and_no_more(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    away = mailing(settings, mailer, smtp_port=1, notification_attempts=3)
    await cut_short(away, make_user)
    (row,) = await settled(settings)
    assert row["given_up_at"] is not None
    assert (row["tries"], row["error_code"]) == (3, "notification_failed")


async def test_an_address_with_a_line_break_adds_no_header_and_no_receiver(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    user = await make_user()
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE users SET email = %s WHERE id = %s",
            ("a@example.org\r\nBcc: somebody@example.net", user.id),
        )
    await cut_short(mailing(settings, mailer), make_user, user)
    (row,) = await settled(settings)
    assert row["given_up_at"] is not None
    assert (row["tries"], row["error_code"]) == (1, "notification_refused")
    assert mailer.mails == []


async def test_an_account_without_an_address_and_a_closed_one_get_no_mail(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    closed = await make_user()
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE users SET disabled_at = now() WHERE id = %s", (closed.id,))
        account = connection.execute("SELECT * FROM users WHERE email = 'folder'").fetchone()
        assert account is not None
        folder = User.from_row(account)
    async with open_system(mailing(settings, mailer)) as system, working(system):
        for number, user in enumerate((folder, closed, await make_user()), start=1):
            await ended(system, user, await sent(system, user, csv_file(number)))
        rows = await settled(settings)
    assert len(rows) == 1
    assert len(mailer.mails) == 1


@pytest.mark.parametrize("how", ["starttls", "tls"])
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_an_encrypted_mail_goes_only_to_a_server_whose_certificate_is_good(
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    is_trusted: bool,
    tmp_path: Any,
) -> None:
    good, other = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    good.issue_cert("127.0.0.1").configure_cert(context)
    (good if is_trusted else other).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = {how: context}
    async with MailServer().running(**tls) as mailer:
        secure = mailing(settings, mailer, smtp_tls=how, notification_attempts=1)
        await cut_short(secure, make_user)
        assert mailer.encrypted == ([True] if is_trusted else [])
    (row,) = await settled(settings)
    assert (row["delivered_at"] is not None) == is_trusted


async def test_where_starttls_is_asked_for_nothing_goes_in_clear_text(
    settings: Settings, make_user: MakeUser, mailer: MailServer
) -> None:
    secure = mailing(settings, mailer, smtp_tls="starttls", notification_attempts=1)
    await cut_short(secure, make_user)
    (row,) = await settled(settings)
    assert row["given_up_at"] is not None
    assert mailer.mails == []


# --- by webhook -----------------------------------------------------------------------------------


async def test_a_webhook_tells_the_counts_and_its_signature_holds(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user = await make_user()
    job_id = await through(posting(settings, receiver), user, csv_file([*members(3), member(0)]))
    (request,) = receiver.requests
    content = verify(request)
    (row,) = await settled(settings)
    assert content == {
        "type": "upload.completed",
        "timestamp": row["created_at"].isoformat(),
        "data": {
            "job_id": str(job_id),
            "dry_run": False,
            "rows_total": 4,
            "outcomes": {
                "inserted": 3, "updated": 0, "unchanged": 0, "invalid": 0, "duplicate": 1,
                "out_of_scope": 0,
            },
            "error_code": None,
            "verification": None,
            "url": f"https://rollbook.example.org/#/uploads/{job_id}",
        },
    }  # fmt: skip
    path, headers, body = request
    assert path == "/hook?token=not-for-the-log"
    assert headers["webhook-id"] == row["id"]
    assert headers["content-type"] == "application/json"
    for personal in (id_number(0), "First0", user.email, "members.csv"):
        assert personal.encode() not in body


async def test_a_body_that_was_changed_on_the_way_is_found_out(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    await cut_short(posting(settings, receiver), make_user)
    path, headers, body = receiver.requests[0]
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify((path, headers, body.replace(b"cancelled", b"completed")))


async def test_while_a_key_is_changed_the_old_and_the_new_one_both_hold(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    new = "whsec_" + base64.b64encode(b"another key, of 32 bytes as well").decode()
    both = posting(settings, receiver, webhook_secret=SecretStr(f"{new} {SECRET}"))
    await cut_short(both, make_user)
    assert verify(receiver.requests[0], new) == verify(receiver.requests[0], SECRET)


async def test_the_systems_certificates_are_read_once_and_only_for_what_is_encrypted(
    settings: Settings, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
    notification = outbox.Notification(
        id="msg_1", kind="cancelled", channel="webhook", ended_at=moment, tries=0, email="a@b.org",
        upload_id=uuid4(), sent_at=moment, file_name="a.csv", is_dry_run=False, rows_total=None,
        rows_with_warnings=None, error_code=None, outcomes={}, roll=None, is_current=True,
    )  # fmt: skip
    read: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def noted(*given: Any, **named: Any) -> ssl.SSLContext:
        read.append(make(*given, **named))
        return read[-1]

    webhook._trusting.cache_clear()
    monkeypatch.setattr(ssl, "create_default_context", noted)
    monkeypatch.setattr(webhook, "_TRUSTED_FOR_S", float("inf"))
    target = webhook.of_settings(posting(settings, receiver))
    assert await webhook.send(settings, target, notification) == 204
    assert read == []
    encrypted = replace(target, url="https://127.0.0.1:1/")
    for _ in range(2):
        with pytest.raises(NotificationError, match="can't be reached"):
            await webhook.send(settings, encrypted, notification)
    assert len(read) == 1


def test_the_signature_is_that_of_the_specifications_library() -> None:
    moment = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
    own = sign([b"k" * 24], "msg_1", int(moment.timestamp()), b'{"a":"\xc3\xa9"}')
    assert own == standardwebhooks.Webhook(b"k" * 24).sign("msg_1", moment, '{"a":"é"}')


async def test_after_an_error_a_webhook_is_sent_again_with_the_same_id_and_body(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    receiver.answers = ["500 Internal Server Error", "503 Service Unavailable"]
    await cut_short(posting(settings, receiver), make_user)
    (row,) = await settled(settings)
    assert row["tries"] == 3
    assert receiver.ids == [row["id"]] * 3
    assert len({body for _, _, body in receiver.requests}) == 1
    for request in receiver.requests:
        verify(request)


async def test_a_receiver_that_asks_for_time_gets_it(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    receiver.answers = ["429 Too Many Requests\r\nRetry-After: 600"]
    user = await make_user()
    async with open_system(posting(settings, receiver)) as system, delivering(system):
        await control.cancel(system, user, await sent(system, user, csv_file(1)))
        (row,) = await tried(settings)
    assert 590 < (row["due_at"] - row["created_at"]).total_seconds() < 660
    assert len(receiver.requests) == 1


async def test_a_receiver_that_never_answers_is_left_after_its_time(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    receiver.answers = [None]
    # On a busy machine, one that would be answered may take too long as well.
    hasty = posting(settings, receiver, notification_timeout_s=0.3, notification_attempts=1000)
    await cut_short(hasty, make_user)
    (row,) = await settled(settings)
    assert row["delivered_at"] is not None
    assert row["tries"] >= 2
    assert len(receiver.ids) >= 2
    assert set(receiver.ids) == {row["id"]}


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    receiver.answers = ["410 Gone"]
    await cut_short(posting(settings, receiver), make_user)
    assert (await settled(settings))[0]["given_up_at"] is not None
    assert len(receiver.requests) == 1


async def test_a_redirect_is_not_followed(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    receiver.answers = [f"307 Moved\r\nLocation: http://127.0.0.1:{receiver.port}/elsewhere"]
    await cut_short(posting(settings, receiver), make_user)
    assert {path for path, _, _ in receiver.requests} == {"/hook?token=not-for-the-log"}
    assert len(receiver.requests) == 2


# --- where a webhook may not lie ------------------------------------------------------------------


async def test_nothing_is_sent_to_this_machine_unless_it_is_allowed(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    careful = posting(
        settings, receiver, webhook_allowed_networks="10.0.0.0/8", notification_attempts=2
    )
    await cut_short(careful, make_user)
    (row,) = await settled(settings)
    assert (row["error_code"], row["tries"]) == ("webhook_address_refused", 2)
    assert receiver.requests == []


def test_an_address_that_is_nobodys_in_the_internet_is_not_public() -> None:
    for address in (
        "127.0.0.1", "127.1.2.3", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "224.0.1.1", "255.255.255.255", "198.18.0.1", "::", "::1", "fe80::1", "fd00:ec2::254",
        "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1",
        "::127.0.0.1", "fec0::1", "100::1", "240.0.0.1", "4000::1",
    ):  # fmt: skip
        assert not is_public(ip_address(address)), address


def test_an_address_in_the_internet_is_public() -> None:
    for address in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"):
        assert is_public(ip_address(address)), address


class Resolver:
    """Answers with one address after the other, as a name server that means harm would."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, _host: str, port: int, **_: Any) -> list[Any]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [(None, None, None, "", (address, port)) for address in answer]


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"]], ids=str)
async def test_a_name_with_any_address_that_is_not_public_is_refused(
    monkeypatch: pytest.MonkeyPatch, receiver: WebhookReceiver, answer: list[str]
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", Resolver(answer).getaddrinfo)
    with pytest.raises(AddressRefusedError):
        await Guard([]).connect_tcp("hooks.example.org", receiver.port)


async def test_the_connection_goes_to_the_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, receiver: WebhookReceiver
) -> None:
    # The second answer is the one that must never be asked for.
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver.getaddrinfo)
    guard = Guard([ip_network("127.0.0.1/32")], is_encrypted=False)
    stream = await guard.connect_tcp("hooks.example.org", receiver.port, timeout=5)
    assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    assert resolver.asked == 1
    await stream.aclose()


async def test_an_address_of_the_internet_gets_nothing_in_clear_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver(["93.184.215.14"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver.getaddrinfo)
    with pytest.raises(AddressRefusedError):
        await Guard([], is_encrypted=False).connect_tcp("hooks.example.org", 80)


async def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, receiver: WebhookReceiver
) -> None:
    resolver = Resolver(["127.0.0.2", "127.0.0.1"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver.getaddrinfo)
    guard = Guard([ip_network("127.0.0.0/8")])
    stream = await guard.connect_tcp("hooks.example.org", receiver.port, timeout=5)
    assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    await stream.aclose()
    resolver.answers = [["127.0.0.2"]]
    with pytest.raises(httpcore.ConnectError):
        await guard.connect_tcp("hooks.example.org", receiver.port, timeout=5)


# --- the outbox -----------------------------------------------------------------------------------


async def test_a_notification_survives_the_loss_of_everything_in_redis_and_waits_for_its_time(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user = await make_user()
    patient = posting(settings, receiver, notification_backoff_s=3600.0)
    receiver.answers = ["500 Internal Server Error"]
    async with open_system(patient) as system:
        async with working(system):
            await ended(system, user, await sent(system, user, csv_file(1)))
            (row,) = await tried(settings)
        await flush(settings)
        assert await claimed(system) is None  # its time hasn't come
        with connect(settings.database_address) as connection:
            connection.execute("UPDATE notifications SET due_at = now()")
        async with delivering(system):
            (row,) = await settled(settings)
    assert row["delivered_at"] is not None
    assert receiver.ids == [row["id"]] * 2


async def test_a_notification_needs_no_redis(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    await noted(settings, make_user, 1)
    away = posting(settings, receiver, redis_url=SecretStr("redis://127.0.0.1:1/0"))
    async with open_system(away) as system, delivering(system):
        await settled(settings)
    assert verify(receiver.requests[0])["type"] == "upload.verified"


async def test_nothing_of_a_notification_is_in_redis(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user = await make_user()
    receiver.answers = ["500 Internal Server Error"]
    patient = posting(settings, receiver, notification_backoff_s=3600.0)
    async with open_system(patient) as system, working(system):
        await ended(system, user, await sent(system, user, csv_file(1)))
        (row,) = await tried(settings)
        in_redis = await everything(settings)
    assert str(row["upload_id"]) in in_redis
    assert row["id"] not in in_redis
    assert user.email not in in_redis


async def test_two_workers_deliver_each_notification_once_and_the_oldest_first(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    await noted(settings, make_user, 40)
    own = posting(settings, receiver, notification_timeout_s=PATIENCE_S)
    # As many are under way as both workers make at a time: deliveries overtake each other.
    receiver.answering.clear()
    async with (
        open_system(own) as first,
        open_system(own) as second,
        delivering(first),
        delivering(second),
    ):
        await receiver.until(2 * CONCURRENCY)
        under_way = set(receiver.ids)
        receiver.answering.set()
        rows = await settled(settings)
    in_order = [row["id"] for row in sorted(rows, key=lambda row: row["created_at"])]
    assert under_way == set(in_order[: 2 * CONCURRENCY])
    assert sorted(receiver.ids) == sorted(in_order)


async def test_a_notification_whose_worker_died_is_delivered_when_its_claim_ends(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    await noted(settings, make_user, 1)
    async with open_system(posting(settings, receiver)) as system:
        dead = await claimed(system, lease_s=PATIENCE_S)
        assert dead is not None
        assert await claimed(system) is None  # no other worker gets it meanwhile
        assert receiver.ids == []
        with connect(settings.database_address) as connection:  # its claim ends soon
            connection.execute("UPDATE notifications SET due_at = now() + interval '0.5 s'")
            (before,) = connection.execute(OUTBOX).fetchall()
        async with delivering(system):
            (row,) = await settled(settings)
    assert receiver.ids == [dead.id]
    assert row["delivered_at"] >= before["due_at"]


async def test_a_worker_that_stops_lets_its_deliveries_end_within_the_grace_period(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    await noted(settings, make_user, 1)
    receiver.answering.clear()
    patient = posting(
        settings, receiver, notification_timeout_s=PATIENCE_S, shutdown_grace_s=PATIENCE_S
    )
    async with open_system(patient) as system:
        async with delivering(system) as stop:
            await receiver.until(1)
            stop.set()
            asyncio.get_running_loop().call_later(0.2, receiver.answering.set)
        (row,) = await settled(settings)
    assert (row["tries"], row["answer_status"]) == (1, 204)
    assert receiver.ids == [row["id"]]


async def test_a_delivery_that_outlasts_the_grace_period_is_cut_off_and_made_again(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    await noted(settings, make_user, 1)
    receiver.answers = [None]
    hasty = posting(settings, receiver, shutdown_grace_s=0, notification_timeout_s=PATIENCE_S)
    async with open_system(hasty) as system:
        async with delivering(system):
            await receiver.until(1)
        with connect(settings.database_address) as connection:
            (row,) = connection.execute(OUTBOX).fetchall()
            assert (row["tries"], row["delivered_at"]) == (0, None)
            connection.execute("UPDATE notifications SET due_at = now()")  # its claim has ended
        async with delivering(system):
            (row,) = await settled(settings)
    assert receiver.ids == [row["id"]] * 2


async def noted(settings: Settings, make_user: MakeUser, number: int) -> None:
    """Put notifications of an upload into the outbox, each a second older than the next."""
    user = await make_user()
    async with open_system(settings) as system:
        upload_id = await sent(system, user, csv_file(1))
    with connect(settings.database_address) as connection:
        connection.execute(
            "INSERT INTO notifications (upload_id, attempt, kind, channel, created_at, due_at)"
            " SELECT %s, n, 'verified', 'webhook', at, at"
            " FROM generate_series(1, %s) AS n, LATERAL (SELECT now() - make_interval(secs =>"
            " %s - n)) AS moment (at)",
            (upload_id, number, number),
        )


async def claimed(system: System, lease_s: float = 60) -> Notification | None:
    """Claim a notification as a worker does."""
    channels = system.settings.notification_channels
    return await outbox.claim(system.pool, channels, lease_s=lease_s)


async def test_each_end_of_an_upload_that_is_retried_is_reported_once(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user = await make_user()
    async with open_system(posting(settings, receiver)) as system, working(system):
        content = csv_file([{"Firstname": "A"}], headers=["Firstname"])
        upload_id = await sent(system, user, content)
        await ended(system, user, upload_id)
        await settled(settings)
        await control.retry(system, user, upload_id)
        await until(settings, OUTBOX, lambda rows: len(rows) == 2)
        rows = await settled(settings)
    assert sorted(receiver.ids) == sorted(row["id"] for row in rows)
    assert [row["attempt"] for row in rows] == [1, 2]


async def test_a_cancelled_upload_is_reported_by_mail_where_somebody_else_cancelled_it(
    settings: Settings, make_user: MakeUser, mailer: MailServer, receiver: WebhookReceiver
) -> None:
    office, operator = await make_user(Role.PROVINCE_ADMIN, "GP"), await make_user()
    both = posting(mailing(settings, mailer), receiver)
    async with open_system(both) as system, delivering(system):
        for number, user in enumerate((office, operator), start=1):
            upload_id = await sent(system, office, csv_file(number))
            await control.cancel(system, user, upload_id)
        rows = await settled(settings)
    assert [row["channel"] for row in rows] == ["email", "webhook", "webhook"]
    (mail,) = mailer.mails
    assert (mail["To"], mail["Subject"]) == (
        office.email,
        "Your upload of members.csv was cancelled",
    )
    assert str(upload_id) in mail.get_content()
    assert [verify(request)["type"] for request in receiver.requests] == ["upload.cancelled"] * 2


async def test_without_a_mail_server_and_a_webhook_nothing_is_noted(
    settings: Settings, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with working(system):
        await ended(system, user, await sent(system, user, csv_file(1)))
    with connect(settings.database_address) as connection:
        assert connection.execute(OUTBOX).fetchall() == []
