"""Every route, tried by every role and by nobody, with ids of all offices and of none."""

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.config import Settings
from rollbook.model import Role, User
from tests.files import csv_file
from tests.integration.worker.test_worker import sent
from tests.security.house import BASE, COLLEAGUE, OFFICES, House
from tests.security.routes import RULES, Rule
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import httpx

    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

Route = tuple[str, str]
OPERATORS = frozenset({"super", "national"})


def _routes() -> Iterator[Route]:
    """What the application answers to; where there is a GET, HEAD is it without the body."""
    for found in iter_route_contexts(create_app(Settings(_env_file=None)).routes):
        assert found.path is not None
        # With its type, as ``{job_id:uuid}``, a parameter is the same.
        path = re.sub(r"\{(\w+):uuid\}", r"{\1}", found.path)
        for method in found.methods or {"WEBSOCKET"}:
            if method != "HEAD" or "GET" not in (found.methods or ()):
                yield method, path


ROUTES = sorted(RULES)
WITH_ID = [route for route in ROUTES if "{job_id}" in route[1]]
#: An account of each role. Those beside them have the same role, and another place of its kind.
ROLES = ("super", "national", "gauteng", "johannesburg")
#: Whose upload an account asks for: seen, and foreign from above, from beside and from below. That
#: each office sees exactly its scope is shown once, by the lists below.
ASKED_FOR = {
    "super": ("johannesburg",),
    "national": ("limpopo",),
    "gauteng": ("gauteng", "tshwane", "limpopo", "national"),
    "johannesburg": ("johannesburg", "tshwane", "gauteng", "national"),
}
PLAIN = [
    route for route in ROUTES
    if "{job_id}" not in route[1] and not RULES[route].streams
]  # fmt: skip


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert set(_routes()) == RULES.keys(), "tests/security/routes.py says who may use each route"


def rule(route: Route) -> Rule:
    return RULES[route]


def ask(client: httpx.Client, route: Route, job_id: str = "") -> httpx.Response:
    method, path = route
    address = path
    for name, value in (
        ("{job_id}", job_id), ("{version}", "0"), ("{name:path}", "app.js"), ("{name}", "begin.js"),
        ("{mapping_id}", str(UUID(int=0))), ("{member_id}", str(UUID(int=0))),
        ("{key_id}", str(UUID(int=0))), ("{session_id}", str(UUID(int=0))),
        ("{user_id}", str(UUID(int=0))),
        ("{webhook_id}", str(UUID(int=0))), ("{delivery_id}", f"msg_{'0' * 32}"),
        ("{check_id}", str(UUID(int=0))), ("{alias_id}", str(UUID(int=0))),
        ("{file_id}", str(UUID(int=0))), ("{receipt_id}", str(UUID(int=0))),
        ("{pair_id}", str(UUID(int=0))),
    ):  # fmt: skip
        address = address.replace(name, value)
    return client.request(method, address, **rule(route).more)


def problem(answer: httpx.Response, status: int, job_id: str = "") -> dict[str, Any]:
    """A failure without the id that was asked for, to be compared."""
    assert answer.status_code == status, seen(answer)
    assert answer.headers["content-type"] == "application/problem+json"
    text = answer.text.replace(job_id, "ID") if job_id else answer.text
    # The answer to HEAD has no body.
    found: dict[str, Any] = json.loads(text) if answer.request.method != "HEAD" else {}
    return found


def seen(answer: httpx.Response) -> str:
    """What was asked, and what came."""
    return f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"


def headers(answer: httpx.Response) -> dict[str, str]:
    each_time = {"date", "x-request-id"}
    return {name: value for name, value in answer.headers.items() if name not in each_time}


def may(name: str, route: Route) -> bool:
    return rule(route).who != "operators" or name in OPERATORS


def assert_silent(house: House, name: str, answer: httpx.Response | str) -> None:
    text = answer if isinstance(answer, str) else seen(answer)
    for secret in house.secrets_from(name):
        assert secret not in text, f"{name} reads {secret}: {text}"


