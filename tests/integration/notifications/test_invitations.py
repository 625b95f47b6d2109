"""One-time links by mail: what is sent to whom, and what is said where it can't be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from structlog.testing import capture_logs

from rollbook import clock
from rollbook.accounts import audit
from rollbook.accounts.links import Link
from rollbook.model import Role, User
from rollbook.notifications import invitation, mail
from tests.integration.members.clients import client_with
from tests.integration.notifications.receivers import MailServer
from tests.integration.notifications.test_notifications import mailing
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

USERS = "/api/v1/users"
PERSON = {"role": "municipality_admin", "province": "GP", "municipality": "Emfuleni"}


@pytest.fixture
async def mailer() -> AsyncIterator[MailServer]:
    async with MailServer().running() as server:
        yield server


@pytest.fixture
async def admin(make_user: MakeUser) -> User:
    return await make_user(Role.PROVINCE_ADMIN, "GP")


@pytest.fixture
async def client(
    settings: Settings, admin: User, mailer: MailServer
) -> AsyncIterator[httpx.AsyncClient]:
    async with client_with(mailing(settings, mailer), admin) as opened:
        yield opened


async def invited(client: httpx.AsyncClient, email: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(USERS, json={"email": email, **PERSON, **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def test_an_invitation_is_mailed_and_its_link_is_good(
    client: httpx.AsyncClient, system: System, admin: User, mailer: MailServer
) -> None:
    made = await invited(client, "new@example.org")
    assert made["invitation"]["is_mailed"] is True
    assert made["invitation"]["mail_error"] is None
    (came,) = mailer.mails
    assert mailer.recipients == ["new@example.org"]
    assert came["Subject"] == "Your account in Rollbook"
    assert came["Auto-Submitted"] == "auto-generated"
    text = came.get_content()
    assert admin.email in text
    [line] = [line for line in text.splitlines() if line.startswith("https://")]
    assert line == made["invitation"]["address"]
    body = {"token": line.rpartition("/")[2], "password": "seven quiet pelicans"}
    assert (await client.post("/api/v1/auth/link/password", json=body)).status_code == 200
    async with system.pool.connection() as connection:
        rows = await connection.execute("SELECT about FROM audit_entries WHERE act = 'link_mail'")
        assert [row["about"] for row in await rows.fetchall()] == ["new@example.org"]


async def test_a_new_password_is_mailed_where_that_is_asked_for(
    client: httpx.AsyncClient, mailer: MailServer
) -> None:
    made = await invited(client, "new@example.org", by_mail=False)
    assert (made["invitation"]["is_mailed"], mailer.mails) == (False, [])
    path = f"{USERS}/{made['user_id']}/reset"
    quiet = (await client.post(path)).json()["data"]["invitation"]
    assert (quiet["is_mailed"], quiet["mail_error"], mailer.mails) == (False, None, [])
    again = (await client.post(path, json={"by_mail": True})).json()["data"]["invitation"]
    assert again["is_mailed"] is True
    assert again["address"] in mailer.mails[0].get_content()


@pytest.mark.parametrize("reply", ["550 no such person", "450 later"])
async def test_where_mail_is_refused_the_account_is_added_and_the_reason_is_said(
    client: httpx.AsyncClient, mailer: MailServer, reply: str
) -> None:
    mailer.answers = [reply]
    made = await invited(client, "new@example.org")
    assert made["state"] == "invited"
    assert made["invitation"]["is_mailed"] is False
    assert made["invitation"]["mail_error"].endswith("Send the link yourself.")
    assert made["invitation"]["address"]


async def test_without_a_mail_server_the_link_is_shown_only(
    settings: Settings, admin: User
) -> None:
    async with client_with(settings, admin) as client:
        made = await invited(client, "one@example.org")
        assert (made["invitation"]["is_mailed"], made["invitation"]["mail_error"]) == (False, None)
        made = await invited(client, "two@example.org", by_mail=True)
        assert "Mail isn't configured" in made["invitation"]["mail_error"]


async def test_an_address_that_would_add_a_header_is_no_recipient(
    client: httpx.AsyncClient, mailer: MailServer
) -> None:
    for email in ("a@example.org\nBcc: b@example.org", "a@example.org, b@example.org"):
        answer = await client.post(USERS, json={"email": email, **PERSON})
        assert answer.status_code == 422
    # What looks like an address and is none for a mail server.
    made = await invited(client, "a<b>@example.org")
    assert "not a mail address" in made["invitation"]["mail_error"]
    assert mailer.mails == []


async def list_invited(client: httpx.AsyncClient, people: int, **fields: str) -> dict[str, Any]:
    lines = [f"{n}@example.org,municipality_admin,GP,Emfuleni" for n in range(people)]
    content = "\n".join(["E-mail,Role,Province,Municipality", *lines]).encode()
    answer = await client.post(
        f"{USERS}/invitations", files={"file": ("people.csv", content)}, data=fields
    )
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_link_of_a_list_is_mailed_to_its_own_person(
    client: httpx.AsyncClient, mailer: MailServer
) -> None:
    answer = await list_invited(client, 7)
    assert answer["message"].endswith("The links were mailed; here they are shown this once.")
    links = {row["email"]: row["invitation"]["address"] for row in answer["data"]["rows"]}
    assert len(links) == 7
    assert {came["To"]: came.get_content() for came in mailer.mails}.keys() == links.keys()
    for each in mailer.mails:
        own = [email for email, link in links.items() if link in each.get_content()]
        assert own == [each["To"]]
    assert (await list_invited_by_hand(client, mailer))["is_mailed"] is False


async def list_invited_by_hand(client: httpx.AsyncClient, mailer: MailServer) -> dict[str, Any]:
    before = len(mailer.mails)
    content = b"E-mail,Role,Province,Municipality\nz@example.org,municipality_admin,GP,Midvaal"
    answer = await client.post(
        f"{USERS}/invitations", files={"file": ("one.csv", content)}, data={"by_mail": "false"}
    )
    assert len(mailer.mails) == before
    invitation: dict[str, Any] = answer.json()["data"]["rows"][0]["invitation"]
    return invitation


async def test_where_the_mail_server_refuses_some_the_others_are_mailed(
    client: httpx.AsyncClient, mailer: MailServer
) -> None:
    mailer.answers = ["550 no such person"]
    answer = await list_invited(client, 3)
    errors = [row["invitation"]["mail_error"] for row in answer["data"]["rows"]]
    assert errors.count(None) == 2
    assert "2 links were mailed. Send the others yourself" in answer["message"]


async def test_a_mail_server_that_is_away_is_not_asked_for_each_person_of_a_list(
    client: httpx.AsyncClient, mailer: MailServer
) -> None:
    mailer.answers = ["450 later"] * 40
    answer = await list_invited(client, 40)
    assert answer["data"]["invited"] == 40
    errors = [row["invitation"]["mail_error"] for row in answer["data"]["rows"]]
    assert all(error.endswith("Send the link yourself.") for error in errors)
    assert 40 - len(mailer.answers) < 15
    assert mailer.mails == []


async def test_a_mail_server_that_is_slow_delays_the_answer_no_longer_than_set(
    settings: Settings, admin: User, mailer: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: Any, **__: Any) -> None:
        await asyncio.sleep(PATIENCE_S)

    monkeypatch.setattr(mail, "submit", hangs)
    own = mailing(settings, mailer, invitations_mail_s=0.05)
    async with client_with(own, admin) as client:
        answer = await list_invited(client, 8)
    errors = [row["invitation"]["mail_error"] for row in answer["data"]["rows"]]
    assert all("took too long" in error for error in errors)
    assert answer["data"]["invited"] == 8


async def test_where_postgresql_drops_while_mails_are_sent_the_links_are_still_answered(
    client: httpx.AsyncClient, mailer: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = audit.record

    async def dropped(where: Any, act: audit.Act, **more: Any) -> None:
        if act == "link_mail":
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        await record(where, act, **more)

    monkeypatch.setattr(audit, "record", dropped)
    with capture_logs() as logs:
        answer = await list_invited(client, 7)
    links = [row["invitation"] for row in answer["data"]["rows"]]
    assert all("#/link/" in link["address"] for link in links)
    assert not any(link["is_mailed"] for link in links)
    assert 5 <= len(mailer.mails) <= 7
    said = [link["mail_error"] for link in links if "audit trail" in link["mail_error"]]
    assert len(said) == len(mailer.mails)
    assert "(OperationalError)" in said[0]
    logged = [one for one in logs if one["event"] == "mail of a link not audited"]
    assert {one["error"] for one in logged} == {"OperationalError"}
    assert "server closed" not in str(logs)
    made = await invited(client, "single@example.org")
    assert "#/link/" in made["invitation"]["address"]
    assert "audit trail" in made["invitation"]["mail_error"]


async def test_a_fault_in_one_mail_of_a_list_is_said_to_its_person_and_the_others_are_mailed(
    client: httpx.AsyncClient, mailer: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = mail.submit

    async def at_fault(settings: Settings, message: Any, **more: Any) -> None:
        if message["To"] == "1@example.org":
            raise RuntimeError(message.get_content())
        await submit(settings, message, **more)

    monkeypatch.setattr(mail, "submit", at_fault)
    with capture_logs() as logs:
        answer = await list_invited(client, 3)
    links = {row["email"]: row["invitation"] for row in answer["data"]["rows"]}
    assert [link["is_mailed"] for link in links.values()] == [True, False, True]
    assert links["1@example.org"]["address"]
    assert "(RuntimeError). Send the link yourself." in links["1@example.org"]["mail_error"]
    assert len(mailer.mails) == 2
    assert "#/link/" not in str(logs)


@pytest.mark.parametrize(("asked", "said"), [("af", "af"), ("xx", "en")])
async def test_a_mail_of_a_link_names_the_language_that_it_is_in(
    system: System, admin: User, mailer: MailServer, asked: str, said: str
) -> None:
    link = Link("https://rollbook.example.org/#/link/x", clock.now(), "invitation", asked)
    own = replace(system, settings=mailing(system.settings, mailer))
    assert await invitation.send(own, admin, "new@example.org", link) is None
    assert mailer.mails[0]["Content-Language"] == said
