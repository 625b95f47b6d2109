"""The connected clients of this process: what each is sent, and which must be disconnected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollbook.accounts import sessions
from rollbook.live.client import TOO_MANY_LINES
from rollbook.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from rollbook.backends.database import Pool
    from rollbook.live.client import Audience, Client, End
    from rollbook.live.messages import Message


class Clients:
    """The clients by audience, and the connections of each user."""

    def __init__(self, *, connections_per_user: int) -> None:
        #: Clients that have had their snapshot, or what they missed.
        self.by_audience: dict[Audience, set[Client]] = {}
        #: How many were disconnected, by reason.
        self.disconnected: dict[str, int] = {}
        #: Includes those that haven't been sent anything yet.
        self._of_user: dict[UUID, set[Client]] = {}
        self._limit = connections_per_user
        metrics.LIVE_CLIENTS.set_function(lambda: len(self))
        metrics.LIVE_WAITING.set_function(lambda: sum(client.waiting for client in self))

    def __len__(self) -> int:
        return sum(len(group) for group in self.by_audience.values())

    def __iter__(self) -> Iterator[Client]:
        return iter([client for group in self.by_audience.values() for client in group])

    def admit(self, client: Client) -> bool:
        """Count a connection; False, and an end for the client, where its user has too many."""
        own = self._of_user.setdefault(client.session.user.id, set())
        own.add(client)
        if len(own) > self._limit:
            client.end(TOO_MANY_LINES)
            return False
        return True

    def add(self, client: Client) -> None:
        """Send a client every message from now on."""
        self.by_audience.setdefault(client.audience, set()).add(client)

    def remove(self, client: Client, why: End | None = None) -> None:
        """Send a client nothing more, and end its connection where there is a reason."""
        for groups, key in (
            (self._of_user, client.session.user.id),
            (self.by_audience, client.audience),
        ):
            _discard(groups, key, client)
        if why is not None:
            client.end(why)

    def count_end(self, why: End) -> None:
        """Count a disconnected client by its reason."""
        self.disconnected[why.reason] = self.disconnected.get(why.reason, 0) + 1
        metrics.LIVE_LET_GO.labels(reason=why.reason).inc()

    def send(self, message: Message) -> None:
        """Send a message to every client whose scope it is in."""
        for audience in list(self.by_audience):
            if audience.hears(message):
                self.send_to(audience, message)

    def send_to(self, audience: Audience, message: Message) -> None:
        """Send a message to the clients of one audience."""
        for client in self.by_audience.get(audience, ()):
            client.push(message)

    async def changed(self, pool: Pool) -> list[Client]:
        """The clients whose account or session has changed since they connected."""
        clients = list(self)
        if not clients:
            return []
        changed = await sessions.changed(pool, {client.session for client in clients})
        return [client for client in clients if client.session in changed]


def _discard(groups: dict[Any, set[Client]], key: object, client: Client) -> None:
    group = groups.get(key, set())
    group.discard(client)
    if not group:
        groups.pop(key, None)
