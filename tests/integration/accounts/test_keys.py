"""Keys for programs: what they may do, what ends them, and what is recorded of them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from psycopg import sql
from typer.testing import CliRunner

from rollbook import clock
from rollbook.accounts import audit, keys, sessions, users
from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.api.scopes import ANY, FIRST_SYSTEM_OPENS, OPENS
from rollbook.backends.database import Listed, fetch_all
from rollbook.cli import app as command
from rollbook.config import Settings, environment_for
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
)
from rollbook.masking import masked
from rollbook.model import KEY_SCOPES, KeyScope, Role, Scope, User
from tests.files import csv_file
from tests.integration.worker.test_worker import sent
from tests.listening import PATH, Site, quick
from tests.refusals import refusal
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"
ALL: Collection[KeyScope] = KEY_SCOPES
NONE: frozenset[KeyScope] = frozenset()


async def key_of(
    system: System, maker: User, scopes: Collection[KeyScope] = ALL, **more: Any
) -> tuple[UUID, str]:
    made, key = await keys.make(
        system.pool, system.settings, maker, name="nightly import", scopes=scopes, **more
    )
    return made["key_id"], key


def bearing(client: httpx.AsyncClient, credential: str) -> httpx.AsyncClient:
    client.headers["Authorization"] = f"Bearer {credential}"
    return client


# --- making ---------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_only_its_hash_is_stored(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    maker = await make_user(Role.PROVINCE_ADMIN, "GP")
    bearing(api, issue_token(system.settings, maker))
    wanted = {
        "name": "nightly import",
        "scopes": ["upload", "read"],
        "municipality": "Johannesburg",
    }
    answer = await api.post("/api/v1/keys", json=wanted)
    assert answer.status_code == 201
    made = answer.json()["data"]
    key = made["key"]
    assert key.startswith("rbk_")
    assert len(key) == 4 + 43
    assert (made["role"], made["province"], made["municipality"]) == (
        "municipality_admin", "GP", "City of Johannesburg",
    )  # fmt: skip
    listed = await api.get("/api/v1/keys")
    assert key not in listed.text
    assert [one["hint"] for one in listed.json()["data"]["items"]] == [key[:12]]
    async with system.pool.connection() as connection:
        tables = await fetch_all(
            connection,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        )
        for table in tables:
            name = sql.Identifier(table["table_name"])
            cursor = await connection.execute(
                sql.SQL("SELECT {name}::text AS row FROM {name}").format(name=name)
            )
            assert not [row for row in await cursor.fetchall() if key in row["row"]], table
        cursor = await connection.execute("SELECT hash FROM access_keys")
        assert [row["hash"] for row in await cursor.fetchall()] == [
            hashlib.sha256(key.encode()).digest()
        ]


async def test_nobody_makes_a_key_that_may_do_more(system: System, make_user: MakeUser) -> None:
    for maker, role, place in (
        ((Role.NATIONAL_ADMIN,), Role.SUPER_ADMIN, Scope()),
        ((Role.PROVINCE_ADMIN, "GP"), Role.NATIONAL_ADMIN, Scope()),
        ((Role.PROVINCE_ADMIN, "GP"), Role.PROVINCE_ADMIN, Scope("LP")),
        ((Role.PROVINCE_ADMIN, "GP"), None, Scope("LP")),
        ((Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"), Role.PROVINCE_ADMIN, Scope("GP")),
        ((Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"), None, Scope("GP", "City of Tshwane")),
    ):
        user = await make_user(*maker)
        refused = await refusal(key_of(system, user, role=role, place=place))
        assert isinstance(refused, NotAllowedError), (maker, role, place)
        assert await keys.listed(system.pool, user) == Listed([], 0), maker


async def test_what_is_not_said_of_a_key_is_its_makers(system: System, make_user: MakeUser) -> None:
    for maker, role, place, wanted in (
        ((Role.NATIONAL_ADMIN,), None, Scope(), (Role.NATIONAL_ADMIN, Scope())),
        ((Role.NATIONAL_ADMIN,), None, Scope("GP"), (Role.PROVINCE_ADMIN, Scope("GP"))),
        ((Role.PROVINCE_ADMIN, "GP"), None, Scope(), (Role.PROVINCE_ADMIN, Scope("GP"))),
        (
            (Role.PROVINCE_ADMIN, "GP"),
            None,
            Scope(None, "Johannesburg"),
            (Role.MUNICIPALITY_ADMIN, Scope("GP", "City of Johannesburg")),
        ),
        (
            (Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"),
            Role.MUNICIPALITY_ADMIN,
            Scope(),
            (Role.MUNICIPALITY_ADMIN, Scope("GP", "City of Johannesburg")),
        ),
    ):
        _, key = await key_of(system, await make_user(*maker), role=role, place=place)
        user = (await keys.session(system.pool, key)).user
        assert (user.role, user.scope) == wanted, maker


async def test_a_key_has_a_name_and_an_end_within_the_limit(
    system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    wrongs: tuple[dict[str, Any], ...] = (
        {"expires_at": clock.now() - dt.timedelta(seconds=1)},
        {"expires_at": clock.now() + dt.timedelta(days=366)},
        *({"name": name} for name in ("", " a", "a@b", "x" * 81, "of 8001015009087", "a\nb")),
    )
    for wrong in wrongs:
        given: dict[str, Any] = {"name": "good", "scopes": ["read"], **wrong}
        with pytest.raises(InvalidRequestError):
            await keys.make(system.pool, system.settings, maker, **given)
    made, _ = await keys.make(system.pool, system.settings, maker, name="good", scopes=["read"])
    left = made["expires_at"] - clock.now()
    assert dt.timedelta(days=364) < left <= dt.timedelta(days=365)
    few = system.settings.model_copy(update={"keys_per_user": 1})
    with pytest.raises(ConflictError, match="limit"):
        await keys.make(system.pool, few, maker, name="one more", scopes=["read"])


# --- scopes ---------------------------------------------------------------------------------------


def _guarded() -> set[tuple[str, str]]:
    """The routes that want somebody who is known."""
    document = create_app(Settings(_env_file=None, first_system_clients=True))
    found = set()
    for route in iter_route_contexts(document.routes):
        assert route.path is not None
        if not route.methods:
            found.add(("WEBSOCKET", route.path))
        secured = getattr(route, "dependant", None)
        if secured is not None and _wants_bearer(secured):
            found |= {(method, route.path) for method in route.methods or ()}
    return found


def _wants_bearer(dependant: Any) -> bool:
    name = type(dependant.call).__name__
    return name == "HTTPBearer" or any(_wants_bearer(inner) for inner in dependant.dependencies)


def test_the_table_of_scopes_has_every_route_and_no_other() -> None:
    assert {*OPENS, *FIRST_SYSTEM_OPENS} == {*_guarded(), ("GET", "/socket.io")}, (
        "src/rollbook/api/scopes.py says which scope opens each route"
    )


async def test_every_route_is_open_to_its_scopes_and_to_no_other(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    maker = await make_user()
    changes = {"requests_per_minute": 100_000, "first_system_clients": True}
    app = create_app(settings.model_copy(update=changes))
    made: dict[frozenset[KeyScope], str] = {}
    tried = 0
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
        ) as client,
    ):
        for (method, path), opening in (OPENS | FIRST_SYSTEM_OPENS).items():
            if path == "/socket.io":
                continue  # tests/integration/live/test_socket_io.py
            # Each scope that opens it by itself, and all the others together.
            for scopes in {*(frozenset({scope}) for scope in opening), ANY - opening} - {NONE}:
                if method == "WEBSOCKET" or (path.endswith("/events") and scopes & opening):
                    continue  # below
                if scopes not in made:
                    made[scopes] = (await key_of(system, maker, scopes))[1]
                address = "/".join(
                    str(UUID(int=1)) if part.startswith("{") else part for part in path.split("/")
                )
                answer = await bearing(client, made[scopes]).request(method, address)
                # An answer to HEAD has no body.
                kind = answer.json()["type"] if answer.is_error and answer.content else ":key_scope"
                refused = answer.status_code == 403 and kind.endswith(":key_scope")
                assert refused is not bool(scopes & opening), (method, path, scopes, answer.text)
                assert answer.status_code not in {401, 429}
                tried += 1
    assert tried > 150


async def test_a_removal_needs_a_person_or_the_scopes_members_and_upload(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    maker = await make_user()
    form = {"kind": "removal", "reason": "they have left", "dry_run": "true"}
    form["allow_duplicate"] = "true"
    file = {"file": ("left.csv", csv_file(rows=1))}
    by_filter = {"province": "GP", "members": 1, "reason": "they have left"}
    half: tuple[list[KeyScope], ...] = (["upload", "read"], ["members", "read"])
    for scopes in half:
        bearing(api, (await key_of(system, maker, scopes))[1])
        answers = [await api.post("/api/v1/members/removal", json=by_filter)]
        if "upload" in scopes:
            answers.append(await api.post(f"{BASE}/process", files=file, data=form))
            check = (await api.post(f"{BASE}/check", files=file)).json()["data"]["check_id"]
            again = {name: (None, value) for name, value in {**form, "check_id": check}.items()}
            answers.append(await api.post(f"{BASE}/process", files=again))
        for answer in answers:
            assert answer.status_code == 403, answer.text
            assert answer.json()["type"] == "urn:rollbook:problem:key_scope"
    assert "scopes members and upload" in answers[0].json()["detail"]
    bearing(api, (await key_of(system, maker, ["upload", "members"]))[1])
    sent_by_key = await api.post(f"{BASE}/process", files=file, data=form)
    assert sent_by_key.status_code == 202, sent_by_key.text
    # Nobody fits; the key was let in.
    assert (await api.post("/api/v1/members/removal", json=by_filter)).status_code == 422
    bearing(api, issue_token(settings, maker))
    by_person = await api.post(f"{BASE}/process", files=file, data=form)
    dry_run = by_person.json()["data"]["job_id"]
    bearing(api, (await key_of(system, maker, ["upload", "operate"]))[1])
    run = await api.post(f"{BASE}/run/{dry_run}")
    assert (run.status_code, run.json()["type"]) == (403, "urn:rollbook:problem:key_scope")
    bearing(api, (await key_of(system, maker, ["upload", "members"]))[1])
    # The dry run isn't completed; the key was let in.
    assert (await api.post(f"{BASE}/run/{dry_run}")).status_code == 409


async def test_the_role_counts_beside_the_scope(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    _, key = await key_of(system, await make_user(Role.PROVINCE_ADMIN, "GP"))
    answer = await bearing(api, key).post(f"{BASE}/queue/pause")
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:rollbook:problem:not_allowed"


async def test_an_operators_key_without_operate_leaves_what_others_sent(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    others = await sent(system, await make_user(Role.PROVINCE_ADMIN, "GP"), csv_file(rows=1))
    _, narrow = await key_of(system, maker, ["upload", "read"])
    _, wide = await key_of(system, maker, ["upload", "operate"])
    answer = await bearing(api, narrow).post(f"{BASE}/cancel/{others}")
    assert answer.status_code == 403
    own = await api.post(f"{BASE}/process", files={"file": ("own.csv", csv_file(rows=2))})
    assert own.status_code == 202
    job_id = own.json()["data"]["job_id"]
    assert (await api.post(f"{BASE}/cancel/{job_id}")).status_code == 200
    assert (await bearing(api, wide).post(f"{BASE}/cancel/{others}")).status_code == 200


async def test_a_key_sees_its_own_place_and_its_uploads_are_its_own(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    foreign = await sent(system, await make_user(Role.PROVINCE_ADMIN, "LP"), csv_file(rows=1))
    _, key = await key_of(system, maker, ["upload", "read"], place=Scope("GP"))
    bearing(api, key)
    me = (await api.get("/api/v1/auth/me")).json()["data"]
    assert (me["name"], me["role"], me["province"]) == ("nightly import", "province_admin", "GP")
    assert me["email"] == f"nightly import (key {key[:12]})"
    assert (await api.get(f"{BASE}/status/{foreign}")).status_code == 404
    sent_by_key = await api.post(f"{BASE}/process", files={"file": ("a.csv", csv_file(rows=2))})
    history = (await api.get(f"{BASE}/history")).json()["data"]["items"]
    assert [(one["job_id"], one["owner"]) for one in history] == [
        (sent_by_key.json()["data"]["job_id"], me["email"])
    ]


# --- the end --------------------------------------------------------------------------------------


async def test_a_key_is_refused_from_the_moment_of_its_end(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    for end in ("revoked", "expired", "closed", "lesser", "moved"):
        await _is_refused_from(end, api, system, make_user)


async def _is_refused_from(
    end: str, api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    maker = await make_user(Role.PROVINCE_ADMIN, "GP")
    key_id, key = await key_of(system, maker)
    bearing(api, key)
    assert (await api.get(f"{BASE}/history")).status_code == 200
    await _end(system, maker, key_id, end)
    answer = await api.get(f"{BASE}/history")
    assert answer.status_code == 401, end
    assert (await bearing(api, "rbk_" + "x" * 43).get(f"{BASE}/history")).json() == answer.json()
    rows = (await keys.listed(system.pool, await make_user())).rows
    state = end if end in {"revoked", "expired"} else "stopped"
    assert [row["state"] for row in rows if row["key_id"] == key_id] == [state], end
    if end == "lesser":  # it is good again with the role
        await users.set_role(system.pool, maker.email, Role.PROVINCE_ADMIN, Scope("GP"))
        assert (await bearing(api, key).get(f"{BASE}/history")).status_code == 200


async def _end(system: System, maker: User, key_id: UUID, end: str) -> None:
    match end:
        case "revoked":
            await keys.revoke(system.pool, maker, key_id)
        case "closed":
            await users.disable(system.pool, maker.email)
        case "lesser":
            await users.set_role(
                system.pool, maker.email, Role.MUNICIPALITY_ADMIN, Scope("GP", "Johannesburg")
            )
        case "moved":
            await users.set_role(system.pool, maker.email, Role.PROVINCE_ADMIN, Scope("LP"))
        case "expired":
            async with system.pool.connection() as connection:
                await connection.execute(
                    "UPDATE access_keys SET expires_at = now() WHERE id = %s", (key_id,)
                )


async def test_who_may_revoke_a_key(system: System, make_user: MakeUser) -> None:
    maker = await make_user(Role.PROVINCE_ADMIN, "GP")
    key_id, _ = await key_of(system, maker)
    with pytest.raises(NotFoundError):
        await keys.revoke(system.pool, await make_user(Role.PROVINCE_ADMIN, "LP"), key_id)
    with pytest.raises(NotAllowedError):
        await keys.revoke(system.pool, await make_user(Role.PROVINCE_ADMIN, "GP"), key_id)
    assert (await keys.revoke(system.pool, await make_user(), key_id))["state"] == "revoked"
    with pytest.raises(ConflictError):
        await keys.revoke(system.pool, maker, key_id)


@pytest.fixture
async def site(settings: Settings) -> Any:
    async with Site(quick(settings)) as served:
        yield served


async def test_a_socket_takes_a_key_with_the_scope_read_and_no_other(
    site: Site, system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    _, good = await key_of(system, maker, ["read"])
    _, bad = await key_of(system, maker, ["upload", "operate", "members"])
    async with site.connected(["rollbook", f"bearer.{good}"]) as line:
        assert json.loads(await asyncio.wait_for(line.recv(), PATIENCE_S))["type"] == "snapshot"
    async with site.connected() as line:
        await line.send(json.dumps({"type": "authenticate", "token": bad}))
        with contextlib.suppress(Exception):
            await asyncio.wait_for(line.recv(), PATIENCE_S)
        assert line.protocol.close_rcvd is not None
        assert line.protocol.close_rcvd.code == 4401


async def test_live_connections_of_a_key_end_with_it(
    site: Site, system: System, make_user: MakeUser
) -> None:
    for end in ("revoked", "expired", "closed", "lesser"):
        await _ends_live_connections(end, site, system, make_user)


async def _ends_live_connections(end: str, site: Site, system: System, make_user: MakeUser) -> None:
    maker = await make_user(Role.PROVINCE_ADMIN, "GP")
    key_id, key = await key_of(system, maker, ["read"])
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        site.connected(["rollbook", f"bearer.{key}"]) as line,
        httpx.AsyncClient(
            base_url=f"http://{site.host}", headers=headers, trust_env=False, timeout=PATIENCE_S
        ) as web,
        web.stream("GET", f"{PATH}/events") as events,
    ):
        assert json.loads(await asyncio.wait_for(line.recv(), PATIENCE_S))["type"] == "snapshot"
        await _end(system, maker, key_id, end)
        await site.feed._check_accounts()
        await asyncio.wait_for(line.wait_closed(), PATIENCE_S)
        assert line.protocol.close_rcvd is not None, end
        assert line.protocol.close_rcvd.reason == "account_changed", end
        text = "".join([part async for part in events.aiter_text()])
        assert '"reason":"account_changed"' in text
    with pytest.raises(NotAuthenticatedError):
        await sessions.session(system.pool, system.settings, key)


# --- what is recorded -----------------------------------------------------------------------------


async def test_the_trail_has_its_making_its_first_use_from_each_address_and_its_end(
    system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    key_id, key = await key_of(system, maker, ["read"])
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
        before = audit.origin.set(audit.Origin(address, "a program"))
        await keys.session(system.pool, key)
        audit.origin.reset(before)
    await keys.revoke(system.pool, maker, key_id)
    entries = (await audit.entries(system.pool, maker)).rows
    told = [(one["act"], one["email"], one["address"]) for one in reversed(entries)]
    account = f"nightly import (key {key[:12]})"
    assert told == [
        ("user_add", None, None),
        ("key_add", maker.email, None),
        ("key_use", account, "192.0.2.1"),
        ("key_use", account, "192.0.2.2"),
        ("key_use", account, "2001:db8::1"),
        ("key_revoke", maker.email, None),
    ]
    assert all(key not in str(one) for one in entries)
    assert "read" in next(one["about"] for one in entries if one["act"] == "key_add")


async def test_a_call_that_no_scope_opens_is_in_the_trail_once_a_minute(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    _, key = await key_of(system, maker, ["read"])
    bearing(api, key)
    for _ in range(3):
        assert (await api.post(f"{BASE}/queue/pause")).status_code == 403
    entries = (await audit.entries(system.pool, maker, act="key_use")).rows
    assert [(one["outcome"], one["code"]) for one in entries] == [
        ("refused", "key_scope"),
        ("done", None),
    ]


async def test_the_last_use_is_written_at_most_once_a_minute(
    system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    _, key = await key_of(system, maker, ["read"])
    await keys.session(system.pool, key)

    async def last() -> dt.datetime:
        rows = (await keys.listed(system.pool, maker)).rows
        found: dt.datetime = rows[0]["last_used_at"]
        return found

    first = await last()
    await keys.session(system.pool, key)
    assert await last() == first
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE access_keys SET last_used_at = last_used_at - interval '61 seconds'"
        )
    await keys.session(system.pool, key)
    assert await last() > first


@pytest.mark.usefixtures("long_minute")
async def test_a_key_has_limits_of_its_own(
    settings: Settings, system: System, make_user: MakeUser
) -> None:
    maker = await make_user()
    _, key = await key_of(system, maker, ["read"])
    app = create_app(settings.model_copy(update={"requests_per_minute": 3}))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        bearing(client, key)
        codes = [(await client.get(f"{BASE}/history")).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        bearing(client, issue_token(settings, maker))
        assert (await client.get(f"{BASE}/history")).status_code == 200


def test_a_key_in_a_text_is_masked() -> None:
    key = "rbk_Ab-_" + "x" * 39
    assert masked(f"agent/{key} 1") == "agent/rbk_Ab-_xxxx•••••• 1"


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("log_of_the_tests")
def test_the_command_makes_lists_and_revokes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_for(settings).items():
        monkeypatch.setenv(name, value)
    runner = CliRunner()

    def run(*arguments: str, code: int = 0) -> str:
        result = runner.invoke(command, list(arguments))
        assert result.exit_code == code, result.output
        return result.stdout

    settings.data_dir.mkdir(exist_ok=True)
    run("users", "add", "a@example.org", "--role", "super_admin")
    made = json.loads(
        run("keys", "add", "import", "--scope", "upload", "--scope", "read", "--province", "GP",
            "--days", "7", "--json").splitlines()[-1]
    )  # fmt: skip
    assert made["key"].startswith("rbk_")
    assert (made["role"], made["made_by"]) == ("province_admin", "a@example.org")
    run("keys", "add", "import", "--scope", "everything", code=2)
    assert "import" in run("keys", "list")
    run("keys", "revoke", made["key_id"])
    listed = json.loads(run("keys", "list", "--json").splitlines()[-1])
    [one] = listed["items"]
    assert (one["key_id"], one["state"]) == (made["key_id"], "revoked")
    assert "key" not in one
