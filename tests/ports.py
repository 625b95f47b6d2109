"""Ports for the servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket

#: Below the ports that systems give to clients: one that is free stays free while it is unused.
FIRST, LAST = 20_000, 32_000
#: Each process of pytest-xdist has a share of its own, or two of them could choose the same port.
SHARES = 16

_each = (LAST - FIRST) // SHARES
_share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
# Two runs on one machine don't begin at the same port.
_places = itertools.count(os.getpid() % _each)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that this process has not chosen lately."""
    for place in itertools.islice(_places, _each):
        port = FIRST + _share * _each + place % _each
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of {_each} ports is free")
