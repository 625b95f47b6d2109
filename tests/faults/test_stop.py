"""Asked to stop, once and twice: in order the first time, at once the second."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from tests import warm_process
from tests.faults.site import Site, until
from tests.integration.worker.test_worker import merges_held
from tests.ports import free_port
from tests.waiting import PATIENCE_S, to_each

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    built = Site(tmp_path, 1)
    built.start()
    yield built
    built.close()


def test_a_second_ctrl_c_ends_up_and_all_it_started_at_once(site: Site) -> None:
    uploads = site.send(1, 4_000)
    with merges_held(site.settings):  # it would be through before its child is frozen
        up = site.run("up", ROLLBOOK_PORT="0", ROLLBOOK_SHUTDOWN_GRACE_S="600")
        site.started(uploads)
        family = site.children(up)
        assert len(family) >= 3  # the API, the worker and its child
        for process, is_child in to_each(family, warm_process.is_child):
            if is_child:
                process.suspend()  # an attempt that doesn't come to its end
    until(lambda: "Stop it with" in site.log(), "it is ready")
    up.send_signal(signal.SIGINT)
    until(lambda: "waiting for running jobs" in site.log(), "the worker waits for its job")
    up.send_signal(signal.SIGINT)
    assert up.wait(timeout=PATIENCE_S) == 1
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert alive == []
    site.run("worker")
    site.ended(uploads)
    site.check(uploads)


def test_without_a_grace_period_an_api_does_not_wait_for_a_request_that_never_ends(
    site: Site,
) -> None:
    port = free_port()
    api = site.run("serve", ROLLBOOK_PORT=str(port), ROLLBOOK_SHUTDOWN_GRACE_S="0")
    until(lambda: _answers(port), "the API answers")
    token = site.token()
    with socket.create_connection(("127.0.0.1", port)) as sender:
        head = (
            "POST /api/v1/bulk-upload/process HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\nExpect: 100-continue\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000\r\n\r\n"
        )
        sender.sendall(head.encode())
        # The route has begun to read the body, and waits for the rest of it.
        assert sender.recv(64).startswith(b"HTTP/1.1 100")
        api.send_signal(signal.SIGTERM)
        assert api.wait(timeout=PATIENCE_S) in {0, -signal.SIGTERM}


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S).is_success
    except httpx.TransportError:
        return False
