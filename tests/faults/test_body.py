"""A body that dribbles is answered and cut off."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.faults.site import Site, until
from tests.faults.test_stop import _answers
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


#: Settings that cut off a body that dribbles.
LIMITS = {
    "rate": {"ROLLBOOK_BODY_GRACE_S": "2", "ROLLBOOK_BODY_LEAST_RATE": "1000"},
    "time": {"ROLLBOOK_BODY_TIMEOUT_S": "2"},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    built = Site(tmp_path_factory.mktemp("body"), 1)
    built.start()
    yield built
    built.close()


@pytest.fixture(scope="module", params=LIMITS)
def api(site: Site, request: pytest.FixtureRequest) -> int:
    """The port of an API with one of the limits."""
    port = free_port()
    site.run("serve", ROLLBOOK_PORT=str(port), **LIMITS[request.param])
    until(lambda: _answers(port), "the API answers")
    return port


@pytest.mark.parametrize("path", ["/api/v1/bulk-upload/process", "/api/v1/auth/login"])
def test_a_body_that_dribbles_is_answered_and_cut_off(site: Site, api: int, path: str) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token()}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    )
    if path.endswith("login"):
        head = head.replace("multipart/form-data; boundary=b", "application/json")
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", api), timeout=0.3) as sender:
        sender.sendall(head.encode())
        answer = b""
        while time.monotonic() - began < 30:
            with suppress(OSError):  # what was said before the end is read below
                sender.sendall(b"a")
            try:
                chunk = sender.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not chunk:
                break
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"too slowly" in answer
    assert time.monotonic() - began < 20
