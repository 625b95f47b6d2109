"""Webhooks of offices: which messages go where, where none is sent, and what their log says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from rollbook.accounts import audit
from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import Paging, fetch_all, fetch_one, lock
from rollbook.config.notifications import NotificationSettings
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
)
from rollbook.model import Role, User
from rollbook.notifications import outbox, webhooks
from rollbook.notifications.webhooks import KINDS
from rollbook.service.system import open_system
from rollbook.uploads import control
from tests.closing import closing, served
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.notifications.receivers import WebhookReceiver
from tests.integration.notifications.test_notifications import delivering, settled, tried, verify
from tests.integration.worker.test_worker import sent
from tests.refusals import refusal
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from rollbook.backends.database import Connection, Row
    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

HOOKS = "/api/v1/webhooks"
#: What is private, this machine's, or a cloud's own; written in every way that there is.
ADDRESSES = [
    "127.0.0.1", "127.8.9.1", "[::1]", "0.0.0.0",  # noqa: S104 - nothing listens there
    "[::]", "10.0.0.5", "172.16.3.4", "192.168.1.1",
    "169.254.169.254", "[fe80::1]", "[fd00::1]", "100.64.0.1", "168.63.129.16", "192.0.0.192",
    "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "224.0.0.1", "255.255.255.255",
]  # fmt: skip
#: The same by names, which are only looked up when something is sent.
NAMES = ["localhost", "2130706433", "0x7f000001", "127.1", "017700000001"]


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver().running() as server:
        yield server


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changes = {"webhook_allowed_networks": "127.0.0.0/8", "notification_backoff_s": 0.05}
    return settings.model_copy(update=changes)


def address(receiver: WebhookReceiver) -> str:
    return f"http://127.0.0.1:{receiver.port}/hook?token=not-for-the-log"


async def added(system: System, user: User, url: str, **more: Any) -> tuple[UUID, str]:
    given = {"events": KINDS, **more}
    row, secret = await webhooks.add(system, user, url=url, **given)
    return row["id"], secret


async def cancelled(system: System, owner: User, by: User, rows: int = 1) -> UUID:
    """An upload that has ended, because somebody cancelled it."""
    upload_id = await sent(system, owner, csv_file(rows=rows))
    await control.cancel(system, by, upload_id)
    return upload_id


async def log_of(system: System, user: User, webhook_id: UUID) -> list[Row]:
    return (await webhooks.deliveries(system, user, webhook_id, Paging(1, 50))).rows


# --- which messages go where ----------------------------------------------------------------------


async def test_a_message_is_signed_with_the_secret_that_was_shown_and_logged_with_its_answer(
    system: System, settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user = await make_user()
    webhook_id, secret = await added(system, user, address(receiver))
    async with delivering(system):
        upload_id = await cancelled(system, user, await make_user())
        await settled(settings)
    [request] = receiver.requests
    content = verify(request, secret)
    assert content["type"] == "upload.cancelled"
    assert content["data"]["job_id"] == str(upload_id)
    [row] = await log_of(system, user, webhook_id)
    assert (row["answer_status"], row["tries"], row["error"]) == (204, 1, None)
    assert row["delivered_at"] is not None
    assert [row["id"]] == receiver.ids


async def test_an_offices_webhook_hears_that_offices_uploads_and_no_other(
    system: System, make_user: MakeUser
) -> None:
    places: dict[str, tuple[Any, ...]] = {
        "national": (Role.NATIONAL_ADMIN,),
        "gauteng": (Role.PROVINCE_ADMIN, "GP"),
        "limpopo": (Role.PROVINCE_ADMIN, "LP"),
        "johannesburg": (Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"),
        "tshwane": (Role.MUNICIPALITY_ADMIN, "GP", "City of Tshwane"),
    }
    hears = {
        "national": {"national"},
        "gauteng": {"national", "gauteng"},
        "limpopo": {"national", "limpopo"},
        "johannesburg": {"national", "gauteng", "johannesburg"},
        "tshwane": {"national", "gauteng", "tshwane"},
    }
    users = {name: await make_user(*place) for name, place in places.items()}
    hooks = {
        (await added(system, user, "https://hooks.invalid/"))[0]: name
        for name, user in users.items()
    }
    operator = await make_user()
    for rows, (name, user) in enumerate(users.items(), 1):
        upload_id = await cancelled(system, user, operator, rows)
        async with system.pool.connection() as connection:
            found = await fetch_all(
                connection,
                "SELECT webhook_id FROM notifications WHERE upload_id = %(id)s",
                {"id": upload_id},
            )
        assert {hooks[row["webhook_id"]] for row in found} == hears[name], name
        assert len(found) == len(hears[name])


async def test_a_webhook_hears_its_events_and_none_while_it_is_stopped(
    system: System, make_user: MakeUser
) -> None:
    user, operator = await make_user(), await make_user()
    deaf, _ = await added(system, user, "https://hooks.invalid/a", events=["completed", "failed"])
    stopped, _ = await added(system, user, "https://hooks.invalid/b")
    await webhooks.change(system, user, stopped, is_active=False)
    await cancelled(system, user, operator)
    assert await log_of(system, user, deaf) == []
    assert await log_of(system, user, stopped) == []
    await webhooks.change(system, user, deaf, events=["cancelled"])
    await webhooks.change(system, user, stopped, is_active=True)
    await cancelled(system, user, operator, 2)
    assert len(await log_of(system, user, deaf)) == len(await log_of(system, user, stopped)) == 1


async def test_a_new_secret_and_the_former_one_both_sign_for_a_while(
    system: System, settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user = await make_user()
    webhook_id, former = await added(system, user, address(receiver))
    _, newer = await webhooks.change(system, user, webhook_id, new_secret=True)
    assert newer is not None
    async with delivering(system):
        await cancelled(system, user, await make_user())
        await settled(settings)
        assert verify(receiver.requests[-1], former) == verify(receiver.requests[-1], newer)
        async with system.pool.connection() as connection:
            await connection.execute("UPDATE webhooks SET former_until = now()")
        [row] = await log_of(system, user, webhook_id)
        await webhooks.deliver_again(system, user, webhook_id, row["id"])
        await settled(settings)
    assert len(receiver.requests) == 2
    verify(receiver.requests[-1], newer)
    with pytest.raises(Exception, match="signature"):
        verify(receiver.requests[-1], former)


# --- the log, and sending again -------------------------------------------------------------------


async def test_a_failed_delivery_is_logged_with_its_status_and_sent_again_under_its_id(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    few = settings.model_copy(update={"notification_attempts": 2})
    user, operator = await make_user(), await make_user()
    receiver.answers += ["500 Broken", "503 Away"]
    async with open_system(few) as system:
        webhook_id, _ = await added(system, user, address(receiver))
        async with delivering(system):
            await cancelled(system, user, operator)
            await settled(few)
            [row] = await log_of(system, user, webhook_id)
            assert (row["answer_status"], row["tries"]) == (503, 2)
            assert row["given_up_at"] is not None
            assert "503" in row["error"]
            again = await webhooks.deliver_again(system, user, webhook_id, row["id"])
            assert (again["tries"], again["given_up_at"]) == (0, None)
            await settled(few)
        [row] = await log_of(system, user, webhook_id)
    assert (row["answer_status"], row["error"]) == (204, None)
    assert len(receiver.ids) == 3
    assert len(set(receiver.ids)) == 1


async def test_what_waits_for_a_webhook_goes_with_it(
    system: System, settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user, operator = await make_user(), await make_user()
    webhook_id, _ = await added(system, user, address(receiver))
    stopped, _ = await added(system, user, address(receiver))
    await cancelled(system, user, operator)
    await webhooks.remove(system, user, webhook_id)
    await webhooks.change(system, user, stopped, is_active=False)
    async with delivering(system):
        await settled(settings)
    assert receiver.requests == []
    [row] = await log_of(system, user, stopped)
    assert row["error"] == "The webhook is stopped."
    with pytest.raises(ConflictError, match="stopped"):
        await webhooks.deliver_again(system, user, stopped, row["id"])
    with pytest.raises(NotFoundError):
        await webhooks.deliver_again(system, user, webhook_id, row["id"])


async def test_workers_look_rarely_while_nobody_is_to_be_notified(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    channels: tuple[outbox.Channel, ...] = ("office_webhook",)
    assert await outbox.next_look_in_s(system.pool, channels) == outbox.UNAWAITED_S
    assert await outbox.next_look_in_s(system.pool, ("office_webhook", "email")) <= 1
    webhook_id, _ = await added(system, user, "https://hooks.invalid/")
    assert await outbox.next_look_in_s(system.pool, channels) <= 1
    await webhooks.change(system, user, webhook_id, is_active=False)
    assert await outbox.next_look_in_s(system.pool, channels) == outbox.UNAWAITED_S


# --- where nothing is sent ------------------------------------------------------------------------


async def test_no_office_names_an_address_that_is_not_public(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    for host in ADDRESSES:
        refused = await refusal(added(system, user, f"https://{host}/latest/meta-data"))
        assert isinstance(refused, NotAllowedError), host


async def test_a_network_that_the_operator_allows_is_for_national_webhooks_alone(
    system: System, make_user: MakeUser
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    for url in ("https://127.0.0.1/", "http://127.0.0.1/", "http://hooks.example.org/"):
        with pytest.raises((NotAllowedError, InvalidRequestError)):
            await added(system, office, url)
    national = await make_user(Role.NATIONAL_ADMIN)
    own, _ = await added(system, national, "http://127.0.0.1/")
    with pytest.raises(NotAllowedError):
        await webhooks.change(system, national, own, url="https://10.0.0.1/")
    theirs, _ = await added(system, office, "https://hooks.example.org/")
    with pytest.raises(NotAllowedError):  # it stays the office's, also when another user changes it
        await webhooks.change(system, national, theirs, url="https://127.0.0.1/")


async def test_a_name_is_looked_up_when_something_is_sent_and_leads_to_no_private_address(
    system: System, settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    office, operator = await make_user(Role.PROVINCE_ADMIN, "GP"), await make_user()
    of_hosts = {}
    for host in NAMES:
        of_hosts[host], _ = await added(system, office, "https://localhost/hook")
        if host != "localhost":
            with pytest.raises(InvalidRequestError):
                await added(system, office, f"https://{host}/hook")
        url = f"https://{host}:{receiver.port}/hook"
        async with system.pool.connection() as connection:
            change = "UPDATE webhooks SET url = %s WHERE id = %s"
            await connection.execute(change, (url, of_hosts[host]))
    async with delivering(system):
        await cancelled(system, office, operator)
        await tried(settings)
    for host, webhook_id in of_hosts.items():
        [row] = await log_of(system, office, webhook_id)
        assert (row["error_code"], row["answer_status"]) == ("webhook_address_refused", None), host
    assert receiver.requests == []


async def test_what_may_be_an_address_is_taken(system: System, make_user: MakeUser) -> None:
    user = await make_user()
    for url in (
        "https://hooks.example.org./", "https://xn--hks-una.example/", "https://hooks_1.example.org/",
        "https://8.8.8.8/", "https://[2001:4860:4860::8888]:8443/", "https://123.example.org/?a=b",
    ):  # fmt: skip
        webhook_id, _ = await added(system, user, url)
        assert (await webhooks.get(system, user, webhook_id))["url"] == url


async def test_a_scheme_in_capitals_is_sent_to(
    system: System, settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    operator = await make_user()
    await added(system, operator, address(receiver).replace("http:", "HTTP:"))
    async with delivering(system):
        await cancelled(system, operator, operator)
        await tried(settings)
    assert len(receiver.requests) == 1
    of_settings = NotificationSettings(
        webhook_url=SecretStr("HTTPS://hooks.example.org/A"),
        webhook_secret=SecretStr("whsec_" + "a" * 32),
    )
    assert of_settings.webhook_url is not None
    assert of_settings.webhook_url.get_secret_value() == "https://hooks.example.org/A"


async def test_what_is_no_address_is_refused(system: System, make_user: MakeUser) -> None:
    user = await make_user()
    for url in (
        "ftp://hooks.example.org/", "https://", "hooks.example.org", "https://u:p@hooks.example.org/",
        "https://hooks.example.org/#a", "https://hooks.example.org/a b", "https://h\u00f6ks.example/",
        "https://hooks.example.org:0/", "https://hooks.example.org:99999/", "https://[::1/",
        "https://hooks.example.org/\r\nHost: a", "file:///etc/passwd", "unix:///run/a.sock",
        "https://hooks.example.org/" + "a" * 2000, "https://a..b/", "https://-a.example.org/",
        "https://a-.example.org/", "https://.example.org/", f"https://{'a' * 64}.example.org/",
        f"https://{'a.' * 127}example.org/", "https://a,b.example.org/", "https://a%2fb.example.org/",
        "https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://example.123/",
        "https://[v1.a]/",
    ):  # fmt: skip
        refused = await refusal(added(system, user, url))
        assert isinstance(refused, InvalidRequestError), url


async def test_a_redirect_is_not_followed(
    system: System, settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user = await make_user()
    async with WebhookReceiver().running() as other:
        receiver.answers.append(f"307 Elsewhere\r\nLocation: http://127.0.0.1:{other.port}/")
        webhook_id, _ = await added(system, user, address(receiver))
        async with delivering(system):
            await cancelled(system, user, await make_user())
            rows = await tried(settings)
            assert rows[0]["answer_status"] in {307, 204}
            await settled(settings)
        assert other.requests == []
    [row] = await log_of(system, user, webhook_id)
    assert (row["tries"], row["answer_status"]) == (2, 204)


# --- hostile receivers ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def hostile(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """The port of a receiver that reads a request and then does as it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)

    async with served(serve) as port:
        yield port


