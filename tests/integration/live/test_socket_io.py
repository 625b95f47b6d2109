"""Socket.IO for the first system's clients: who gets what, how it ends, what clients may cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from socketio.exceptions import ConnectionError as NotConnectedError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from rollbook.accounts import keys, users
from rollbook.accounts.users import issue_token
from rollbook.api.first_system.socket_io import MOST_BYTES
from rollbook.backends.redis import make_client
from rollbook.model import KeyScope, Role, User
from rollbook.uploads import control
from tests.files import csv_file, members
from tests.integration.live.test_live import short_token, tell_progress
from tests.integration.worker.test_worker import sent, working
from tests.listening import Site, quick
from tests.socket_io import STAGES, listening, until
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

UNKNOWN = "00000000-0000-4000-8000-000000000000"
BOTH = pytest.mark.parametrize("transport", ["polling", "websocket"])


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"first_system_clients": True})


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with Site(quick(settings)) as served:
        yield served


def io_of(site: Site) -> Any:
    return site.server.app.state.socket_io


def token_of(settings: Settings, user: User) -> str:
    return issue_token(settings, user)


async def served(site: Site, clients: int = 1) -> None:
    """Wait until so many clients get events: who has just connected may miss the end of a job."""
    await until(lambda: len(site.feed.clients) == clients)


# --- what clients receive -------------------------------------------------------------------------


@BOTH
async def test_a_client_hears_its_own_uploads_by_the_first_systems_names(
    site: Site, system: System, settings: Settings, make_user: MakeUser, transport: str
) -> None:
    user, colleague = await make_user(), await make_user()
    async with listening(site.host, token_of(settings, user), transport) as ear:
        assert ear.client.transport() == transport
        foreign = await sent(system, colleague, csv_file(members(3, start=500)))
        job_id = await sent(system, user, csv_file(members(200)))
        position = await ear.until("queue_position_update", job_id)
        assert position["position"] in {1, 2}
        assert position["estimated_wait_minutes"] is None  # no worker runs yet
        async with working(system):
            done = await ear.until("bulk_upload_complete", job_id)
        failed = await sent(system, user, csv_file([{"Name": "A"}], headers=("Name",)))
        async with working(system):
            refused = await ear.until("bulk_upload_failed", failed)
    assert done["status"] == "completed"
    assert done["validation_stats"] == {
        "total_records": 200, "valid_records": 200, "invalid_ids": 0, "duplicates": 0,
        "not_registered": 0,
    }  # fmt: skip
    assert done["database_stats"] == {"inserts": 200, "updates": 0, "errors": 0}
    assert done["report_path"] == f"/api/v1/bulk-upload/report/{job_id}"
    assert done["processing_duration_ms"] > 0
    assert refused["status"] == "failed"
    assert refused["error"].endswith(".")
    assert refused["stage"] in STAGES
    own = [(name, data) for name, data in ear.events if data["job_id"] == str(job_id)]
    running = [data for name, data in own if name == "bulk_upload_progress"]
    assert {data["status"] for data in running} == {"processing"}
    percents = [data["progress"] for data in running]
    assert percents == sorted(percents)
    stages = [STAGES.index(data["stage"]) for data in running]
    assert stages == sorted(stages)
    assert str(foreign) not in ear.jobs()


async def test_stages_that_alternate_do_not_go_back(
    site: Site, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    job_id = await sent(system, user, csv_file(1))
    async with (
        make_client(settings.redis_address) as redis,
        listening(site.host, token_of(settings, user), "websocket") as ear,
    ):

        async def tell(attempt: int, percent: int, stage: str | None) -> None:
            progress = {
                "attempt": attempt, "stage": stage, "percent": percent, "rows_done": percent,
                "rows_total": 100, "rows_per_second": 1.0,
            }  # fmt: skip
            fields: dict[Any, Any] = {
                "event": "progress", "jobId": str(job_id), "data": json.dumps(progress)
            }  # fmt: skip
            await redis.xadd(f"bull:{settings.queue_name}:events", fields)

        await served(site)
        ours = (None, "read", "validate", "read", "normalise", "match", "verify", "merge", "report")
        for percent, stage in enumerate(ours):
            await tell(1, percent, stage)
        await tell(2, 1, "read")
        await ear.until("bulk_upload_progress", times=len(ours) + 1)
    heard = [data["stage"] for name, data in ear.events if name == "bulk_upload_progress"]
    assert heard == [
        "initialization", "file_reading", "pre_validation", "pre_validation", "pre_validation",
        "pre_validation", "iec_verification", "database_operations", "report_generation",
        "file_reading",
    ]  # fmt: skip


async def test_a_cancelled_upload_ends_too(
    site: Site, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    async with listening(site.host, token_of(settings, user), "websocket") as ear:
        await served(site)
        job_id = await sent(system, user, csv_file(1))
        await control.cancel(system, user, job_id)
        end = await ear.until("bulk_upload_failed", job_id)
    assert (end["status"], end["stage"]) == ("cancelled", "initialization")
    assert end["error"].startswith("Cancelled.")


async def test_positions_come_again_when_they_change_and_with_the_expected_wait(
    site: Site, system: System, settings: Settings, make_user: MakeUser
) -> None:
    from tests.integration.uploads.test_forecast import completed_in, worker_of

    user = await make_user()
    await completed_in(system, user, 90)
    await worker_of(system, "one", 1)
    first, second, third = [await sent(system, user, csv_file(rows)) for rows in (1, 2, 3)]
    async with listening(site.host, token_of(settings, user), "websocket") as ear:
        last = await ear.until("queue_position_update", third)
        assert last == {"job_id": str(third), "position": 3, "estimated_wait_minutes": 3}
        assert (await ear.until("queue_position_update", first))["estimated_wait_minutes"] == 0
        await control.cancel(system, user, second)
        # A look between the end of the second upload and that of its job sees one of both only.
        moved = {"job_id": str(third), "position": 2, "estimated_wait_minutes": 2}
        await until(lambda: ("queue_position_update", moved) in ear.events)


async def test_a_subscription_is_to_one_job_and_says_how_far_it_is(
    site: Site, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    town = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "City of Johannesburg")
    async with working(system):
        async with listening(site.host, token_of(settings, town)) as other:
            await served(site)
            theirs = await sent(system, town, csv_file(2))
            await other.until("bulk_upload_complete", theirs)
        await served(site, 0)
        async with listening(site.host, token_of(settings, user), "websocket") as ear:
            # It ended before, and is in the scope.
            answer = await ear.call("subscribe_bulk_upload_job", {"job_id": str(theirs)})
            assert answer == {"success": True, "message": "Subscribed.", "job_id": str(theirs)}
            await ear.until("bulk_upload_complete", theirs)
            async with listening(site.host, token_of(settings, user), "websocket") as beside:
                await served(site, 2)
                own = await sent(system, user, csv_file(members(3, start=70)))
                await beside.until("bulk_upload_complete", own)
                assert ear.jobs() == {str(theirs)}
                answer = await ear.call("unsubscribe_bulk_upload_job", {"job_id": str(theirs)})
                assert answer["success"]
                later = await sent(system, user, csv_file(members(3, start=80)))
                await ear.until("bulk_upload_complete", later)
    assert ear.jobs() == {str(theirs), str(later)}


async def test_a_foreign_job_is_answered_like_none_and_heard_by_nobody(
    site: Site, system: System, settings: Settings, make_user: MakeUser
) -> None:
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    cape = await make_user(Role.PROVINCE_ADMIN, "WC")
    foreign = await sent(system, gauteng, csv_file(2))
    async with listening(site.host, token_of(settings, cape), "websocket") as ear:
        answers = [
            await ear.call("subscribe_bulk_upload_job", data)
            for data in ({"job_id": str(foreign)}, {"job_id": UNKNOWN}, {"job_id": 7}, {}, None,
                         "x" * 200, [str(foreign)], {"job_id": {"$ne": 1}})
        ]  # fmt: skip
        assert {json.dumps(answer) for answer in answers} == {json.dumps(answers[0])}
        assert answers[0]["success"] is False
        await served(site)
        async with working(system):
            own = await sent(system, cape, csv_file(members(3, start=70)))
            await ear.until("bulk_upload_complete", own)
    assert ear.jobs() == {str(own)}


async def test_after_lost_events_a_client_hears_the_end_that_it_missed(
    site: Site, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    async with listening(site.host, token_of(settings, user), "websocket") as ear:
        job_id = await sent(system, user, csv_file(3))
        await ear.until("queue_position_update", job_id)
        async with system.pool.connection() as connection:
            await connection.execute(
                "UPDATE uploads SET status = 'failed', error = 'It broke.', finished_at = now() "
                "WHERE id = %s", (job_id,),
            )  # fmt: skip
        async with make_client(settings.redis_address) as redis:
            await redis.flushall()
        end = await ear.until("bulk_upload_failed", job_id)
    assert end["error"] == "It broke."


# --- two processes --------------------------------------------------------------------------------


@BOTH
async def test_any_process_serves_any_client(
    site: Site, system: System, settings: Settings, make_user: MakeUser, transport: str
) -> None:
    user = await make_user()
    async with (
        Site(quick(settings)) as second,
        listening(site.host, token_of(settings, user), transport) as one,
        listening(second.host, token_of(settings, user), transport) as other,
        working(system),
    ):
        await served(site)
        await served(second)
        job_id = await sent(system, user, csv_file(20))
        ends = [await ear.until("bulk_upload_complete", job_id) for ear in (one, other)]
    assert ends[0] == ends[1]


async def test_polling_needs_its_own_process(site: Site, settings: Settings) -> None:
    async with Site(quick(settings)) as second, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        opened = await http.get(f"http://{site.host}/socket.io/?EIO=4&transport=polling")
        transport_id = json.loads(opened.text[1:])["sid"]
        lost = await http.get(
            f"http://{second.host}/socket.io/?EIO=4&transport=polling&sid={transport_id}"
        )
    assert lost.status_code == 400


async def test_a_stopping_process_ends_its_clients_as_a_lost_line(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    async with (
        Site(quick(settings)) as site,
        listening(site.host, token_of(settings, user), "polling") as one,
        listening(site.host, token_of(settings, user), "websocket") as other,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
    ):
        await http.get(f"http://{site.host}/socket.io/?EIO=4&transport=polling")
        await site.stop()
        await one.end()
        await other.end()


# --- signing in, and out --------------------------------------------------------------------------


@BOTH
async def test_without_a_good_token_the_connection_is_refused(
    site: Site, settings: Settings, make_user: MakeUser, transport: str
) -> None:
    expired = short_token(settings, await make_user(), seconds=-1)
    for token in ("nonsense", "", None, 7, {"a": "b"}, expired):
        with pytest.raises(NotConnectedError):
            async with listening(site.host, token, transport):
                pass
    assert len(site.feed.clients) == 0


async def test_a_token_in_the_address_or_a_header_is_not_read(
    site: Site, settings: Settings, make_user: MakeUser
) -> None:
    token = token_of(settings, await make_user())
    with pytest.raises(NotConnectedError):
        async with listening(
            f"{site.host}/?token={token}", None, headers={"Authorization": f"Bearer {token}"}
        ):
            pass


@BOTH
async def test_a_sign_out_ends_the_connection(
    system: System,
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    monkeypatch.setattr("rollbook.live.feed.ACCOUNTS_S", 0.05)
    user = await make_user()
    token = token_of(settings, user)
    async with (
        Site(quick(settings)) as own,
        listening(own.host, token, transport) as ear,
        listening(own.host, token_of(settings, user), transport) as elsewhere,
    ):
        await served(own, 2)
        session = await users.session(system.pool, settings, token)
        await users.sign_out(system.pool, settings, session)
        await ear.end()
        assert not elsewhere.ended.is_set()
        assert own.feed.clients.disconnected == {"account_changed": 1}
        with pytest.raises(NotConnectedError):
            async with listening(own.host, token, transport):
                pass


@BOTH
async def test_a_connection_ends_with_its_token(
    site: Site, settings: Settings, make_user: MakeUser, transport: str
) -> None:
    user = await make_user()
    for seconds in (1, 4, 16):  # a busy machine may need longer for the sign-in
        try:
            async with listening(
                site.host, short_token(settings, user, seconds=seconds), transport
            ) as ear:
                await ear.end()
        except NotConnectedError:
            continue
        break
    # One that ended before the client had heard of its sign-in counts too.
    assert set(site.feed.clients.disconnected) == {"token_expired"}


async def test_a_user_has_so_many_connections_of_both_kinds(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    few = quick(settings, live_lines_per_user=2)
    async with (
        Site(few) as site,
        site.listening(user),
        listening(site.host, token_of(settings, user), "websocket") as first,
        listening(site.host, token_of(settings, user), "websocket") as second,
    ):
        await second.end()
        assert not first.ended.is_set()
        assert site.feed.clients.disconnected == {"too_many_lines": 1}


@BOTH
async def test_a_page_of_a_foreign_site_is_refused(
    settings: Settings, make_user: MakeUser, transport: str
) -> None:
    user = await make_user()
    allowing = quick(settings, allowed_origins="https://members.example.org")
    token = token_of(settings, user)
    async with Site(allowing) as site:
        for origin in ("https://evil.example", "null"):
            with pytest.raises(NotConnectedError):
                async with listening(site.host, token, transport, headers={"Origin": origin}):
                    pass
        for origin in (f"http://{site.host}", "https://members.example.org"):
            async with listening(site.host, token, transport, headers={"Origin": origin}) as ear:
                assert ear.client.connected
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            opened = await http.get(
                f"http://{site.host}/socket.io/?EIO=4&transport=polling",
                headers={"Origin": "https://members.example.org"},
            )
        assert opened.headers["access-control-allow-origin"] == "https://members.example.org"
        assert "access-control-allow-credentials" not in opened.headers


# --- what a client may cost -----------------------------------------------------------------------


async def test_who_does_not_sign_in_is_let_go(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollbook.api.first_system.socket_io.AUTHENTICATE_S", 0.05)
    monkeypatch.setattr("rollbook.api.first_system.socket_io.SWEEP_S", 0.05)
    monkeypatch.setattr("rollbook.api.first_system.socket_io.CLOSE_S", 0.1)
    async with Site(quick(settings)) as site, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        # Nor is a WebSocket kept until its client closes it: the library waits for pings.
        io_of(site)._server.eio.ping_interval = 2 * PATIENCE_S
        address = f"{site.host}/socket.io/?EIO=4&transport="
        await http.get(f"http://{address}polling")
        for said in (None, '40{"token":"none"}'):
            async with connect(
                f"ws://{address}websocket", proxy=None, open_timeout=PATIENCE_S
            ) as line:
                async with asyncio.timeout(PATIENCE_S):
                    with contextlib.suppress(ConnectionClosed):  # orderly or not, at any moment
                        if said is not None:
                            await line.send(said)
                        async for _ in line:
                            pass
        await until(lambda: not io_of(site)._server.eio.sockets)
        assert not io_of(site)._strangers


@pytest.fixture
def patient_with_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers stay for as long as a test may last."""
    monkeypatch.setattr("rollbook.api.first_system.socket_io.AUTHENTICATE_S", 2 * PATIENCE_S)


