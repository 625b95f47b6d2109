"""The address of a server, as a person types it."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from rollbook.errors import ConfigurationError

#: Where `rollbook up` serves if not set otherwise.
DEFAULT = "http://127.0.0.1:8000"


def server_address(typed: str) -> str:
    """The base address of a server, without what follows it.

    Raises:
        ConfigurationError: it is no address of a web server, or has a password in it.
    """
    text = typed.strip()
    example = f"Give it as in https://rollbook.example.org or {DEFAULT}."
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"The server's address can't be understood. {example}") from None
    if parts.username is not None or parts.password is not None:
        # Not quoted: it would show the password.
        raise ConfigurationError(
            "The server's address has a name or a password in it. Give the address only, and sign "
            f"in with `rollbook login`. {example}"
        )
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(f"{text!r} is not the address of a server. {example}")
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"The server's address ends before '?' and '#', which {text!r} has. {example}"
        )
    path = parts.path.rstrip("/").removesuffix("/docs").removesuffix("/api/v1")
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    place = shown if port in {None, usual} else f"{shown}:{port}"
    return f"{parts.scheme}://{place}{path}"


def is_this_machine(server: str) -> bool:
    """Whether a server's address is one that never leaves this machine."""
    host = urlsplit(server).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
