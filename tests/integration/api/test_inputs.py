"""What a route doesn't know is refused by name, on every route of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import APIRouter, Depends
from pydantic import BaseModel

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.api.inputs import known_inputs
from rollbook.config import Settings
from rollbook.model import Role, User
from tests.files import csv_file
from tests.security.routes import RULES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"
#: The page's and the documentation's files, and what a provider of sign-ins calls.
OPEN = {"/", "/page/{version}/{name:path}", "/docs", "/docs/{name}", "/api/v1/auth/oidc/callback"}
#: Made by FastAPI itself.
NOT_OURS = {"/openapi.json"}
PROCESS = f"{BASE}/process"
#: Read as they come in, after the sender is known; below are tests of their own.
USERS = "/api/v1/users"
INVITATIONS = f"{USERS}/invitations"
FORMS = {PROCESS, f"{BASE}/check", INVITATIONS, f"{INVITATIONS}/check"}
#: Bytes as they are.
PARTS = {f"{BASE}/files", f"{BASE}/files/{{file_id}}"}


#: All routes, which tests/security/test_access.py compares with the application's.
ROUTES = sorted(RULES)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The application without its parts: nothing is asked of them before the names are checked."""
    return create_app(Settings(_env_file=None))


def _address(path: str) -> str:
    parts = (
        "0d7b4a52-8d39-4a5c-9d5b-6f0f5b0a8c11" if part.startswith("{") else part
        for part in path.split("/")
    )
    return "/".join(parts)


async def ask(app: FastAPI, method: str, path: str, **more: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, _address(path), **more)


async def test_every_route_refuses_a_query_parameter_that_it_does_not_know(app: FastAPI) -> None:
    for method, path in ROUTES:
        if method in {"WEBSOCKET", "HEAD"}:
            continue
        answer = await ask(app, method, path, params={"surely_unknown": "1"})
        if path in OPEN | NOT_OURS:
            assert answer.status_code != 422, (method, path)
            continue
        assert answer.status_code == 422, (method, path, answer.text)
        assert answer.json()["type"] == "urn:rollbook:problem:invalid_request", (method, path)
        named = [error["field"] for error in answer.json()["errors"]]
        assert named == ["surely_unknown"], (method, path)


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "WEBSOCKET"])
async def test_every_socket_refuses_a_query_parameter_that_it_does_not_know(
    app: FastAPI, path: str
) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "root_path": "",
        "scheme": "ws", "query_string": b"sinse=5", "headers": [], "subprotocols": [],
        "client": ("127.0.0.1", 1), "server": ("test", 80), "state": {},
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 422
    assert b"Did you mean the query parameter 'since'?" in sent[1]["body"]


async def test_every_route_refuses_a_body_member_that_it_does_not_know(app: FastAPI) -> None:
    for method, path in ROUTES:
        if method in {"POST", "PUT", "PATCH", "DELETE"} and path not in FORMS | PARTS:
            answer = await ask(app, method, path, json={"surely_unknown": 1})
            assert answer.status_code == 422, (method, path, answer.text)
            named = answer.json()["errors"][0]["field"]
            assert named in {"surely_unknown", "body"}, (method, path)


@pytest.mark.parametrize(
    ("method", "path", "request_", "sentence"),
    [
        ("GET", f"{BASE}/history", {"params": {"pageSize": "5"}},
         "There is no query parameter 'pageSize'. Did you mean the query parameter 'page_size'?"),
        ("GET", f"{BASE}/history", {"params": {"xyz": "5"}},
         "There is no query parameter 'xyz'. This call takes status, search, after, page, "
         "page_size."),
        ("GET", f"{BASE}/history?page=1&page=2", {},
         "The query parameter 'page' came 2 times. Send one."),
        ("GET", f"{BASE}/audit", {"params": {"job": "5"}},
         "Did you mean the query parameter 'job_id'?"),
        ("POST", f"{PROCESS}?dryRun=true", {},
         "There is no query parameter 'dryRun'. Did you mean the form field 'dry_run'?"),
        ("POST", f"{BASE}/queue/clean", {"json": {"grace_hours": 1}},
         "There is no body member 'grace_hours'. Did you mean the body member "
         "'grace_period_hours'?"),
        ("POST", f"{BASE}/queue/clean",
         {"content": b'{"grace_period_hours": 1, "grace_period_hours": 2}',
          "headers": {"Content-Type": "application/json"}},
         "The body member 'grace_period_hours' came more than once. Send one."),
        ("POST", f"{BASE}/queue/pause", {"json": {"hours": 1}}, "This call takes no body."),
        ("POST", f"{BASE}/queue/pause", {"data": {"hours": 1}}, "This call takes no body."),
        ("GET", f"{BASE}/history", {"params": {"id 8001015009087": "5"}}, "'id 8001••••••087'"),
    ],
)  # fmt: skip
async def test_the_answer_names_the_wrong_name_and_the_nearest_right_one(
    app: FastAPI, method: str, path: str, request_: dict[str, Any], sentence: str
) -> None:
    answer = await ask(app, method, path, **request_)
    assert answer.status_code == 422, answer.text
    assert sentence in answer.json()["message"]


async def test_a_thousand_unknown_names_get_a_short_answer(app: FastAPI) -> None:
    query = {f"{'x' * 40}{number}": "1" for number in range(1000)}
    answer = await ask(app, "GET", f"{BASE}/history", params=query)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 5
    assert len(answer.content) < 4000


class Inner(BaseModel):
    name: str = ""