@pytest.mark.usefixtures("patient_with_strangers")
async def test_strangers_have_so_many_connections(settings: Settings, make_user: MakeUser) -> None:
    token = token_of(settings, await make_user())
    few = quick(settings, strangers=2)
    async with Site(few) as site, listening(site.host, token, "websocket"):
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            address = f"http://{site.host}/socket.io/?EIO=4&transport=polling"
            answers = [(await http.get(address)).status_code for _ in range(3)]
        assert answers == [200, 200, 503]
        with pytest.raises(NotConnectedError):
            async with listening(site.host, token, "websocket"):
                pass


@pytest.mark.usefixtures("patient_with_strangers")
async def test_strangers_of_one_address_leave_room_for_others(
    settings: Settings, make_user: MakeUser
) -> None:
    token = token_of(settings, await make_user())
    few = quick(settings, strangers=3, strangers_per_address=1)
    async with Site(few) as site, httpx.AsyncClient(timeout=PATIENCE_S) as http:

        async def opened(address: str) -> int:
            """Open a session from an address, as a reverse proxy on this machine says it."""
            answer = await http.get(
                f"http://{site.host}/socket.io/?EIO=4&transport=polling",
                headers={"X-Forwarded-For": address},
            )
            return answer.status_code

        assert await opened("192.0.2.1") == 200
        assert await opened("192.0.2.1") == 429
        assert await opened("2001:db8::1") == 200
        assert await opened("2001:db8::2") == 429  # the same subscriber's
        # Who has signed in is no stranger.
        async with (
            listening(site.host, token, "polling"),
            listening(site.host, token, "websocket"),
            listening(site.host, token, "polling"),
        ):
            assert await opened("192.0.2.1") == 429


