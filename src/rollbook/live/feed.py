"""The live feed of an API process: hears the queue's events and tells them to its clients.

Every process reads the same stream and makes the same messages of it, numbered alike, so a client
may leave one process and go on at another. A process that starts reads the stream from its
beginning: that is the log from which clients get what they missed.

What the stream can't say comes from the record: when events were lost, because Redis has lost its
keys or the stream was cut before it was read, every client gets a new snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from rollbook import clock
from rollbook.accounts import users
from rollbook.backends.database import UNAVAILABLE, fetch_all, queries
from rollbook.contract import QueueStats
from rollbook.errors import ServiceUnavailableError
from rollbook.live.chronicle import TOLD, Chronicle
from rollbook.live.client import ACCOUNT_CHANGED, RESTART, TOO_MANY_LINES, Client
from rollbook.live.log import MessageLog
from rollbook.live.messages import PER_MS, Message, seq_of, state
from rollbook.live.snapshot import Snapshot, take
from rollbook.queue.subscriber import QueueEvent, decode
from rollbook.service.rounds import every
from rollbook.telemetry import logs, metrics
from rollbook.uploads import lookup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.live.client import Audience, End
    from rollbook.model import Scope
    from rollbook.queue.subscriber import Subscriber
    from rollbook.service.system import System

#: Events that may wait to be told; with one more, all are forgotten, and a snapshot says what came
#: of them.
HEARD: Final = 10_000
#: Seconds between two heartbeats; contract: a client waits for 35.
HEARTBEAT_S: Final = 15.0
#: Seconds between two looks at what isn't in the stream: the queue's counts and places.
LOOK_S: Final = 1.0
#: Looks after which the counts are read anew although nothing happened that we know of.
LOOKS_AT_MOST: Final = 10
#: Seconds between two looks at the accounts of all who are connected.
ACCOUNTS_S: Final = 5.0
#: Seconds between two looks whether Redis answers, and still has its keys and the latest events.
EPOCH_S: Final = 2.0
#: Places in the queue that are told.
PLACES: Final = 200
#: Seconds before PostgreSQL is tried again.
RETRY_S: Final = 1.0
#: Seconds that a connection may wait for the feed: for its start, or for an event that another
#: process has told already.
PATIENCE_S: Final = 5.0
#: Seconds for which a snapshot serves all of its audience who come meanwhile.
SHARED_S: Final = 1.0
#: Events that are handled at a time.
BATCH: Final = 500

_SQL = queries("live")
log = structlog.get_logger(__name__)


class Feed:
    """Tells what happens to whoever is connected to this process."""

    def __init__(self, system: System, subscriber: Subscriber) -> None:
        self._system = system
        self._subscriber = subscriber
        #: Who is connected, and how many were let go, by reason.
        self.clients: dict[Audience, set[Client]] = {}
        self.let_go: dict[str, int] = {}
        #: The lines of each user, of those too who haven't been told anything yet.
        self._lines: dict[UUID, set[Client]] = {}
        #: The last event that was handled, whether or not it became a message.
        self.position = 0
        self._log = MessageLog()
        #: A number stands for a loss: of the events up to it, some may not have been heard.
        self._heard: asyncio.Queue[QueueEvent | int] = asyncio.Queue()
        #: The last event that was heard, and the one at the last look that Redis answered.
        self._newest = 0
        self._seen = 0
        self._chronicle = Chronicle()
        self._began = asyncio.Event()
        self._moved = asyncio.Condition()
        self._epoch: int | None = None
        self._is_closed = False
        self._is_stuck = False
        self._is_cut_off = False
        self._was_live = False
        self._counts: dict[str, int | bool] = {}
        #: Who is next, and whose it is; None for another program's job.
        self._places: list[tuple[str, Scope | None]] = []
        self._looks = LOOKS_AT_MOST
        self._told_queue: dict[Audience, dict[str, Any]] = {}
        self._snapshots: dict[Audience, asyncio.Task[Snapshot]] = {}

    @property
    def is_live(self) -> bool:
        """Do the queue's events come in?"""
        return (
            self._began.is_set()
            and self._subscriber.reading.is_set()
            and not self._is_stuck
            and not self._is_cut_off
        )

    @property
    def connected(self) -> int:
        """How many clients there are."""
        return sum(len(group) for group in self.clients.values())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Feed]:
        """Tell for as long as the context lasts."""
        metrics.LIVE_CLIENTS.set_function(lambda: self.connected)
        metrics.LIVE_WAITING.set_function(
            lambda: sum(client.waiting for client in self._everybody())
        )
        metrics.LIVE_READING.set_function(lambda: self.is_live)
        self._subscriber.listen(self._hear)
        task = asyncio.create_task(self._tell_all())
        task.add_done_callback(_log_fault)
        async with (
            every(LOOK_S, self._look, service="live state"),
            every(HEARTBEAT_S, self._beat, service="live heartbeat"),
            every(ACCOUNTS_S, self._check_accounts, service="live accounts"),
            every(EPOCH_S, self._check_epoch, service="live epoch"),
        ):
            try:
                yield self
            finally:
                self.close()
                task.cancel()
                await asyncio.wait({task, *self._snapshots.values()}, timeout=PATIENCE_S)

    def close(self) -> None:
        """Let every client go: this process ends, and another one serves them."""
        self._is_closed = True
        for client in self._everybody():
            self.leave(client, RESTART)

    # --- clients --------------------------------------------------------------------------------

    async def join(self, client: Client, since: int | None) -> None:
        """Tell a client what it missed, or how things stand, and everything from then on.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL doesn't answer.
            ServiceUnavailableError: the feed hasn't begun, because a part of the system is away.
        """
        lines = self._lines.setdefault(client.session.user.id, set())
        lines.add(client)
        if len(lines) > self._system.settings.live_lines_per_user:
            client.end(TOO_MANY_LINES)
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._began.wait()
        except TimeoutError:
            raise ServiceUnavailableError("Live messages can't be told yet.") from None
        if since is not None and since > self.position:
            await self._catch_up(since)
        if since is not None and self._log.reaches_to <= since <= self.position:
            stats = state("queue_stats", self.position, self._queue_for(client.audience))
            client.begin([*self._log.missed(client.audience, since), stats, self._heartbeat()])
        else:
            snapshot = await self._snapshot(client.audience)
            client.remember(snapshot.steps)
            whole = snapshot.message(client.session.user, snapshot.seq, is_reset=since is not None)
            messages = [whole, *self._log.missed(client.audience, snapshot.seq)]
            queue = self._queue_for(client.audience)
            if queue != snapshot.queue:  # told meanwhile to all who were there
                messages.append(state("queue_stats", self.position, queue))
            if not self.is_live:
                messages.append(self._heartbeat())
            client.begin(messages)
        # Nothing was awaited since the log was read: the next event is the next message.
        if self._is_closed:
            client.end(RESTART)
        if not client.ended.done():
            self.clients.setdefault(client.audience, set()).add(client)

    def leave(self, client: Client, why: End | None = None) -> None:
        """Tell a client nothing any more."""
        user = client.session.user.id
        lines = self._lines.get(user, set())
        lines.discard(client)
        if not lines:
            self._lines.pop(user, None)
        group = self.clients.get(client.audience, set())
        group.discard(client)
        if not group:
            self.clients.pop(client.audience, None)
            self._told_queue.pop(client.audience, None)
        if why is not None:
            client.end(why)

    def count_end(self, why: End) -> None:
        """Note why a client was let go."""
        self.let_go[why.reason] = self.let_go.get(why.reason, 0) + 1
        metrics.LIVE_LET_GO.labels(reason=why.reason).inc()

    def _everybody(self) -> list[Client]:
        return [client for group in self.clients.values() for client in group]

    async def _catch_up(self, seq: int) -> None:
        """Wait for an event that another process has told already."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), self._moved:
                await self._moved.wait_for(lambda: self.position >= seq)

    async def _snapshot(self, audience: Audience) -> Snapshot:
        """How things stand for an audience; one reading serves all who come at about that time."""
        while True:
            task = self._snapshots.get(audience)
            if task is None:
                task = asyncio.create_task(self._take(audience))
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

    async def _take(self, audience: Audience) -> Snapshot:
        if not self.clients:  # without clients nobody has looked for a while
            with contextlib.suppress(ServiceUnavailableError):  # that it is old, a heartbeat says
                await self._read_queue()
        return await take(
            self._system, audience, self.position, self._queue_for(audience), HEARTBEAT_S
        )

    # --- events ---------------------------------------------------------------------------------

    def _hear(self, event: QueueEvent) -> None:
        """The subscriber's listener; the work is done elsewhere, in order."""
        if event.name == "error":
            return
        self._newest = seq_of(event.id)
        if self._heard.qsize() >= HEARD:
            self._forget_heard()
        self._heard.put_nowait(event)

    async def _tell_all(self) -> None:
        """Begin, and then handle what is heard, a batch at a time, until cancelled."""
        await self._insist(self._begin)
        # The client of Redis may swallow the cancelling in the middle of a call.
        while not self._is_closed:
            batch = [await self._heard.get()]
            while len(batch) < BATCH and not self._heard.empty():
                batch.append(self._heard.get_nowait())
            events = [one for one in batch if not isinstance(one, int)]
            await self._insist(partial(self._handle, events))
            losses = [one for one in batch if isinstance(one, int)]
            if losses:
                await self._insist(partial(self._begin_anew, max(losses)))

    async def _insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step, again and again while it fails: clients hear that nothing comes in."""
        while not self._is_closed:
            try:
                await step()
            except UNAVAILABLE as error:
                log.warning("live messages wait for a part", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - such as a schema that is yet to come
                where = logs.places(error)
                log.error("live messages met a fault", error=type(error).__name__, where=where)
            else:
                self._is_stuck = False
                return
            self._is_stuck = True
            await asyncio.sleep(RETRY_S)

    def _forget_heard(self) -> None:
        lost_to = 0
        while not self._heard.empty():
            one = self._heard.get_nowait()
            lost_to = max(lost_to, one if isinstance(one, int) else seq_of(one.id))
        self._heard.put_nowait(lost_to)

    async def _begin(self) -> None:
        """Read the stream as it is; what comes from here on is heard."""
        await self._subscriber.reading.wait()
        self._epoch = await self._system.queue.epoch_ms()
        entries = await self._system.queue.events()
        self.position = _before(self._epoch)
        self._chronicle = Chronicle()
        # Of what went before the oldest event nothing is known: the stream keeps about 10,000.
        self._log.begin(max([self.position, *(seq_of(entry_id) for entry_id, _ in entries[:1])]))
        await self._handle(
            [decode(fields.get("event", ""), fields, entry_id) for entry_id, fields in entries]
        )
        await self._read_queue()
        self._began.set()
        log.info("live messages begin", known=len(self._log))

    async def _begin_anew(self, lost_to: int) -> None:
        """Events were lost, up to that number: everybody gets a snapshot.

        Also who comes from another process and knows less than that: the log doesn't reach there.
        """
        await self._move(max(self.position, lost_to))
        self._log.begin(self.position)
        self._snapshots.clear()
        self._told_queue.clear()
        log.warning("the queue's events were lost, clients get a new snapshot")
        await self._read_queue()
        for audience in list(self.clients):
            snapshot = await self._take(audience)
            for client in self.clients.get(audience, set()).copy():
                client.remember(snapshot.steps)
                client.push(snapshot.message(client.session.user, self.position, is_reset=True))

    async def _handle(self, events: list[QueueEvent]) -> None:
        """Tell the messages that events become."""
        events = [event for event in events if seq_of(event.id) > self.position]
        if not events:
            return
        records = await self._records(self._chronicle.lacks(events))
        # From here on nothing fails because a part is away: no event is told twice.
        for event in events:
            self.position = seq_of(event.id)
            if event.name in TOLD:
                self._tell(event, records)
            if event.name != "progress":
                self._looks = LOOKS_AT_MOST  # the counts have changed
        await self._move(self.position)

    async def _move(self, seq: int) -> None:
        self.position = seq
        async with self._moved:
            self._moved.notify_all()

    async def _records(self, ids: Collection[UUID]) -> dict[str, Row]:
        if not ids:
            return {}
        rows = await fetch_all(self._system.pool, _SQL["records"], {"ids": list(ids)})
        self._chronicle.meet(rows)
        return {str(row["id"]): row for row in rows}

    def _tell(self, event: QueueEvent, records: dict[str, Row]) -> None:
        try:
            message = self._chronicle.tell(event, records)
        except Exception as error:  # noqa: BLE001 - one event must not end all that follow
            where = logs.places(error)
            log.error("event not told", kind=event.name, error=type(error).__name__, where=where)
            self._heard.put_nowait(self.position)  # a snapshot tells what came of it
            return
        if message is None:
            return
        self._log.append(message)
        if self._began.is_set():  # what the stream held before is old
            lag_s = clock.now().timestamp() - message.seq / PER_MS / 1000
            metrics.LIVE_LAG.observe(max(lag_s, 0.0))
        for audience, group in list(self.clients.items()):
            if audience.hears(message):
                self._push(group, message)

    def _push(self, group: Iterable[Client], message: Message) -> None:
        for client in group:
            client.push(message)

    # --- states ---------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Tell what changed beside the events."""
        if not self._began.is_set():
            return
        if self.is_live != self._was_live:
            await self._beat()
        self._looks += 1
        if self._looks < LOOKS_AT_MOST or not self.clients or not self.is_live:
            return
        self._looks = 0
        try:
            await self._read_queue()
        except Exception:
            self._looks = LOOKS_AT_MOST
            raise
        for audience, group in list(self.clients.items()):
            data = self._queue_for(audience)
            if data != self._told_queue.get(audience):
                self._told_queue[audience] = data
                self._push(group, state("queue_stats", self.position, data))

    async def _read_queue(self) -> None:
        counts = await lookup.whole_queue(self._system)
        order = await self._system.queue.order(PLACES)
        await self._records(self._chronicle.strangers(order))
        self._counts = counts
        self._places = [(job_id, self._chronicle.place(job_id)) for job_id in order]

    def _queue_for(self, audience: Audience) -> dict[str, Any]:
        """What an audience hears of the queue."""
        own = {
            job_id: place
            for place, (job_id, sent_from) in enumerate(self._places, start=1)
            if sent_from is not None and audience.scope.includes(sent_from)
        }
        counts = {name: self._counts[name] for name in _COUNTS} if audience.is_operator else None
        return {"is_paused": bool(self._counts["is_paused"]), "positions": own, "counts": counts}

    async def _beat(self) -> None:
        """Tell everybody that the line is good, and whether events come in."""
        if not self._began.is_set():
            return
        self._was_live = self.is_live
        heartbeat = self._heartbeat()
        for group in self.clients.values():
            self._push(group, heartbeat)
            for client in group:
                client.grow_older()

    def _heartbeat(self) -> Message:
        return state("heartbeat", self.position, {"is_live": self.is_live})

    async def _check_accounts(self) -> None:
        """Let those go whose account isn't any more what it was when they came."""
        everybody = self._everybody()
        if not everybody:
            return
        sessions = {client.session for client in everybody}
        changed = await users.changed(self._system.pool, sessions)
        for client in everybody:
            if client.session in changed:
                self.leave(client, ACCOUNT_CHANGED)

    async def _check_epoch(self) -> None:
        """Notice that Redis is away, has lost its keys, or has cut events off unread."""
        if self._epoch is None:
            return
        # What was heard by the last look: later events may have been heard behind a gap.
        seen, self._seen = self._seen, max(self._seen, self._newest, self.position)
        try:
            epoch = await self._system.queue.epoch_ms()
            cut_to = await self._system.queue.events_cut_to()
        except ServiceUnavailableError:
            self._is_cut_off = True
            self._seen = seen
            raise
        self._is_cut_off = False
        if epoch != self._epoch:
            self._epoch = epoch
            self._heard.put_nowait(_before(epoch))
        elif seen and cut_to is not None and seq_of(cut_to) > seen:
            self._seen = seq_of(cut_to)  # that one is yet to be heard; one loss is told once
            self._heard.put_nowait(self._seen - 1)


#: What is counted; not what else a queue's statistics say.
_COUNTS: Final = tuple(
    name for name, field in QueueStats.model_fields.items() if field.annotation is int
)


def _before(epoch_ms: int) -> int:
    """The last number before an epoch, whose own millisecond belongs to what follows."""
    return epoch_ms * PER_MS - 1


def _log_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("live messages have ended", error=type(error).__name__)