class Outer(BaseModel):
    inner: list[Inner] | None = None
    free: dict[str, int] = {}
    either: Inner | int = 0


async def test_members_of_members_are_checked_and_free_names_are_not() -> None:
    made = create_app(Settings(_env_file=None))
    router = APIRouter(dependencies=[Depends(known_inputs)])

    @router.post("/outer")
    async def outer(body: Outer) -> Outer:
        return body

    made.include_router(router)
    made.router.routes.insert(0, made.router.routes.pop())
    good = {"inner": [{"name": "a"}], "free": {"anything": 1}, "either": {"name": "b"}}
    assert (await ask(made, "POST", "/outer", json=good)).status_code == 200
    for bad, field in (
        ({"inner": [{"name": "a"}, {"nam": "b"}]}, "inner.nam"),
        ({"either": {"names": "b"}}, "either.names"),
        ({"inner": [], "fre": {}}, "fre"),
    ):
        answer = await ask(made, "POST", "/outer", json=bad)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b" \n"])
async def test_a_call_without_a_body_takes_an_empty_one(app: FastAPI, content: bytes) -> None:
    answer = await ask(app, "POST", f"{BASE}/queue/pause", content=content)
    assert answer.status_code != 422


def test_no_other_route_takes_a_form() -> None:
    document = create_app(Settings(_env_file=None)).openapi()
    forms = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "multipart/form-data" in operation.get("requestBody", {}).get("content", {})
    }
    assert forms == FORMS


# --- forms ----------------------------------------------------------------------------------------


@pytest.fixture
async def operator(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> httpx.AsyncClient:
    user = await make_user(Role.SUPER_ADMIN)
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    return api


@pytest.mark.parametrize(
    ("name", "file_name", "sentence"),
    [
        ("upload", "members.csv",
         "The form has no field 'upload': send the file in the field 'file'."),
        ("dryRun", None, "There is no form field 'dryRun'. Did you mean the form field 'dry_run'?"),
        ("priority", None, "There is no form field 'priority'. This call takes file, "),
    ],
)  # fmt: skip
async def test_an_unknown_form_field_is_refused_by_name_and_nothing_is_kept(
    operator: httpx.AsyncClient, name: str, file_name: str | None, sentence: str
) -> None:
    content = csv_file(rows=500)  # a file is longer than a field may be
    parts: list[tuple[str, Any]] = [("file", ("members.csv", csv_file(rows=1)))]
    answer = await operator.post(PROCESS, files=[*parts, (name, (file_name, content))])
    assert answer.status_code == 422
    assert sentence in answer.json()["message"]
    history = (await operator.get(f"{BASE}/history")).json()["data"]
    assert history["total"] == 0


@pytest.mark.parametrize("path", [INVITATIONS, f"{INVITATIONS}/check"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_list_of_accounts_with_an_unknown_field_invites_nobody(
    operator: httpx.AsyncClient, path: str, is_first: bool
) -> None:
    """A client that asks for a dry run, which these routes don't have."""
    content = b"E-mail,Role,Province,Municipality\na@example.org,municipality_admin,GP,Emfuleni"
    parts: list[tuple[str, Any]] = [
        ("file", ("people.csv", content)), ("dry_run", (None, "true")),
    ]  # fmt: skip
    answer = await operator.post(path, files=parts[::-1] if is_first else parts)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["dry_run"]
    assert "There is no form field 'dry_run'." in answer.json()["message"]
    found = (await operator.get(USERS, params={"search": "a@example.org"})).json()["data"]
    assert found["total"] == 0


async def test_a_form_field_that_comes_twice_is_refused(operator: httpx.AsyncClient) -> None:
    parts: list[tuple[str, Any]] = [
        ("dry_run", (None, "true")),
        ("dry_run", (None, "false")),
        ("file", ("members.csv", csv_file(rows=1))),
    ]
    answer = await operator.post(PROCESS, files=parts)
    assert answer.status_code == 422
    assert "'dry_run' came twice" in answer.json()["message"]


async def test_clients_of_the_first_system_may_send_names_of_their_own(
    settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user(Role.SUPER_ADMIN)
    made = create_app(settings.model_copy(update={"first_system_clients": True}))
    headers = {"Authorization": f"Bearer {issue_token(settings, user)}"}
    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(made), base_url="http://test", headers=headers
        ) as client,
    ):
        for path in ("/history?foo=1", "/queue/stats?page=1&page=2"):
            assert (await client.get(f"{BASE}{path}")).status_code == 200
        paused = await client.post(f"{BASE}/queue/pause", json={"reason": "none"})
        assert paused.status_code == 200
        parts: list[tuple[str, Any]] = [
            ("comment", (None, "x" * 10_000)),
            ("file", ("members.csv", csv_file(rows=1))),
        ]
        answer = await client.post(f"{BASE}/process?dryRun=true", files=parts)
        assert answer.status_code == 202, answer.text


async def test_the_queues_jobs_come_in_pages(operator: httpx.AsyncClient) -> None:
    for rows in range(1, 4):
        sent = await operator.post(PROCESS, files={"file": (f"{rows}.csv", csv_file(rows=rows))})
        assert sent.status_code == 202
    names = []
    for page in (1, 2, 3):
        query = {"page": page, "page_size": 2}
        data = (await operator.get(f"{BASE}/queue/jobs", params=query)).json()["data"]
        assert (data["total"], data["page"], data["page_size"]) == (3, page, 2)
        names.append([job["file_name"] for job in data["items"]])
    assert names == [["3.csv", "2.csv"], ["1.csv"], []]
