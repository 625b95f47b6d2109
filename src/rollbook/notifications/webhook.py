"""A notification as a webhook, after the Standard Webhooks specification 1.0.0.

The receiver's name is resolved once, and the connection goes to an address that was checked, so a
later change of the name's DNS record has no effect. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import time
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final

import httpcore

from rollbook import __version__, clock
from rollbook.errors import AddressRefusedError, NotificationError, NotificationRefusedError
from rollbook.notifications.mail import link

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rollbook.config import Settings
    from rollbook.notifications.outbox import Notification

    Address = IPv4Address | IPv6Address
    Network = IPv4Network | IPv6Network

#: Addresses of cloud metadata services, which give out secrets: Azure's and Oracle's. They look
#: public (the second one to some Python versions).
_CLOUDS = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
#: All of the IPv6 addresses that are given out in the internet (RFC 4291, section 2.4).
_GIVEN_OUT = IPv6Network("2000::/3")
#: The last 32 bits of these are an IPv4 address, to which a gateway passes packets on (RFC 6052).
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
#: A part of a host's name (RFC 1123, section 2.1); some have an underscore all the same.
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NAME_LENGTH: Final = 253
#: How long the system's certificates are kept, in seconds.
_TRUSTED_FOR_S: Final = 3600.0
#: The longest pause that a receiver can ask for.
LONGEST_WAIT_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook's messages go, and what signs them."""

    url: str
    #: The newest first; all of them sign.
    keys: tuple[bytes, ...]
    #: Networks that it may reach though they are private.
    networks: tuple[Network, ...]


def of_settings(settings: Settings) -> Target:
    """The webhook of the settings."""
    assert settings.webhook_url is not None
    url = settings.webhook_url.get_secret_value()
    return Target(url, settings.webhook_keys, settings.webhook_networks)


async def send(settings: Settings, target: Target, notification: Notification) -> int:
    """Post the notification, and return the status of the answer.

    Raises:
        NotificationRefusedError: the receiver is gone for good (410).
        AddressRefusedError: its name resolves to an address that isn't allowed.
        NotificationError: it didn't answer, or with something else than 2xx; ``answer_status`` has
            the status.
    """
    url = target.url
    body = json.dumps(payload(settings, notification), separators=(",", ":")).encode()
    timestamp = int(clock.now().timestamp())
    headers = {
        "content-type": "application/json",
        "user-agent": f"rollbook/{__version__}",
        "webhook-id": notification.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(target.keys, notification.id, timestamp, body),
    }
    is_encrypted = url.startswith("https:")
    guard = Guard(target.networks, is_encrypted=is_encrypted)
    context = _trusting(int(time.monotonic() // _TRUSTED_FOR_S)) if is_encrypted else None
    try:
        async with (
            asyncio.timeout(settings.notification_timeout_s),
            httpcore.AsyncConnectionPool(ssl_context=context, network_backend=guard) as pool,
            # Only the status is read: the body isn't needed and may be endless.
            pool.stream("POST", url, headers=list(headers.items()), content=body) as response,
        ):
            status, answered = response.status, response.headers
    except TimeoutError:
        raise NotificationError("The webhook's receiver didn't answer in time.") from None
    # OSError: the name isn't known, or its certificate isn't good.
    except (
        httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError,
    ) as error:  # fmt: skip
        raise NotificationError(
            f"The webhook's receiver can't be reached ({type(error).__name__})."
        ) from None
    if status == 410:
        raise NotificationRefusedError(
            "The webhook's receiver is gone for good (410).", answer_status=status
        )
    if not 200 <= status < 300:
        raise NotificationError(
            f"The webhook's receiver answered with {status}.",
            wait_s=_wait_s(answered),
            answer_status=status,
        )
    return status


@lru_cache(maxsize=1)
def _trusting(_hour: int) -> ssl.SSLContext:
    """What the system trusts in this hour: reading it holds the event loop up for 20 ms."""
    return ssl.create_default_context()


def payload(settings: Settings, notification: Notification) -> dict[str, Any]:
    """The webhook's payload: ids and counts, the same in every try."""
    data: dict[str, Any] = {
        "job_id": str(notification.upload_id),
        "dry_run": notification.is_dry_run,
        "rows_total": notification.rows_total,
        "outcomes": notification.outcomes,
        "error_code": notification.error_code,
        "verification": notification.roll,
    }
    if settings.public_url is not None:
        data["url"] = link(settings.public_url, notification)
    return {
        "type": f"upload.{notification.kind}",
        "timestamp": notification.ended_at.isoformat(),
        "data": data,
    }


def sign(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: one signature for each key, so that a key can be changed.

    The id has no full stop in it, the timestamp of this try is in seconds since 1970, and the body
    is exactly as it is sent.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class Guard(httpcore.AsyncNetworkBackend):
    """Connects only to public internet addresses and to networks that the settings allow.

    Raises:
        AddressRefusedError: from ``connect_tcp``, if the name has any other address: an attacker
            who can add an address can choose which one is used.
    """

    def __init__(self, allowed: Sequence[Network], *, is_encrypted: bool = True) -> None:
        self._allowed = allowed
        self._is_encrypted = is_encrypted
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve the name, check all its addresses, and connect to the first that answers."""
        addresses = await self._addresses(host, port)
        for address in addresses:
            if not self.may_reach(address):
                raise AddressRefusedError(
                    "The webhook's name leads to an address that is private, this machine's or a "
                    "cloud's own, or that isn't encrypted to, so nothing was sent. An operator can "
                    "allow its network with ROLLBOOK_WEBHOOK_ALLOWED_NETWORKS."
                )
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("the name has no address")

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no webhook is on a Unix socket."""
        raise AddressRefusedError("A webhook lies in a network.")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # Only link-local addresses have a scope such as %eth0.
        names = dict.fromkeys(str(place[0]).partition("%")[0] for *_, place in found)
        return [ip_address(name) for name in names]

    def may_reach(self, address: Address) -> bool:
        """Whether a connection may go to an address."""
        meant = _meant(address)
        if any(meant in network for network in self._allowed if network.version == meant.version):
            return True
        return self._is_encrypted and is_public(address)


def is_public(address: Address) -> bool:
    """Whether it is public: not private, loopback, link-local, reserved or a cloud's own."""
    meant = _meant(address)
    if not meant.is_global or meant.is_multicast or meant.is_reserved:
        return False
    if isinstance(meant, IPv6Address):
        return meant in _GIVEN_OUT
    return not any(meant in network for network in _CLOUDS)


def is_host(name: str) -> bool:
    """Whether a text is an address, or may be a host's name.

    A name whose last part is a number is none: resolvers read such texts as IPv4 addresses in odd
    spellings (0x7f.1, 2130706433).
    """
    try:
        ip_address(name)
    except ValueError:
        labels = name.removesuffix(".").split(".")
        last = labels[-1].lower()
        is_number = last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last) is not None
        has_room = len(name.removesuffix(".")) <= _NAME_LENGTH
        return has_room and not is_number and all(map(_LABEL.fullmatch, labels))
    return True


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address embeds, at which its packets arrive."""
    if not isinstance(address, IPv6Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64):
        return IPv4Address(address.packed[-4:])
    return address


def _wait_s(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """The seconds of a Retry-After; 0 without one and for a date, which is rarely sent."""
    given = {name.lower(): value for name, value in headers}.get(b"retry-after", b"")
    return min(float(given), LONGEST_WAIT_S) if given.isdigit() else 0.0
