"""A port that a test is given is its own, also after its server was stopped for a while."""

from __future__ import annotations

import socket
from pathlib import Path

from tests import ports


def test_no_port_is_given_twice_nor_is_one_of_those_that_clients_get() -> None:
    given = [ports.free_port() for _ in range(100)]
    assert len(set(given)) == len(given)
    range_of_clients = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(range_of_clients.read_text().split()[0]) if range_of_clients.exists() else 32_768
    assert max(given) < min(first, ports.LAST)


def test_a_port_that_is_in_use_is_left_out() -> None:
    port = ports.free_port()
    with socket.create_server(("127.0.0.1", port + 1)):
        assert ports.free_port() > port + 1
