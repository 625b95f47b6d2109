"""Live messages: who gets which, in which order, and how a connection ends and resumes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import math
import random
import socket
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from rollbook import clock
from rollbook.accounts import tokens, users
from rollbook.accounts.users import issue_token
from rollbook.backends.redis import make_client
from rollbook.live.messages import seq_of
from rollbook.model import Role, Scope, User
from rollbook.queue.publisher import announce_budget
from rollbook.telemetry import metrics
from rollbook.uploads import control, lookup
from rollbook.uploads import waits as waits_of
from tests.faults.site import seeds
from tests.files import csv_file, member, members
from tests.integration.worker.test_worker import sent, working
from tests.listening import PATH, STATES, Gate, Heard, Listener, Site, conforms, of_type, quick
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from redis.asyncio import Redis

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

ENDS = of_type("bulk_upload_complete", "bulk_upload_failed", "bulk_upload_cancelled")


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with Site(quick(settings)) as served:
        yield served


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    async with make_client(settings.redis_address) as client:
        yield client


async def tell_progress(
    redis: Redis, settings: Settings, upload_id: UUID, attempt: int, percent: int
) -> None:
    """What a worker announces of an attempt."""
    progress = {
        "attempt": attempt, "stage": "read", "percent": percent, "rows_done": percent,
        "rows_total": 100, "rows_per_second": 10.0,
    }  # fmt: skip
    fields: dict[Any, Any] = {
        "event": "progress", "jobId": str(upload_id), "data": json.dumps(progress)
    }  # fmt: skip
    await redis.xadd(f"bull:{settings.queue_name}:events", fields)


def is_at(percent: int) -> Callable[[Heard], bool]:
    return lambda message: (
        message["type"] == "bulk_upload_progress" and message["data"]["progress"] == percent
    )


# --- what clients receive ---------------------------------------------------------------------


async def test_a_client_hears_an_upload_from_its_beginning_to_its_end(
    site: Site, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with site.listening(user) as client:
        first = await client.next()
        assert first["type"] == "snapshot"
        assert first["data"]["user"]["email"] == user.email
        assert first["data"]["uploads"] == []
        assert not first["data"]["is_reset"]
        async with working(system):
            upload_id = await sent(system, user, csv_file(200))
            end = await client.until(ENDS)
    assert end["type"] == "bulk_upload_complete"
    assert end["data"]["outcomes"]["inserted"] == 200
    assert end["data"]["report_available"]
    assert {event["job_id"] for event in client.events} == {str(upload_id)}
    assert client.events[0]["data"]["status"] == "pending"
    assert client.events[0]["data"]["owner"] == user.email
    running = [e["data"] for e in client.events if e["data"]["status"] == "processing"]
    assert {data["attempt"] for data in running} == {1}
    percents = [data["progress"] for data in running]
    assert percents == sorted(percents)
    seqs = [event["seq"] for event in client.events]
    assert seqs == sorted(set(seqs))


async def test_a_merge_that_waits_for_anothers_members_says_so_while_it_waits(
    site: Site, system: System, make_user: MakeUser, settings: Settings
) -> None:
    nation, office = await make_user(), await make_user(Role.PROVINCE_ADMIN, "GP")
    before = metrics.MERGE_WAITS._value.get()  # no bound: a counter
    async with working(system), site.listening(nation) as client, site.listening(office) as other:
        first = await sent(system, nation, csv_file(3))
        await client.until(ENDS)

        @contextlib.contextmanager
        def being_merged() -> Iterator[None]:
            """As the child of an attempt that is in the middle of its merge."""
            session = f"rollbook-child {first} 1"
            with psycopg.connect(settings.database_address, application_name=session) as held:
                held.execute("SELECT FROM members FOR UPDATE")
                yield

        with being_merged():
            # So many rows that their rate sinks with each look, although nothing is done.
            many = [member(1, Surname="Other"), *members(2000, start=10)]
            waiting = await sent(system, nation, csv_file(many))
            said = await client.until(waits)
            assert (said["job_id"], said["data"]["waits_for"]) == (str(waiting), str(first))
            found = await lookup.get(system, nation, waiting)
            assert waits_of.facts(found, nation.scope)["waits_for"] == first
            async with site.listening(nation) as late:
                uploads = (await late.next())["data"]["uploads"]
            by_id = {upload["job_id"]: upload for upload in uploads}
            assert by_id[str(waiting)]["waits_for"] == str(first)
        await client.until(ENDS)
        assert waits_of.facts(await lookup.get(system, nation, waiting), nation.scope) == {}
        with being_merged():
            # An office sees that its own merge waits, and not for whose upload.
            own = await sent(system, office, csv_file([member(1, Surname="Third")]))
            said = await other.until(waits)
            assert (said["job_id"], said["data"]["waits_for"]) == (str(own), None)
            found = await lookup.get(system, office, own)
            assert waits_of.facts(found, office.scope)["waits_since"]
            assert waits_of.facts(found, office.scope)["waits_for"] is None
            assert waits_of.facts(found, nation.scope)["waits_for"] == first
        await other.until(ENDS)
    assert metrics.MERGE_WAITS._value.get() == before + 2  # no bound: a counter


def waits(message: Heard) -> bool:
    return bool(message["data"].get("waits_since"))


async def test_a_file_that_fails_says_why_in_a_sentence(
    site: Site, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with site.listening(user) as client, working(system):
        await sent(system, user, csv_file([{"Name": "A"}], headers=("Name",)))
        end = await client.until(ENDS)
    assert end["type"] == "bulk_upload_failed"
    assert end["data"]["error_code"] == "no_id_column"
    assert end["data"]["error"].endswith(".")


async def test_a_failed_upload_that_is_retried_waits_again_and_its_end_is_told_again(
    site: Site, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with site.listening(user) as client, working(system):
        upload_id = await sent(system, user, csv_file([{"Name": "A"}], headers=("Name",)))
        first = await client.until(ENDS)
        await control.retry(system, user, upload_id)
        await client.until(lambda message: message["data"].get("status") == "pending")
        second = await client.until(ENDS)
    assert (first["data"]["attempt"], second["data"]["attempt"]) == (1, 2)


async def test_a_cancelled_upload_is_told_as_cancelled_once(
    site: Site, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with site.listening(user) as client:
        cancelled = await sent(system, user, csv_file(1))
        await control.cancel(system, user, cancelled)
        async with working(system):
            await sent(system, user, csv_file(2))
            await client.until(of_type("bulk_upload_complete"))
    ends = [event for event in client.events if ENDS(event)]
    assert [end["type"] for end in ends] == ["bulk_upload_cancelled", "bulk_upload_complete"]
    assert ends[0]["job_id"] == str(cancelled)


async def test_operators_hear_the_counts_and_an_office_its_own_places(
    site: Site, system: System, make_user: MakeUser
) -> None:
    operator = await make_user()
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    async with site.listening(operator) as above, site.listening(office) as below:
        first = await sent(system, operator, csv_file(1))
        second = await sent(system, office, csv_file(2))
        await control.pause(system, by=operator)
        whole = await above.until(lambda m: m["type"] == "queue_stats" and m["data"]["is_paused"])
        own = await below.until(lambda m: m["type"] == "queue_stats" and m["data"]["is_paused"])
    assert whole["data"]["positions"] == {str(first): 1, str(second): 2}
    assert whole["data"]["counts"]["total"] == 2
    unknown = {
        "estimated_start_at": None, "estimated_wait_seconds": None, "estimate_unknown": "paused"
    }  # fmt: skip
    assert own["data"] == {
        "is_paused": True, "positions": {str(second): 2}, "estimates": {str(second): unknown},
        "counts": None,
    }  # fmt: skip


async def test_everybody_hears_that_the_voter_rolls_budget_is_nearly_spent(
    site: Site, make_user: MakeUser, settings: Settings, redis: Redis
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    async with site.listening(user) as client:
        await client.next()
        for kind in ("rate_limit_warning", "rate_limit_exceeded"):
            await announce_budget(redis, settings.queue_name, kind, used=9, limit=10)
            told = await client.until(of_type(kind))
            assert told["data"] == {"used": 9, "limit": 10}


async def test_an_attempt_that_was_fenced_off_is_not_heard_any_more(
    site: Site, system: System, make_user: MakeUser, settings: Settings, redis: Redis
) -> None:
    user = await make_user()
    async with site.listening(user) as client:
        upload_id = await sent(system, user, csv_file(1))
        for attempt, percent in ((1, 10), (1, 30), (1, 20), (2, 5), (1, 40), (2, 6)):
            await tell_progress(redis, settings, upload_id, attempt, percent)
        await client.until(is_at(6))
    steps = [
        (event["data"]["attempt"], event["data"]["progress"])
        for event in client.events
        if event["data"]["status"] == "processing"
    ]
    assert steps == [(1, 10), (1, 30), (2, 5), (2, 6)]


async def test_a_snapshot_shows_open_uploads_before_ended_ones_and_where_they_stand(
    site: Site, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    done = await sent(system, user, csv_file(1))
    await control.cancel(system, user, done)
    waiting = await sent(system, user, csv_file(2))
    async with site.listening(user) as client:
        snapshot = await client.next()
    found = {one["job_id"]: one for one in snapshot["data"]["uploads"]}
    assert list(found) == [str(waiting), str(done)]
    assert found[str(waiting)]["status"] == "pending"
    assert found[str(done)]["status"] == "cancelled"
    assert not snapshot["data"]["is_truncated"]


async def test_who_shares_a_snapshot_hears_how_the_queue_is_now(
    site: Site, system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollbook.live.feed.SHARED_S", PATIENCE_S)
    user = await make_user()
    async with site.listening(user) as first:
        await first.next()
        await sent(system, user, csv_file(1))
        await first.until(of_type("bulk_upload_progress"))
        await control.pause(system, by=user)
        told = await first.until(lambda m: m["type"] == "queue_stats" and m["data"]["is_paused"])
        async with site.listening(user) as second:
            shared = await second.next()
            assert not shared["data"]["queue"]["is_paused"]
            assert (await second.until(of_type("queue_stats")))["data"] == told["data"]
            assert second.events == first.events


# --- who receives it --------------------------------------------------------------------------


async def test_another_provinces_office_hears_none_of_it(
    site: Site, system: System, make_user: MakeUser
) -> None:
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    cape = await make_user(Role.PROVINCE_ADMIN, "WC")
    town = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    async with (
        site.listening(gauteng) as own,
        site.listening(cape) as foreign,
        site.listening(town) as narrower,
        working(system),
    ):
        first = await sent(system, gauteng, csv_file(1))
        await own.until(ENDS)
        # What comes for all of them afterwards shows that nothing else was on its way.
        second = await sent(system, cape, csv_file(2))
        third = await sent(system, town, csv_file(3))
        await foreign.until(ENDS)
        await narrower.until(ENDS)
        await own.until(ENDS)
    assert {event["job_id"] for event in foreign.events} == {str(second)}
    assert {event["job_id"] for event in narrower.events} == {str(third)}
    assert {event["job_id"] for event in own.events} == {str(first), str(third)}
    for client in (foreign, narrower):
        for message in client.heard:
            assert str(first) not in json.dumps(message)


@pytest.mark.parametrize("office", [(None, None), ("GP", None), ("GP", "eThekwini"), ("WC", "É")])
def test_a_message_keeps_to_the_very_scope_that_the_database_keeps_to(
    database_url: str, office: tuple[str | None, str | None]
) -> None:
    places = [
        (province, municipality)
        for province in (None, "GP", "WC")
        for municipality in (None, "eThekwini", "ETHEKWINI", "é", "Other")
    ]
    with psycopg.connect(database_url) as connection:
        for place in places:
            row = connection.execute(
                "SELECT in_scope(%s, %s, %s, %s)", (*place, *office)
            ).fetchone()
            assert row is not None
            assert Scope(*office).includes(Scope(*place)) is row[0], (office, place)


# --- signing in -------------------------------------------------------------------------------


async def test_a_token_may_come_as_the_first_message(
    site: Site, settings: Settings, make_user: MakeUser
) -> None:
    token = issue_token(settings, await make_user())
    async with site.connected() as line:
        await line.send(json.dumps({"type": "authenticate", "token": token}))
        assert (await Listener(line).next())["type"] == "snapshot"


async def test_the_token_is_never_chosen_as_the_sub_protocol(
    site: Site, make_user: MakeUser
) -> None:
    async with site.listening(await make_user()) as client:
        assert client.line.subprotocol == "rollbook"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ({"type": "authenticate", "token": "nonsense"}, (4401, "not_authenticated")),
        ({"type": "subscribe"}, (4400, "unexpected_message")),
        ({"type": "authenticate", "token": 7}, (4400, "unexpected_message")),
        ("[", (4400, "unexpected_message")),
        (b"\0", (4400, "unexpected_message")),
    ],
)
async def test_who_says_something_else_is_let_go(
    site: Site, first: object, why: tuple[int, str]
) -> None:
    async with site.connected() as line:
        await line.send(first if isinstance(first, str | bytes) else json.dumps(first))
        assert await Listener(line).ended() == why


async def test_who_says_nothing_is_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollbook.api.live.AUTHENTICATE_S", 0.05)
    async with site.connected(["rollbook"]) as line:
        assert await Listener(line).ended() == (4401, "not_authenticated")


async def test_a_wrong_token_as_a_sub_protocol_is_told_by_the_code(site: Site) -> None:
    async with site.connected(["rollbook", "bearer.nonsense"]) as line:
        assert await Listener(line).ended() == (4401, "not_authenticated")


async def test_a_connection_ends_with_its_token(
    site: Site, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    for seconds in (1, 4, 16):  # a busy machine may need longer for the sign-in
        token = short_token(settings, user, seconds=seconds)
        async with site.connected(["rollbook", f"bearer.{token}"]) as line:
            client = Listener(line)
            end = await client.ended()
        if client.heard:
            break
    assert client.heard[0]["type"] == "snapshot"
    assert end == (4401, "token_expired")


async def test_a_newer_token_lengthens_a_connection(
    site: Site, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    token = short_token(settings, user, seconds=60)
    async with site.connected(["rollbook", f"bearer.{token}"]) as line:
        client = Listener(line)
        await client.next()
        renewed = issue_token(settings, user)
        await line.send(json.dumps({"type": "authenticate", "token": renewed}))
        (connected,) = site.feed.clients
        long_after = clock.now() + dt.timedelta(minutes=20)
        async with asyncio.timeout(PATIENCE_S):
            while connected.session.expires < long_after:  # noqa: ASYNC110 - the server says no more
                await asyncio.sleep(0.01)
        assert connected._expiry.when() - asyncio.get_running_loop().time() > 20 * 60
        await sent(system, user, csv_file(1))
        await client.until(of_type("bulk_upload_progress"))


@pytest.mark.parametrize("change", ["disable", "password", "place", "role"])
async def test_who_is_not_any_more_who_they_were_is_let_go(
    system: System,
    settings: Settings,
    make_user: MakeUser,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rollbook.live.feed.ACCOUNTS_S", 0.05)
    user, other = await make_user(Role.PROVINCE_ADMIN, "GP"), await make_user()
    async with (
        Site(quick(settings)) as site,
        site.listening(user) as client,
        site.listening(other) as bystander,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
        http.stream("GET", **events(site, user)) as answer,
    ):
        await client.next()
        await bystander.next()
        messages = told(answer)
        await anext(messages)
        if change == "disable":
            await users.disable(system.pool, user.email)
        elif change == "password":
            await users.set_password(system.pool, user.email, "another long password")
        else:
            now = {
                "place": ("province_admin", "WC", None),
                "role": ("municipality_admin", "GP", "Johannesburg"),
            }[change]
            async with system.pool.connection() as connection:
                await connection.execute(
                    "UPDATE users SET role = %s, province = %s, municipality = %s WHERE id = %s",
                    (*now, user.id),
                )
        assert await client.ended() == (4401, "account_changed")
        [last] = [message async for _, kind, message in messages if kind == "end"]
        assert last == {"code": 4401, "reason": "account_changed"}
        await sent(system, other, csv_file(1))
        await bystander.until(of_type("bulk_upload_progress"))


async def test_a_page_of_a_foreign_site_is_refused(site: Site, make_user: MakeUser) -> None:
    user = await make_user()
    for origin in ("https://evil.example", "null", f"http://{site.host}.evil.example"):
        with pytest.raises(InvalidStatus) as refused:
            async with site.listening(user, origin=origin):
                pass
        assert refused.value.response.status_code == 403
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            token = issue_token(site.settings, user)
            answer = await http.get(
                f"http://{site.host}{PATH}/events",
                headers={"Origin": origin, "Authorization": f"Bearer {token}"},
            )
        assert answer.status_code == 403


async def test_a_page_of_the_same_host_or_of_an_allowed_site_may_listen(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    allowing = quick(settings, allowed_origins="https://a.example, https://members.example.org")
    async with Site(allowing) as site:
        for origin in (f"http://{site.host}", "https://members.example.org", "https://a.example"):
            async with site.listening(user, origin=origin) as client:
                assert (await client.next())["type"] == "snapshot"


# --- slow clients, breaks and losses ----------------------------------------------------------


@pytest.mark.parametrize("way", ["ws", "events"])
async def test_a_client_that_reads_nothing_is_dropped_and_the_others_miss_nothing(
    site: Site,
    system: System,
    make_user: MakeUser,
    settings: Settings,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    monkeypatch.setattr("rollbook.live.client.WAITING", 50)
    monkeypatch.setattr("rollbook.api.live.CLOSE_S", 0.1)
    monkeypatch.setattr("rollbook.api.server.LINGER_S", 0.1)
    # What the kernel takes for a client that reads nothing: little, so that the test is quick.
    site.server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    user = await make_user()
    upload_id = await sent(system, user, csv_file(1))
    with deaf(site, way, issue_token(settings, user)) as line:
        async with site.listening(user) as client, asyncio.timeout(PATIENCE_S):
            await client.next()
            attempt = 0
            while not site.feed.clients.disconnected.get("too_slow"):
                attempt += 1
                for percent in range(20):
                    await tell_progress(redis, settings, upload_id, attempt, percent)
                await client.until(is_at(19))
            running = [e for e in client.events if e["data"]["status"] == "processing"]
            assert len(running) == attempt * 20
            assert len(site.feed.clients) == 1
        # The server holds nothing for it any more, although it has still read nothing.
        async with asyncio.timeout(PATIENCE_S):
            while site.server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0.01)
        # The line is cut: what was on its way comes, and then the end.
        line.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE_S):
                while await asyncio.to_thread(line.recv, 1 << 16):
                    pass


@contextlib.contextmanager
def deaf(site: Site, way: str, token: str) -> Any:
    """A client that signs in and then reads nothing."""
    host, port = site.host.split(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect((host, int(port)))
    sign_in = {
        "events": f"Authorization: Bearer {token}\r\n",
        "ws": "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: rollbook, bearer.{token}\r\n",
    }[way]
    head = f"GET {PATH}/{way} HTTP/1.1\r\nHost: {site.host}\r\n{sign_in}\r\n"
    line.sendall(head.encode())
    try:
        yield line
    finally:
        line.close()


async def test_who_comes_back_gets_what_was_missed_and_no_snapshot(
    site: Site, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with site.listening(user) as client:
        snapshot = await client.next()
    async with working(system), site.listening(user) as other:
        await sent(system, user, csv_file(1))
        await other.until(ENDS)
    async with site.listening(user, since=snapshot["seq"]) as back:
        await back.until(of_type("heartbeat"))
    assert back.events == other.events
    kinds = [message["type"] for message in back.heard]
    assert kinds[-2:] == ["queue_stats", "heartbeat"]
    assert "snapshot" not in kinds


@pytest.mark.parametrize("since", [0, 2**53 - 1])
async def test_who_was_away_too_long_gets_a_snapshot_that_says_so(
    site: Site,
    system: System,
    make_user: MakeUser,
    since: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rollbook.live.feed.PATIENCE_S", 0.1)
    user = await make_user()
    upload_id = await sent(system, user, csv_file(1))
    async with site.listening(user, since=since) as client:
        first = await client.next()
        assert (first["type"], first["data"]["is_reset"]) == ("snapshot", True)
        assert [one["job_id"] for one in first["data"]["uploads"]] == [str(upload_id)]


@pytest.mark.parametrize("seed", list(seeds()))
async def test_no_event_is_lost_and_none_comes_twice_over_random_breaks_and_restarts(
    system: System, settings: Settings, make_user: MakeUser, redis: Redis, seed: int
) -> None:
    """One course of breaks in ``make test``, and many in ``make faults``."""
    chance = random.Random(seed)
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    other = await make_user(Role.PROVINCE_ADMIN, "WC")
    ids = [await sent(system, user, csv_file(n)) for n in (1, 2)]
    foreign = await sent(system, other, csv_file(3))
    async with system.pool.connection() as connection:  # as if a worker had claimed them
        await connection.execute(
            "UPDATE uploads SET status = 'processing', attempt = 1, heartbeat_at = now()"
        )

    async def happen() -> None:
        for percent in range(0, 100, 2):
            for upload_id in (*ids, foreign):
                await tell_progress(redis, settings, upload_id, 1, percent)
            await asyncio.sleep(chance.random() * 0.02)  # the pace of what happens, no waiting
        for upload_id in ids:
            await control.cancel(system, user, upload_id)

    async def come_and_go(sites: list[Site]) -> list[Heard]:
        """All messages of a client that disconnects and returns at several points, to the end."""
        heard: list[Heard] = []
        deadline = time.monotonic() + PATIENCE_S
        while sum(map(ENDS, heard)) < 2:
            assert time.monotonic() < deadline, heard
            since = heard[-1]["seq"] if heard else None
            with contextlib.suppress(ConnectionClosed, InvalidHandshake):  # by who stops
                async with chance.choice(sites).listening(user, since=since) as client:
                    for _ in range(chance.randrange(1, 40)):
                        heard.append(await client.next())
                        if sum(map(ENDS, heard)) == 2:
                            break
        return heard

    async with (
        asyncio.timeout(PATIENCE_S),
        Site(quick(settings)) as first,
        Site(quick(settings)) as second,
        first.listening(user) as steady,
    ):
        sites = [first, second]
        await steady.next()
        hearing = [asyncio.create_task(come_and_go(sites)) for _ in range(4)]
        happening = asyncio.create_task(happen())
        # One of the two processes stops in the middle, and another one begins.
        await steady.until(is_at(40))
        sites.remove(second)
        await second.stop()
        async with Site(quick(settings)) as third:
            sites.append(third)
            await happening
            await steady.until(ENDS)
            await steady.until(ENDS)
            results = await asyncio.gather(*hearing)
    for heard in results:
        snapshot, *rest = heard
        assert snapshot["type"] == "snapshot"
        assert not [message for message in rest if message["type"] == "snapshot"]
        since_then = [event for event in steady.events if event["seq"] > snapshot["seq"]]
        assert [message for message in rest if message["type"] not in STATES] == since_then


@pytest.mark.usefixtures("rounds")
async def test_after_flushall_every_client_gets_a_new_snapshot_and_goes_on_hearing(
    system: System,
    settings: Settings,
    make_user: MakeUser,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rollbook.live.feed.EPOCH_S", 0.05)
    user = await make_user()
    upload_id = await sent(system, user, csv_file(1))
    async with Site(quick(settings, reconcile_interval_s=1)) as site:
        async with site.listening(user) as client:
            before = await client.next()
            await tell_progress(redis, settings, upload_id, 1, 5)
            await client.until(is_at(5))
            await redis.flushall()
            again = await client.until(of_type("snapshot"))
            assert again["data"]["is_reset"]
            async with working(system):  # the reconciler brings the job back
                end = await client.until(ENDS)
            assert (end["type"], end["job_id"]) == ("bulk_upload_complete", str(upload_id))
        async with site.listening(user, since=before["seq"]) as late:
            first = await late.next()
            assert (first["type"], first["data"]["is_reset"]) == ("snapshot", True)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_what_happened_while_redis_was_out_of_reach_is_told_or_a_snapshot_comes(
    system: System,
    settings: Settings,
    make_user: MakeUser,
    redis: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_cut: bool,
) -> None:
    monkeypatch.setattr("rollbook.live.feed.EPOCH_S", 0.05)
    monkeypatch.setattr("rollbook.live.feed.LOOK_S", 0.05)
    user = await make_user()
    upload_id = await sent(system, user, csv_file(1))
    gate = Gate(settings.redis_address, tmp_path)
    await gate.open()
    behind = quick(settings, redis_url=SecretStr(gate.address))
    async with Site(behind) as site, site.listening(user) as client:
        await client.next()
        await tell_progress(redis, settings, upload_id, 1, 5)
        await client.until(is_at(5))
        await gate.shut()
        await client.until(lambda m: m["type"] == "heartbeat" and not m["data"]["is_live"])
        for percent in (10, 20, 30):
            await tell_progress(redis, settings, upload_id, 1, percent)
        if is_cut:
            await redis.xtrim(f"bull:{settings.queue_name}:events", maxlen=1, approximate=False)
        away = len(client.heard)
        await gate.open()
        await client.until(of_type("snapshot") if is_cut else is_at(30))
        await tell_progress(redis, settings, upload_id, 1, 40)
        await client.until(is_at(40))
        known = client.heard[away - 1]["seq"]
        async with site.listening(user, since=known) as late:
            first = await late.next()
    await gate.shut()
    since_then = client.heard[away:]
    percents = [m["data"]["progress"] for m in since_then if m["type"] == "bulk_upload_progress"]
    snapshots = [m["data"]["is_reset"] for m in since_then if m["type"] == "snapshot"]
    assert percents == ([30, 40] if is_cut else [10, 20, 30, 40])
    assert snapshots == ([True] if is_cut else [])
    assert first["type"] == ("snapshot" if is_cut else "bulk_upload_progress")


async def test_events_that_pile_up_while_postgresql_hangs_become_a_snapshot(
    system: System,
    settings: Settings,
    make_user: MakeUser,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rollbook.live.stream.LIMIT", 20)
    user = await make_user()
    unknown = await sent(system, user, csv_file(1))
    await control.cancel(system, user, unknown)
    upload_id = await sent(system, user, csv_file(2))
    async with Site(quick(settings)) as site, site.listening(user) as client:
        known = await client.next()
        async with system.pool.connection() as connection, connection.transaction():
            await connection.execute("LOCK TABLE uploads IN ACCESS EXCLUSIVE MODE")
            await tell_progress(redis, settings, unknown, 1, 1)  # its record must be read
            for percent in range(40):
                await tell_progress(redis, settings, upload_id, 1, percent)
            stream = await redis.xinfo_stream(f"bull:{settings.queue_name}:events")
            async with asyncio.timeout(PATIENCE_S):
                while site.feed.stream.newest < seq_of(stream["last-generated-id"]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert len(site.feed.stream) <= 21
        snapshot = await client.until(of_type("snapshot"))
        assert snapshot["data"]["is_reset"]
        await tell_progress(redis, settings, upload_id, 1, 50)
        await client.until(is_at(50))
        async with site.listening(user, since=known["seq"]) as late:
            assert (await late.next())["data"]["is_reset"]


async def test_a_stopping_server_lets_its_clients_go_at_once(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    async with (
        Site(quick(settings, shutdown_grace_s=2 * PATIENCE_S)) as site,
        site.listening(user) as client,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
    ):
        await client.next()
        async with http.stream("GET", **events(site, user)) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines)
            await site.stop()  # within less than the grace period
            assert (await client.ended())[0] == 1012
            rest = [line async for line in lines]
    assert rest[-3:-1] == ["event: end", 'data: {"code":1012,"reason":"restart"}']


async def test_clients_hear_that_the_queue_cannot_be_heard(
    site: Site, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.listening(await make_user()) as client:
        await client.until(lambda m: m["type"] == "heartbeat" and m["data"]["is_live"])
        monkeypatch.setattr("rollbook.live.feed.Feed.is_live", False)
        await client.until(lambda m: m["type"] == "heartbeat" and not m["data"]["is_live"])
        monkeypatch.undo()
        await client.until(lambda m: m["type"] == "heartbeat" and m["data"]["is_live"])


# --- Server-Sent Events -----------------------------------------------------------------------


def events(site: Site, user: User, **more: str) -> dict[str, Any]:
    token = issue_token(site.settings, user)
    return {
        "url": f"http://{site.host}{PATH}/events",
        "headers": {"Authorization": f"Bearer {token}", **more},
    }


async def told(answer: httpx.Response) -> AsyncIterator[tuple[str, str, Heard]]:
    """The id, the event and the data of each Server-Sent Event."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}