async def test_a_key_that_reads_hears_what_it_sent(
    site: Site, system: System, make_user: MakeUser
) -> None:
    maker = await make_user()

    async def key_of(scope: KeyScope) -> tuple[UUID, str]:
        made, key = await keys.make(
            system.pool, system.settings, maker, name="a program", scopes=[scope]
        )
        return made["key_id"], key

    _, narrow = await key_of("upload")
    key_id, key = await key_of("read")
    for transport in ("polling", "websocket"):
        with pytest.raises(NotConnectedError):
            async with listening(site.host, narrow, transport):
                pass
    colleagues = await sent(system, maker, csv_file(1))
    async with listening(site.host, key, "polling") as ear:
        program = (await keys.session(system.pool, key)).user
        job_id = await sent(system, program, csv_file(2))
        await ear.until("queue_position_update", job_id)
        assert ear.jobs() == {str(job_id)}
        followed = await ear.call("subscribe_bulk_upload_job", {"job_id": str(colleagues)})
        assert followed["success"] is True
        await keys.revoke(system.pool, maker, key_id)
        await ear.end()


async def test_odd_bodies_of_polling_clients_do_no_harm(
    site: Site, settings: Settings, make_user: MakeUser
) -> None:
    token = token_of(settings, await make_user())
    address = f"http://{site.host}/socket.io/?EIO=4&transport=polling"
    large = [b"4" + b"x" * MOST_BYTES, b"4" * (1024 * 1024)]
    odd = [b"\xff\xfe", b"9", b"42[", b"42" + b"[" * 16_000, b"\x1e" * 1000]
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        for content in (*large, *odd):
            opened = await http.get(address)
            own = f"{address}&sid={json.loads(opened.text[1:])['sid']}"
            answer = await http.post(own, content=content)
            assert answer.status_code in ({413} if content in large else {200, 400})
            chunked = await http.post(own, content=_chunks(content))
            assert chunked.status_code == 411
        jsonp = await http.get(f"{address}&j=0")
        assert jsonp.status_code == 400
    async with listening(site.host, token, "polling") as ear:
        assert ear.client.connected


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_binary_packets_are_not_collected(
    site: Site, settings: Settings, make_user: MakeUser
) -> None:
    token = token_of(settings, await make_user())
    address = f"ws://{site.host}/socket.io/?EIO=4&transport=websocket"
    async with (
        connect(address, proxy=None, open_timeout=PATIENCE_S) as line,
        asyncio.timeout(PATIENCE_S),
    ):
        await line.recv()
        await line.send("40" + json.dumps({"token": token}))
        assert str(await line.recv()).startswith("40")
        await line.send('451000000000-["subscribe_bulk_upload_job",{"_placeholder":true,"num":0}]')
        await line.send(b"x" * 1000)
        await line.send('420["subscribe_bulk_upload_job",{}]')
        answers = [str(await line.recv())]
        while not answers[-1].startswith("430"):  # no bound: within the timeout above
            answers.append(str(await line.recv()))
        assert not io_of(site)._server._binary_packet


