"""Security headers: who may frame, keep, read and guess at an answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from rollbook.api.app import create_app
from rollbook.api.page import POLICY
from rollbook.config import Settings
from tests.security.house import BASE, House

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HSTS = "strict-transport-security"
#: A success, files, a refusal of each kind, what there isn't, and the page.
PATHS = [
    "/api/v1/auth/me", f"{BASE}/template", f"{BASE}/rows/{{id}}", f"{BASE}/report/{{id}}",
    f"{BASE}/failed-rows/{{id}}", f"{BASE}/undo/{{id}}/kept.csv", f"{BASE}/status/none",
    f"{BASE}/cancel/{{id}}", "/none", "/healthz", "/readyz",
]  # fmt: skip


@pytest.mark.parametrize("signed_in", [True, False])
def test_no_answer_is_kept_framed_guessed_at_or_read_by_another_site(
    house: House, signed_in: bool
) -> None:
    # As a page of another site would ask, and before that whether it may.
    origin = {"Origin": "https://evil.example"}
    answers = []
    with house.client("johannesburg" if signed_in else None) as client:
        for template in PATHS:
            path = template.replace("{id}", house.uploads["johannesburg"])
            asking = {**origin, "Access-Control-Request-Method": "GET"}
            answers += [client.get(path, headers=origin), client.options(path, headers=asking)]
    wanted = {
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    for answer in answers:
        place = (answer.request.method, answer.url)
        assert wanted.items() <= answer.headers.items(), place
        assert not [name for name in answer.headers if name.startswith("access-control-")], place
        assert not {HSTS, "server", "set-cookie"} & set(answer.headers), place


def test_the_page_runs_our_own_files_alone_and_nobody_frames_it(house: House) -> None:
    with house.client(None) as client:
        index = client.get("/")
    policy = index.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert policy.endswith("frame-ancestors 'none'")
    assert "unsafe" not in policy
    assert index.headers["cross-origin-opener-policy"] == "same-origin"


def test_the_page_that_describes_the_api_runs_files_of_this_server_alone(house: House) -> None:
    with house.client(None) as client:
        page, document = client.get("/docs"), client.get("/openapi.json")
        sources = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
        found = {source: client.get(source) for source in sources}
    assert page.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert len(found) == 3
    assert all(answer.is_success for answer in found.values())
    assert "access-control-allow-origin" not in document.headers


# --- HTTPS ------------------------------------------------------------------------------------


def behind_proxy(address: str = "10.0.0.1", **changes: Any) -> httpx.AsyncClient:
    """A client through the proxy that uvicorn trusts, or from another address.

    What is asked here needs no part of the application to be open.
    """
    app = create_app(Settings(_env_file=None, **changes))
    # Its types are uvicorn's own, which say the same in other words.
    trusting: Any = ProxyHeadersMiddleware(cast("Any", app), trusted_hosts="10.0.0.1")
    transport = httpx.ASGITransport(trusting, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize(
    ("address", "scheme", "changes", "told"),
    [
        ("10.0.0.1", "https", {}, "max-age=31536000; includeSubDomains"),
        ("10.0.0.1", "http", {}, None),
        # Anybody may say so; and an operator may leave it to the proxy.
        ("10.0.0.2", "https", {}, None),
        ("10.0.0.1", "https", {"hsts_s": 0}, None),
    ],
)
async def test_behind_tls_a_browser_is_told_to_come_by_tls_alone(
    address: str, scheme: str, changes: dict[str, int], told: str | None
) -> None:
    async with behind_proxy(address, **changes) as client:
        answer = await client.get("/healthz", headers={"X-Forwarded-Proto": scheme})
    assert answer.headers.get(HSTS) == told


# --- bodies that are no file --------------------------------------------------------------------


@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_body_of_json_is_read_up_to_a_limit_whether_its_length_is_declared_or_not(
    is_declared: bool,
) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:  # no bound: until its reader has enough
            taken += 1024
            yield b" " * 1024

    content = b" " * (32 * 1024 + 1) if is_declared else endless()
    kind = {"Content-Type": "application/json"}
    async with behind_proxy(max_body_kb=32, max_upload_mb=1) as client:
        answer = await client.post("/api/v1/auth/login", content=content, headers=kind)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["message"] == "A request has at most 32 KB. Nothing was kept."
    assert answer.headers["cache-control"] == "no-store"
    # Behind the answer, what is on its way is thrown away up to the limit of files.
    assert taken <= 2 << 20