async def test_server_sent_events_tell_the_same_and_go_on_where_they_broke_off(
    site: Site, system: System, make_user: MakeUser
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    async with site.listening(user) as client, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        await client.next()
        heard: list[Heard] = []
        async with http.stream("GET", **events(site, user)) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            messages = told(answer)
            last_id, kind, _ = await anext(messages)
            assert kind == "snapshot"
        async with working(system):
            await sent(system, user, csv_file(1))
            await client.until(ENDS)
        headers = {"Last-Event-ID": last_id}
        async with http.stream("GET", **events(site, user, **headers)) as answer:
            async for seq, kind, message in told(answer):
                conforms(message)
                assert (int(seq), kind) == (message["seq"], message["type"])
                heard.append(message)
                if kind == "heartbeat":
                    break
    assert [one for one in heard if one["job_id"]] == client.events


@pytest.mark.parametrize("token", [None, "nonsense"])
async def test_server_sent_events_want_a_good_token(site: Site, token: str | None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        answer = await http.get(f"http://{site.host}{PATH}/events", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def short_token(settings: Settings, user: User, *, seconds: float) -> str:
    now = clock.now()
    claims = {"sub": str(user.id), "sid": str(uuid4()), "auth_time": now.timestamp()}
    # Whole seconds: of others, PyJWT cuts the rest off.
    until = dt.datetime.fromtimestamp(math.ceil(now.timestamp() + seconds), dt.UTC)
    return tokens.sign(settings, tokens.API, claims, until=until)


async def test_a_line_that_is_closing_keeps_no_server_from_its_end(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    site = Site(quick(settings))
    async with site, site.listening(user) as client:
        assert (await client.next())["type"] == "snapshot"
        connections: set[Any] = site.server.server_state.connections
        (line,) = (one for one in connections if isinstance(one, WebSocketsSansIOProtocol))
        line.conn.send_close(1000)  # as when the client's own close has just come in
        await site.stop()  # raises what the server ended with
    assert not site.server.server_state.connections