@pytest.mark.parametrize("method", sorted({method for method, _ in PLAIN}))
def test_a_route_answers_who_may_use_it_with_nothing_of_other_offices(
    house: House, method: str
) -> None:
    for route in [route for route in PLAIN if route[0] == method]:
        if rule(route).who == "anybody":
            with house.client(None) as client:
                answer = ask(client, route)
            assert answer.status_code in rule(route).answers, seen(answer)
            continue
        refuses_to_strangers(house, route)
        for name in ROLES:
            with house.client(name) as client:
                answer = ask(client, route)
                if not may(name, route):
                    problem(answer, 403)
                    continue
                assert answer.status_code in rule(route).answers, seen(answer)
                assert answer.headers["cache-control"] == "no-store", seen(answer)
                assert_silent(house, name, answer)
                if route[1].endswith("/pause"):
                    client.post(route[1].replace("pause", "resume"))


@pytest.mark.parametrize("method", sorted({method for method, _ in WITH_ID}))
def test_a_foreign_id_is_answered_as_one_that_was_never_given_out(
    house: House, method: str
) -> None:
    for route in [route for route in WITH_ID if route[0] == method]:
        refuses_to_strangers(house, route)
        for name, asked_for in ASKED_FOR.items():
            with house.client(name) as client:
                unknown = house.unknown
                first = ask(client, route, unknown)
                as_unknown = problem(first, 404 if may(name, route) else 403, unknown)
                for other in asked_for:
                    job_id = house.uploads[other]
                    answer = ask(client, route, job_id)
                    if not may(name, route) or other not in house.seen_by(name):
                        found = problem(answer, first.status_code, job_id)
                        assert found == as_unknown, seen(answer)
                        assert headers(answer) == headers(first), seen(answer)
                        continue
                    assert answer.status_code in rule(route).answers, seen(answer)
                    assert answer.headers["cache-control"] == "no-store", seen(answer)
                    if "json" in answer.headers["content-type"]:
                        assert_silent(house, name, answer)


def refuses_to_strangers(house: House, route: Route) -> dict[str, Any]:
    """Ask without a token: the route refuses, with this answer."""
    with house.client(None) as client:
        return problem(ask(client, route, house.uploads["johannesburg"]), 401)


def test_a_token_that_is_over_or_that_we_didn_t_sign_is_none(house: House) -> None:
    """All routes ask the same dependency who it is: see the table of scopes in test_keys.py."""
    guarded = [route for route in (*PLAIN, *WITH_ID) if rule(route).who != "anybody"]
    over = house.settings.model_copy(update={"token_lifetime_min": -1})
    other_key = SecretStr("a key that the installation has not")
    forged = house.settings.model_copy(update={"secret_key": other_key})
    for route in {
        (method, "{job_id}" in path): (method, path) for method, path in guarded
    }.values():
        without = refuses_to_strangers(house, route)
        for settings in (over, forged):
            with house.client(None) as client:
                client.headers.update(house.bearer("super", settings))
                answer = ask(client, route, house.uploads["johannesburg"])
            assert problem(answer, 401) == without, seen(answer)


def test_a_colleague_sees_an_upload_and_may_not_cancel_it(house: House) -> None:
    job_id = house.uploads["johannesburg"]
    with house.client(COLLEAGUE) as client:
        assert client.get(f"{BASE}/status/{job_id}").status_code == 200
        problem(client.post(f"{BASE}/cancel/{job_id}"), 403)


@pytest.mark.parametrize("name", OFFICES)
def test_lists_and_statistics_hold_exactly_the_own_scope(house: House, name: str) -> None:
    sent_by = {f"{other}@example.org" for other in house.seen_by(name)}
    if name == "johannesburg" or "johannesburg" in house.seen_by(name):
        sent_by.add(f"{COLLEAGUE}@example.org")
    house.idle()  # or a row is counted between two of these answers
    with house.client(name) as client:
        history = client.get(f"{BASE}/history", params={"page_size": 500}).json()["data"]
        jobs = client.get(f"{BASE}/queue/jobs", params={"page_size": 200}).json()["data"]["items"]
        stats = client.get(f"{BASE}/stats").json()["data"]
        days = client.get(f"{BASE}/stats/over-time").json()["data"]["days"]
        own = {house.uploads[other] for other in house.seen_by(name)}
        assert own <= {upload["job_id"] for upload in history["items"]}
        assert {upload["owner"] for upload in history["items"]} <= sent_by
        assert {upload["owner"] for upload in jobs} <= sent_by
        assert stats["uploads"] == history["total"] == sum(day["uploads"] for day in days)
        rows = sum(upload["rows_total"] or 0 for upload in history["items"])
        assert stats["rows"] == sum(day["rows"] for day in days) == rows
        for other in OFFICES.keys() - house.seen_by(name):
            for search in (house.uploads[other], f"file-of-{other}", f"{other}@example.org"):
                found = client.get(f"{BASE}/history", params={"search": search}).json()["data"]
                assert found["total"] == 0
            acts = client.get(f"{BASE}/audit/mine", params={"job_id": house.uploads[other]})
            # It lists what this person was refused, and nothing that anybody else did.
            assert {entry["email"] for entry in acts.json()["data"]["items"]} <= {
                f"{name}@example.org"
            }


