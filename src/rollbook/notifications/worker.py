"""Delivers notifications, in each worker process, beside the uploads."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from bullmq.custom_errors import DelayedError
from psycopg_pool import PoolTimeout

from rollbook import clock
from rollbook.errors import (
    AttemptError,
    NotificationError,
    NotificationRefusedError,
    ServiceUnavailableError,
)
from rollbook.notifications import mail, outbox, webhook
from rollbook.queue.bull_worker import OneCallWorker
from rollbook.queue.loop import options, take_jobs
from rollbook.telemetry import logs, metrics

if TYPE_CHECKING:
    from bullmq import Job
    from redis.asyncio import Redis

    from rollbook.notifications.outbox import Notification
    from rollbook.service.system import System

#: Notifications under way at a time in each worker process.
CONCURRENCY = 4
#: By how much each pause is longer than the one before, and the longest.
FACTOR, LONGEST_PAUSE_S = 3, 12 * 3600.0
UNFORESEEN = "Telling failed unexpectedly. The operator's log has the details."
_AWAY = (ServiceUnavailableError, psycopg.OperationalError, PoolTimeout)

log = structlog.get_logger(__name__)


class NotificationWorker:
    """Takes jobs of the queue ``notifications``."""

    def __init__(self, system: System, name: str) -> None:
        self._system = system
        self._settings = system.settings
        self._name = name
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; what is under way gets its time to be delivered."""
        await take_jobs(self._settings, stop, self._make_worker, self._shut_down)

    async def process(self, job: Job, token: str) -> dict[str, Any]:
        """BullMQ's processor: deliver one notification, or put it back for later.

        Raises:
            DelayedError: it was put back.
            AttemptError: it failed in a way that nobody foresaw; the reconciler adds it again.
        """
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        notification_id = job.data["notification_id"]
        structlog.contextvars.bind_contextvars(notification=notification_id)
        try:
            wait_s = await self._deliver(notification_id)
        except _AWAY as error:
            log.warning("a part is not reachable, telling waits", error=type(error).__name__)
            wait_s = self._settings.notification_backoff_s
        except Exception as error:  # noqa: BLE001 - its text may quote an address, and BullMQ keeps it
            where = logs.places(error)
            log.error("notification failed", error=type(error).__name__, where=where)
            raise AttemptError("internal") from None
        finally:
            self._running.discard(task)
            structlog.contextvars.unbind_contextvars("notification")
        if wait_s is not None:
            due = int((clock.now().timestamp() + wait_s) * 1000)
            await job.moveToDelayed(due, token)
            raise DelayedError
        return {"notification_id": notification_id}

    async def _deliver(self, notification_id: str) -> float | None:
        """Deliver it; seconds to wait before the next try, or None when there is none."""
        pool = self._system.pool
        notification = await outbox.get(pool, notification_id)
        if notification is None:
            return None
        if notification.due_in_s > 0:  # added again while it waits
            return notification.due_in_s
        if notification.channel not in self._settings.notification_channels:
            return None  # this process isn't told where to; one that is will add it again
        try:
            await self._send(notification)
        except NotificationError as error:
            return await self._failed(notification, error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not be met without end
            where = logs.places(error)
            log.error("telling met a fault", error=type(error).__name__, where=where)
            return await self._failed(notification, NotificationError(UNFORESEEN))
        await outbox.note_delivered(pool, notification)
        _count(notification, "delivered")
        log.info("told", kind=notification.kind, channel=notification.channel)
        return None

    async def _send(self, notification: Notification) -> None:
        if not notification.is_current:
            raise NotificationRefusedError("The upload was retried since; its next end is told.")
        if notification.channel == "email":
            await mail.send(self._settings, notification)
        else:
            await webhook.send(self._settings, notification)

    async def _failed(self, notification: Notification, error: NotificationError) -> float | None:
        pool, tries = self._system.pool, notification.tries + 1
        is_last = tries >= self._settings.notification_attempts
        if is_last or isinstance(error, NotificationRefusedError):
            await outbox.give_up(pool, notification, error)
            _count(notification, "given_up")
            log.error("not told, given up", code=error.code, reason=error.message, tries=tries)
            return None
        wait_s = max(self._pause_s(tries), error.wait_s)
        await outbox.postpone(pool, notification, error, wait_s=wait_s)
        _count(notification, "postponed")
        log.warning("not told yet", code=error.code, reason=error.message, wait_s=round(wait_s))
        return wait_s

    def _pause_s(self, tries: int) -> float:
        """The pause after so many tries, a little longer by chance: not all at one moment."""
        pause_s = self._settings.notification_backoff_s * FACTOR ** (tries - 1)
        return float(min(pause_s, LONGEST_PAUSE_S) * random.uniform(1, 1.1))  # noqa: S311

    async def _shut_down(self) -> None:
        if self._running:
            grace_s = self._settings.shutdown_grace_s
            _, late = await asyncio.wait(set(self._running), timeout=grace_s)
            for task in late:  # it is still in the outbox, and sent again
                task.cancel()

    def _make_worker(self, client: Redis) -> OneCallWorker:
        return OneCallWorker(
            self._settings.notification_queue_name,
            self.process,
            options(self._settings, client, name=self._name, concurrency=CONCURRENCY),
        )


def _count(notification: Notification, result: str) -> None:
    metrics.NOTIFICATIONS.labels(channel=notification.channel, result=result).inc()
