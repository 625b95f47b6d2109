"""A port that a test is given is its own, also after its server was stopped for a while."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests import ports

if TYPE_CHECKING:
    import pytest


def test_no_port_is_given_twice_nor_is_one_of_those_that_clients_get() -> None:
    given = [ports.free_port() for _ in range(100)]
    assert len(set(given)) == len(given)
    range_of_clients = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(range_of_clients.read_text().split()[0]) if range_of_clients.exists() else 32_768
    assert max(given) < min(first, ports.LAST)


def test_a_port_that_is_in_use_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    place = next(ports._places)
    monkeypatch.setattr(ports, "_places", itertools.count(place))
    port = ports.free_port()
    monkeypatch.setattr(ports, "_places", itertools.count(place))
    assert ports.free_port() == port  # it would be given again
    monkeypatch.setattr(ports, "_places", itertools.count(place))
    with socket.create_server(("127.0.0.1", port)):
        assert ports.free_port() != port