def test_a_file_that_another_office_has_sent_is_new_here(house: House) -> None:
    content = csv_file(rows=7)
    for name in ("limpopo", "tshwane", "johannesburg"):
        house.completed(name, house.send(name, content, f"file-of-{name}.csv"))


@pytest.mark.parametrize("name", OFFICES)
def test_a_listeners_snapshot_holds_nothing_of_other_offices(house: House, name: str) -> None:
    with (
        house.client(name) as client,
        client.stream("GET", f"{BASE}/events") as events,
    ):
        assert events.headers["cache-control"] == "no-store"
        by_sse = next(line for line in events.iter_lines() if line.startswith("data: "))
    address = f"{house.url.replace('http', 'ws')}{BASE}/ws"
    with connect(address, proxy=None, open_timeout=PATIENCE_S) as line:
        token = house.bearer(name)["Authorization"].removeprefix("Bearer ")
        line.send(json.dumps({"type": "authenticate", "token": token}))
        by_socket = str(line.recv(timeout=PATIENCE_S))
    for snapshot in (by_sse, by_socket):
        assert '"type":"snapshot"' in snapshot
        assert house.uploads[name] in snapshot
        assert_silent(house, name, snapshot)


def test_a_stream_is_opened_to_no_stranger_and_no_foreign_page(house: House) -> None:
    refuses_to_strangers(house, ("GET", f"{BASE}/events"))
    with house.client("super") as client:
        problem(client.get(f"{BASE}/events", headers={"Origin": "https://evil.example"}), 403)
    address = f"{house.url.replace('http', 'ws')}{BASE}/ws"
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            address,
            origin=Origin("https://evil.example"),
            proxy=None,
            open_timeout=PATIENCE_S,
        ),
    ):
        pass
    assert refused.value.response.status_code == 403


# --- timing: a foreign id takes the way of an unknown one ---------------------------------------


@pytest.mark.parametrize("role", ["province_admin", "municipality_admin"])
async def test_a_foreign_id_costs_the_very_statements_of_an_unknown_one(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
) -> None:
    place = ("GP",) if role == "province_admin" else ("GP", "Johannesburg")
    reader = await make_user(Role(role), *place)
    foreign = await sent(system, await make_user(Role.PROVINCE_ADMIN, "LP"), csv_file(rows=2))
    own = await sent(system, reader, csv_file(rows=3))
    # What the services beside the requests ask isn't meant.
    asking: ContextVar[list[str] | None] = ContextVar("asking", default=None)
    execute = psycopg.AsyncConnection.execute

    async def noted(self: Any, query: Any, *more: Any, **options: Any) -> Any:
        statements = asking.get()  # no bound: a context variable
        if statements is not None and query:  # an empty one tries whether the line is there
            statements.append(str(query))
        return await execute(self, query, *more, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", noted)
    api.headers["Authorization"] = f"Bearer {issue_token(settings, reader)}"

    async def asked(route: Route, job_id: object) -> list[str]:
        # Otherwise the second refusal within a minute is only counted.
        async with system.pool.connection() as connection:
            await connection.execute("DELETE FROM audit_refusals")
        statements: list[str] = []
        before = asking.set(statements)
        method, path = route
        await api.request(method, path.replace("{job_id}", str(job_id)), **rule(route).more)
        asking.reset(before)
        return statements

    unknown = "00000000-0000-4000-8000-000000000000"
    differing = 0
    for route in WITH_ID:
        as_unknown = await asked(route, unknown)
        assert as_unknown, route
        assert await asked(route, foreign) == as_unknown, route
        differing += await asked(route, own) != as_unknown
    assert differing >= 3  # or nothing was seen