@pytest.mark.usefixtures("long_minute")
async def test_a_client_that_sends_too_much_is_let_go(
    site: Site, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    async with listening(site.host, token_of(settings, user), "websocket") as ear:
        for _ in range(200):
            await ear.client.emit("no_such_event", {})
        await ear.end()
    strict = quick(settings, requests_per_minute=5)
    other = await make_user()
    async with (
        Site(strict) as own,
        listening(own.host, token_of(settings, other), "websocket") as ear,
    ):
        for _ in range(6):
            await ear.client.emit("no_such_event", {})
        await ear.end()
        assert own.feed.clients.disconnected == {"too_many_requests": 1}


@BOTH
async def test_a_client_that_reads_nothing_is_dropped_and_the_others_miss_nothing(
    site: Site,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    monkeypatch.setattr("rollbook.live.client.WAITING", 50)
    monkeypatch.setattr("rollbook.api.first_system.socket_io.CLOSE_S", 0.1)
    monkeypatch.setattr("rollbook.api.server.LINGER_S", 0.1)
    import socket as sockets

    site.server.servers[0].sockets[0].setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    user = await make_user()
    token = token_of(settings, user)
    upload_id = await sent(system, user, csv_file(1))
    address = f"{site.host}/socket.io/?EIO=4&transport={transport}"
    sign_in = "40" + json.dumps({"token": token})
    async with (
        make_client(settings.redis_address) as redis,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
        listening(site.host, token, "websocket") as ear,
        asyncio.timeout(PATIENCE_S),
    ):
        deaf = None
        if transport == "polling":
            opened = await http.get(f"http://{address}")
            own = f"http://{address}&sid={json.loads(opened.text[1:])['sid']}"
            await http.post(own, content=sign_in.encode())
        else:
            line = sockets.socket()
            # What the kernels take for it: little, so that the test is quick.
            line.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            host, port = site.host.split(":")
            line.connect((host, int(port)))
            deaf = await connect(
                f"ws://{address}", sock=line, proxy=None, max_queue=1, open_timeout=PATIENCE_S
            )
            await deaf.send(sign_in)
        await served(site, 2)
        attempt = 0
        while not site.feed.clients.disconnected.get("too_slow"):
            attempt += 1
            for percent in range(20):
                await tell_progress(redis, settings, upload_id, attempt, percent)
            await ear.until("bulk_upload_progress", times=attempt * 20)
        await until(lambda: len(io_of(site)._lines) == 1)
        await until(lambda: len(io_of(site)._server.eio.sockets) == 1)
        if deaf is not None:
            deaf.transport.abort()


class TestOff:
    """Without the setting."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"first_system_clients": False})

    async def test_nothing_answers(
        self, site: Site, settings: Settings, make_user: MakeUser
    ) -> None:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            answer = await http.get(f"http://{site.host}/socket.io/?EIO=4&transport=polling")
        assert answer.status_code == 404
        with pytest.raises(NotConnectedError):
            async with listening(site.host, token_of(settings, await make_user())):
                pass
