"""The live feed of an API process: turns the queue's events into messages for its clients.

Every process reads the same stream and makes the same messages with the same numbers, so a client
may leave one process and continue at another. A process that starts reads the stream from its
beginning: that is the log from which clients get what they missed.

What the stream can't say comes from the record: when events were lost, because Redis lost its keys
or the stream was trimmed before it was read, every client gets a new snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from rollbook import clock
from rollbook.backends.database import UNAVAILABLE, fetch_all, queries
from rollbook.errors import ServiceUnavailableError
from rollbook.live.board import QueueBoard, is_same
from rollbook.live.chronicle import ANNOUNCED, Chronicle
from rollbook.live.client import ACCOUNT_CHANGED, RESTART, Client
from rollbook.live.clients import Clients
from rollbook.live.log import MessageLog
from rollbook.live.messages import PER_MS, Message, seq_of, state
from rollbook.live.snapshot import Snapshot, read_snapshot
from rollbook.live.stream import Stream
from rollbook.queue.subscriber import QueueEvent, decode
from rollbook.service.rounds import every
from rollbook.telemetry import logs, metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.live.client import Audience, End
    from rollbook.model import Scope
    from rollbook.queue.subscriber import Subscriber
    from rollbook.service.system import System
    from rollbook.uploads.forecast import Forecaster

#: Seconds between two heartbeats. Contract: a client waits for 35.
HEARTBEAT_S: Final = 15.0
#: Seconds between two looks at what isn't in the stream: the queue's counts and places.
LOOK_S: Final = 1.0
#: Seconds between two checks of the accounts of all connected clients.
ACCOUNTS_S: Final = 5.0
#: Seconds between two checks that Redis answers and still has its keys and the latest events.
EPOCH_S: Final = 2.0
#: Seconds before PostgreSQL is tried again.
RETRY_S: Final = 1.0
#: Seconds that a client waits for the feed to start, or for an event that another process sent.
PATIENCE_S: Final = 5.0
#: Seconds for which one snapshot serves every client of its audience.
SHARED_S: Final = 1.0

_SQL = queries("live")
log = structlog.get_logger(__name__)


class Feed:
    """Sends the clients of this process what happens to the uploads of their scope."""

    def __init__(self, system: System, subscriber: Subscriber, forecaster: Forecaster) -> None:
        self._system = system
        self._subscriber = subscriber
        self.clients = Clients(connections_per_user=system.settings.live_lines_per_user)
        self.stream = Stream()
        self._board = QueueBoard(system, forecaster, self._places_of)
        self._log = MessageLog()
        self._chronicle = Chronicle()
        self._snapshots: dict[Audience, asyncio.Task[Snapshot]] = {}
        self._began = asyncio.Event()
        self._is_closed = False
        self._is_stuck = False
        self._was_live = False

    @property
    def is_live(self) -> bool:
        """Do the queue's events come in?"""
        return (
            self._began.is_set()
            and self._subscriber.reading.is_set()
            and not self._is_stuck
            and not self.stream.is_cut_off
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Feed]:
        """Serve clients for as long as the context lasts."""
        metrics.LIVE_READING.set_function(lambda: self.is_live)
        self._subscriber.listen(self.stream.hear)
        task = asyncio.create_task(self._handle_all())
        task.add_done_callback(_log_fault)
        async with (
            every(LOOK_S, self._look, service="live state"),
            every(HEARTBEAT_S, self._beat, service="live heartbeat"),
            every(ACCOUNTS_S, self._check_accounts, service="live accounts"),
            every(EPOCH_S, self._check_stream, service="live epoch"),
        ):
            try:
                yield self
            finally:
                self.close()
                task.cancel()
                await asyncio.wait({task, *self._snapshots.values()}, timeout=PATIENCE_S)

    def close(self) -> None:
        """Disconnect every client: this process ends, and another one serves them."""
        self._is_closed = True
        for client in self.clients:
            self.leave(client, RESTART)

    # --- clients --------------------------------------------------------------------------------

    async def join(self, client: Client, since: int | None) -> None:
        """Send a client what it missed since a message, or a snapshot, and every later message.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL doesn't answer.
            ServiceUnavailableError: the feed hasn't begun, because a part of the system is away.
        """
        if not self.clients.admit(client):
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._began.wait()
        except TimeoutError:
            raise ServiceUnavailableError("Live messages are not available yet.") from None
        if since is not None and since > self.stream.position:
            await self.stream.reach(since, PATIENCE_S)
        position = self.stream.position
        if since is not None and self._log.reaches_to <= since <= position:
            stats = state("queue_stats", position, self._board.view(client.audience))
            client.begin([*self._log.missed(client.audience, since), stats, self._heartbeat()])
        else:
            snapshot = await self._snapshot(client.audience)
            client.remember(snapshot.steps)
            whole = snapshot.message(client.session.user, snapshot.seq, is_reset=since is not None)
            messages = [whole, *self._log.missed(client.audience, snapshot.seq)]
            queue = self._board.view(client.audience)
            if not is_same(queue, snapshot.queue):  # it changed after the snapshot was read
                messages.append(state("queue_stats", self.stream.position, queue))
            if not self.is_live:
                messages.append(self._heartbeat())
            client.begin(messages)
        # Nothing was awaited since the log was read: the next event is the next message.
        if self._is_closed:
            client.end(RESTART)
        if not client.ended.done():
            self.clients.add(client)

    def owner(self, job_id: str) -> UUID | None:
        """The account that sent an upload; None for one without a recent event."""
        return self._chronicle.owner(job_id)

    def leave(self, client: Client, why: End | None = None) -> None:
        """Send a client nothing more, and end its connection where there is a reason."""
        self.clients.remove(client, why)
        if client.audience not in self.clients.by_audience:
            self._board.forget(client.audience)

    async def _snapshot(self, audience: Audience) -> Snapshot:
        """A snapshot for an audience; one reading serves every client that joins meanwhile."""
        while True:
            task = self._snapshots.get(audience)
            if task is None:
                task = asyncio.create_task(self._read_snapshot(audience))
                self._snapshots[audience] = task
                loop = asyncio.get_running_loop()
                loop.call_later(SHARED_S, self._snapshots.pop, audience, None)
            try:
                snapshot = await asyncio.shield(task)
            except Exception:
                self._snapshots.pop(audience, None)
                raise
            if snapshot.seq >= self._log.reaches_to:
                return snapshot
            if self._snapshots.get(audience) is task:  # the log was lost meanwhile
                del self._snapshots[audience]

    async def _read_snapshot(self, audience: Audience) -> Snapshot:
        if not self.clients:  # without clients the board isn't kept up to date
            with contextlib.suppress(ServiceUnavailableError):  # a heartbeat says that it is old
                await self._board.read()
        view = self._board.view(audience)
        return await read_snapshot(self._system, audience, self.stream.position, view, HEARTBEAT_S)

    # --- events ---------------------------------------------------------------------------------

    async def _handle_all(self) -> None:
        """Begin, and then handle what is heard, a batch at a time, until cancelled."""
        await self._insist(self._begin)
        # The client of Redis may swallow the cancelling in the middle of a call.
        while not self._is_closed:
            events, lost_to = await self.stream.next_batch()
            await self._insist(partial(self._handle, events))
            if lost_to is not None:
                await self._insist(partial(self._begin_again, lost_to))

    async def _insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step until it succeeds; clients see meanwhile that nothing comes in."""
        while not self._is_closed:
            try:
                await step()
            except UNAVAILABLE as error:
                log.warning("live feed waiting for a part", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - such as a schema that isn't migrated yet
                where = logs.places(error)
                log.error("live feed failed", error=type(error).__name__, where=where)
            else:
                self._is_stuck = False
                return
            self._is_stuck = True
            await asyncio.sleep(RETRY_S)

    async def _begin(self) -> None:
        """Read the stream as it is; later events are heard."""
        await self._subscriber.reading.wait()
        epoch = await self._system.queue.epoch_ms()
        entries = await self._system.queue.events()
        self.stream.begin(epoch)
        self._chronicle = Chronicle()
        # Nothing is known of what came before the oldest event: the stream keeps about 10,000.
        oldest = [seq_of(entry_id) for entry_id, _ in entries[:1]]
        self._log.begin(max([self.stream.position, *oldest]))
        await self._handle(
            [decode(fields.get("event", ""), fields, entry_id) for entry_id, fields in entries]
        )
        await self._board.read()
        self._began.set()
        log.info("live feed started", known=len(self._log))

    async def _begin_again(self, lost_to: int) -> None:
        """Send every client a snapshot, because events up to a number were lost.

        So does a client that comes from another process and knows less: the log doesn't reach back.
        """
        await self.stream.move_to(max(self.stream.position, lost_to))
        self._log.begin(self.stream.position)
        self._snapshots.clear()
        self._board.forget_all()
        log.warning("queue events lost, clients get a new snapshot")
        await self._board.read()
        for audience in list(self.clients.by_audience):
            snapshot = await self._read_snapshot(audience)
            for client in self.clients.by_audience.get(audience, set()).copy():
                client.remember(snapshot.steps)
                seq = self.stream.position
                client.push(snapshot.message(client.session.user, seq, is_reset=True))

    async def _handle(self, events: list[QueueEvent]) -> None:
        """Send the messages that events become."""
        events = [event for event in events if seq_of(event.id) > self.stream.position]
        if not events:
            return
        records = await self._records(self._chronicle.needs(events))
        # From here on nothing fails because a part is away: no event is sent twice.
        for event in events:
            self.stream.position = seq_of(event.id)
            if event.name in ANNOUNCED:
                self._announce(event, records)
            if event.name != "progress":
                self._board.expire()
        await self.stream.move_to(self.stream.position)

    async def _records(self, ids: Collection[UUID]) -> dict[str, Row]:
        if not ids:
            return {}
        rows = await fetch_all(self._system.pool, _SQL["records"], {"ids": list(ids)})
        self._chronicle.add(rows)
        return {str(row["id"]): row for row in rows}

    async def _places_of(self, job_ids: Collection[str]) -> dict[str, Scope | None]:
        await self._records(self._chronicle.unknown(job_ids))
        return {job_id: self._chronicle.place(job_id) for job_id in job_ids}

    def _announce(self, event: QueueEvent, records: dict[str, Row]) -> None:
        try:
            message = self._chronicle.message(event, records)
        except Exception as error:  # noqa: BLE001 - one event must not end all that follow
            where = logs.places(error)
            log.error(
                "event not announced", kind=event.name, error=type(error).__name__, where=where
            )
            self.stream.lose_to(self.stream.position)  # a snapshot says what became of it
            return
        if message is None:
            return
        self._log.append(message)
        if self._began.is_set():  # the stream's earlier events are old
            lag_s = clock.now().timestamp() - message.seq / PER_MS / 1000
            metrics.LIVE_LAG.observe(max(lag_s, 0.0))
        self.clients.send(message)

    # --- states ---------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Send what changed outside of the stream."""
        if not self._began.is_set():
            return
        if self.is_live != self._was_live:
            await self._beat()
        if not self._board.is_due() or not self.clients or not self.is_live:
            return
        await self._board.read()
        for audience in list(self.clients.by_audience):
            view = self._board.changed_for(audience)
            if view is not None:
                self.clients.send_to(audience, state("queue_stats", self.stream.position, view))

    async def _beat(self) -> None:
        """Send a heartbeat to every client; it says whether events come in."""
        if not self._began.is_set():
            return
        self._was_live = self.is_live
        self.clients.send(self._heartbeat())
        for client in self.clients:
            client.grow_older()

    def _heartbeat(self) -> Message:
        return state("heartbeat", self.stream.position, {"is_live": self.is_live})

    async def _check_accounts(self) -> None:
        for client in await self.clients.changed(self._system.pool):
            self.leave(client, ACCOUNT_CHANGED)

    async def _check_stream(self) -> None:
        await self.stream.check(self._system.queue)


def _log_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("live feed ended", error=type(error).__name__)