async def endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():  # no bound: a server's answer, which ends with its test
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 Fine\r\n")
    while not writer.is_closing():  # no bound: as above
        writer.write(b"X-More: " + b"x" * 8192 + b"\r\n")
        await writer.drain()


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff\r\n\r\n")
    await writer.drain()


async def cut_off(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_a_hostile_receiver_is_read_no_further_than_its_status(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    unreachable = (None, "can't be reached")
    wanted = {
        endless_body: (200, None),
        endless_head: unreachable,
        nonsense: unreachable,
        cut_off: unreachable,
    }
    of_answers = {}
    async with contextlib.AsyncExitStack() as receivers, delivering(system):
        for answer in wanted:
            port = await receivers.enter_async_context(hostile(answer))
            of_answers[answer], _ = await added(system, user, f"http://127.0.0.1:{port}/")
        await cancelled(system, user, await make_user())
        await tried(settings)
        for answer, (status, error) in wanted.items():
            [row] = await log_of(system, user, of_answers[answer])
            assert row["answer_status"] == status, answer
            assert error is None or error in row["error"], answer


async def test_a_receiver_that_never_answers_holds_up_nobody_else(
    settings: Settings, make_user: MakeUser, receiver: WebhookReceiver
) -> None:
    user, operator = await make_user(), await make_user()
    changes = {"notification_timeout_s": PATIENCE_S, "shutdown_grace_s": 0}
    async with WebhookReceiver().running() as slow:
        slow.answers += [None] * 20
        async with open_system(settings.model_copy(update=changes)) as system:
            hung, _ = await added(system, user, address(slow))
            # More wait for it than a worker delivers at a time.
            for rows in range(1, 8):
                await cancelled(system, user, operator, rows)
            quick, _ = await added(system, user, address(receiver))
            await cancelled(system, user, operator, 9)
            async with delivering(system):
                await receiver.until(1)
                await slow.until(1)
                assert len(slow.requests) == 1
                [row] = [one for one in await log_of(system, user, hung) if one["tries"] == 0][:1]
                claimed = [
                    one["id"] for one in await log_of(system, user, hung) if one["id"] in slow.ids
                ]
                with pytest.raises(ConflictError, match="at this moment"):
                    await webhooks.deliver_again(system, user, hung, claimed[0])
                assert row["id"]
                for line in (hung, quick):
                    await webhooks.remove(system, user, line)
                slow.answers.clear()


async def test_two_workers_that_claim_at_the_same_moment_send_a_webhook_one_message(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    """The second claim doesn't see the first one before that one is committed."""
    user, operator = await make_user(), await make_user()
    await added(system, user, "https://hooks.invalid/")
    for rows in (1, 2):
        await cancelled(system, user, operator, rows)
    channels = settings.notification_channels
    at_the_lock, is_seen = asyncio.Event(), asyncio.Event()

    async def lock_and_wait(connection: Connection, name: str) -> None:
        await lock(connection, name)
        if not at_the_lock.is_set():  # the first claim: it is committed when the second one waits
            at_the_lock.set()
            async with asyncio.timeout(PATIENCE_S):
                await is_seen.wait()

    waiting = (
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "lock", lock_and_wait)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as both:
            first = both.create_task(outbox.claim(system.pool, channels, lease_s=60))
            await at_the_lock.wait()
            second = both.create_task(outbox.claim(system.pool, channels, lease_s=60))

            async def is_waiting() -> bool:
                return second.done() or await fetch_one(system.pool, waiting) is not None

            await until(is_waiting)
            is_seen.set()
    claimed = [one for one in (first.result(), second.result()) if one is not None]
    assert len(claimed) == 1
    await outbox.note_delivered(system.pool, claimed[0], 204)
    third = await outbox.claim(system.pool, channels, lease_s=60)
    assert third is not None
    assert third.id != claimed[0].id


# --- the routes -----------------------------------------------------------------------------------


async def test_only_the_office_and_those_above_it_see_and_change_a_webhook(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    maker = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    readers = {
        "colleague": (await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"), True),
        "above": (await make_user(Role.PROVINCE_ADMIN, "GP"), True),
        "beside": (await make_user(Role.MUNICIPALITY_ADMIN, "GP", "City of Tshwane"), False),
        "elsewhere": (await make_user(Role.PROVINCE_ADMIN, "LP"), False),
    }
    webhook_id, _ = await added(system, maker, "https://hooks.invalid/")
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        for reader, sees in readers.values():
            client.headers["Authorization"] = f"Bearer {issue_token(settings, reader)}"
            answers = [
                await client.patch(f"{HOOKS}/{webhook_id}", json={"is_active": True}),
                await client.get(f"{HOOKS}/{webhook_id}/deliveries"),
                await client.post(f"{HOOKS}/{webhook_id}/deliveries/msg_{'0' * 32}/again"),
            ]
            assert [a.status_code for a in answers] == ([200, 200, 404] if sees else [404] * 3)
            listed = (await client.get(HOOKS)).json()["data"]
            assert listed["total"] == int(sees)
            if not sees:
                unknown = await client.delete(f"{HOOKS}/{uuid4()}")
                foreign = await client.delete(f"{HOOKS}/{webhook_id}")
                assert unknown.json()["detail"] == foreign.json()["detail"]
        above = readers["above"][0]
        client.headers["Authorization"] = f"Bearer {issue_token(settings, above)}"
        assert (await client.delete(f"{HOOKS}/{webhook_id}")).status_code == 200


async def test_a_secret_is_shown_once_and_the_query_of_an_address_never(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    app = create_app(settings.model_copy(update={"webhooks_per_office": 1}))
    headers = {"Authorization": f"Bearer {issue_token(settings, user)}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://test",
            headers=headers,
        ) as client,
    ):
        url = "https://hooks.example.org/rollbook?token=hidden"
        made = await client.post(HOOKS, json={"url": url, "events": ["upload.failed"]})
        assert made.status_code == 201
        data = made.json()["data"]
        assert data["secret"].startswith("whsec_")
        assert data["url"] == "https://hooks.example.org/rollbook"
        changed = await client.patch(f"{HOOKS}/{data['webhook_id']}", json={"is_active": False})
        assert changed.json()["data"]["secret"] is None
        listed = await client.get(HOOKS)
        trail = (await audit.entries(system.pool, user)).rows
        for text in (listed.text, changed.text, str(trail)):
            assert data["secret"] not in text
            assert "hidden" not in text
        assert [entry["act"] for entry in trail][:2] == ["webhook_change", "webhook_add"]
        assert (await client.post(HOOKS, json={"url": url})).status_code == 409
        wrong = await client.post(HOOKS, json={"url": url, "events": ["upload.deleted"]})
        assert wrong.status_code == 422
