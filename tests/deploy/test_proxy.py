"""The proxy of compose.yaml: its file as Caddy reads it, and what a client sees of a cut host."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from rollbook.config import Settings
from rollbook.config.bounds import BoundSettings
from rollbook.service.doctor_settings import PROXY_S
from rollbook.service.system import ANSWER_MARGIN_S
from tests.deploy.files import ROOT, tool
from tests.faults import hosts
from tests.faults.hosts import Network
from tests.waiting import PATIENCE_S, join, kill, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CADDYFILE = str(ROOT / "deploy" / "compose" / "Caddyfile")
#: Where the time limits of proxies are.
PROXIES = (
    Path(CADDYFILE),
    ROOT / "docs" / "how-to" / "tls.md",
    ROOT / "docs" / "how-to" / "deploy.md",
)
APIS = ("api-1", "api-2")
#: Seconds to an answer: the time for a connection, and another choice, on a busy machine.
SOON_S = 20.0


@pytest.mark.parametrize("site", [None, "rollbook.example.org"])
def test_the_file_is_one_for_caddy(site: str | None, tmp_path: Path) -> None:
    more = {} if site is None else {"ROLLBOOK_SITE": site}
    assert "warn" not in validated(CADDYFILE, environment(tmp_path) | more)
    formatted = subprocess.run(
        [tool("caddy"), "fmt", CADDYFILE],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert formatted.stdout == (ROOT / "deploy" / "compose" / "Caddyfile").read_text()


def test_what_the_pages_show_is_for_caddy(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "tls.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```caddyfile\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        (tmp_path / str(number)).write_text(block, encoding="utf-8")
        validated(str(tmp_path / str(number)), environment(tmp_path))


def test_an_undo_is_answered_before_a_proxy_gives_up() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PROXIES)
    minutes = re.findall(r"(?:response_header_timeout|proxy_read_timeout) (\d+)m", text)
    seconds = re.findall(r'proxy-read-timeout: "(\d+)"', text)
    assert (len(minutes), len(seconds)) == (3, 1)
    waits = {*(60 * int(found) for found in minutes), *(int(found) for found in seconds)}
    assert waits == {PROXY_S}
    longest_s = BoundSettings.model_fields["undo_timeout_s"].default + ANSWER_MARGIN_S
    assert longest_s < PROXY_S


def test_the_largest_file_passes_every_proxy() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PROXIES)
    sizes = re.findall(r"(?:client_max_body_size|proxy-body-size:) (\d+)m", text)
    assert len(sizes) == 2
    assert min(map(int, sizes)) > Settings.model_fields["max_upload_mb"].default


def validated(file: str, environment: dict[str, str]) -> str:
    """What Caddy says of a file that it accepts."""
    done = subprocess.run(
        [tool("caddy"), "validate", "--adapter", "caddyfile", "--config", file],
        env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_requests_go_to_the_other_api_while_a_host_is_cut_off(tmp_path: Path) -> None:
    if reason := hosts.unavailable():
        pytest.skip(reason)
    with (
        Network("proxy", *APIS) as network,
        answering(network, "api-1"),
        answering(network, "api-2"),
        proxied(network, tmp_path) as client,
        network.inside("proxy"),
    ):
        # Connections to both were used, and are there to be used again.
        assert {client.get("/").text for _ in range(40)} == set(APIS)
        network.cut("api-1")
        for _ in range(20):
            began = time.monotonic()
            assert client.get("/").text == "api-2"
            assert time.monotonic() - began < SOON_S


@contextlib.contextmanager
def answering(network: Network, name: str) -> Iterator[None]:
    """A host that answers every request with its name."""

    class Named(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the proxy is killed
                self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            pass

    with network.inside(name):
        server = ThreadingHTTPServer((network.address(name), 8000), Named)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        join(thread)
        server.server_close()


@contextlib.contextmanager
def proxied(network: Network, folder: Path) -> Iterator[httpx.Client]:
    """A client of Caddy on its host, where ``api`` is the name of both APIs."""
    lines = ["127.0.0.1 localhost", *(f"{network.address(name)} api" for name in APIS)]
    (folder / "hosts").write_text("\n".join(lines) + "\n", encoding="ascii")
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    caddy = [tool("caddy"), "run", "--adapter", "caddyfile", "--config", CADDYFILE]
    base = f"http://{network.address('proxy')}:8080"
    with (
        httpx.Client(base_url=base, timeout=2 * SOON_S, trust_env=False) as client,
        (folder / "log").open("wb") as log,
        network.inside("proxy"),
    ):
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, str(folder / "hosts"), *caddy],
            env=environment(folder), stdout=log, stderr=log,
        )  # fmt: skip
        try:
            until(
                lambda: client.get("/").is_success,
                "the proxy answers",
                not_yet=(httpx.TransportError,),
            )
            yield client
        finally:
            kill(process)


def environment(folder: Path) -> dict[str, str]:
    folders = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return {"PATH": os.environ["PATH"], "ROLLBOOK_PROXIES": "127.0.0.1/32", **folders}
