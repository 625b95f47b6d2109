"""Hosts of a network that has no other machines: network namespaces, joined by a router.

Packets of a host that is cut vanish at the router, in both directions and without a word. No host
sees its cable pulled, as where a switch, a firewall or a cloud's network fails.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The addresses of all hosts: a network for documentation (RFC 5737), which nothing else is in.
ALL = "198.51.100.0/24"
#: For ``setns``: the namespace is one of a network.
_NEW_NET = 0x40000000
#: The two rules that cut a host have the number of its network, and twice that.
_FIRST_RULE = 100


@cache
def unavailable() -> str | None:
    """Why there can be no such hosts here; None where there can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "hosts of their own: run as root, with iproute2"
    name = f"rollbook-{os.getpid()}-probe"
    made = subprocess.run(
        ["ip", "netns", "add", name], check=False, capture_output=True, timeout=30
    )
    if made.returncode != 0:
        return "hosts of their own: this system gives no network namespaces"
    _ip("netns", "delete", name)
    return None


class Network:
    """Hosts, each with a network of its own: a host that is cut still reaches its router."""

    def __init__(self, *names: str) -> None:
        self._made = ExitStack()
        self._router = f"rollbook-{os.getpid()}-router"
        self._names = names
        self._namespaces = {name: f"rollbook-{os.getpid()}-{name}" for name in names}

    def __enter__(self) -> Network:
        with ExitStack() as made:
            self._namespace(made, self._router)
            with self._inside(self._router):
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
            for number, namespace in enumerate(self._namespaces.values(), start=1):
                self._namespace(made, namespace)
                self._join(number, namespace)
            self._made = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def address(self, name: str) -> str:
        """The address of a host."""
        return _address(self._names.index(name) + 1, 2)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Be on a host: what this thread starts and connects to meanwhile is there for good."""
        with self._inside(self._namespaces[name]):
            yield

    def cut(self, name: str) -> None:
        """Let all packets from and to a host vanish."""
        for rule in self._rules(name):
            _ip("-n", self._router, "rule", "add", *rule)

    def join(self, name: str) -> None:
        """End the cut."""
        for rule in self._rules(name):
            _ip("-n", self._router, "rule", "delete", *rule)

    def _rules(self, name: str) -> list[list[str]]:
        place = _FIRST_RULE + 2 * self._names.index(name)
        return [
            [way, self.address(name), "blackhole", "priority", str(place + step)]
            for step, way in enumerate(("from", "to"))
        ]

    def _join(self, number: int, namespace: str) -> None:
        line = f"to{number}"
        router = ("-n", self._router)
        _ip(*router, "link", "add", line, "type", "veth", "peer", "eth0", "netns", namespace)
        for where, device, end in ((self._router, line, 1), (namespace, "eth0", 2)):
            _ip("-n", where, "address", "add", f"{_address(number, end)}/30", "dev", device)
            _ip("-n", where, "link", "set", device, "up")
        _ip("-n", namespace, "route", "add", "default", "via", _address(number, 1))

    @staticmethod
    def _namespace(made: ExitStack, name: str) -> None:
        _ip("netns", "add", name)
        made.callback(_ip, "netns", "delete", name)
        _ip("-n", name, "link", "set", "lo", "up")

    @staticmethod
    @contextmanager
    def _inside(namespace: str) -> Iterator[None]:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        other = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            _enter(other)
            yield
        finally:
            _enter(own)
            os.close(own)
            os.close(other)


def _address(number: int, end: int) -> str:
    return f"198.51.100.{4 * number + end}"


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _NEW_NET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)
