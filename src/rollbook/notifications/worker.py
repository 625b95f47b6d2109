"""Delivers notifications that are due, in each worker process."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import structlog

from rollbook.errors import NotificationError, NotificationRefusedError
from rollbook.notifications import mail, outbox, webhook, webhooks
from rollbook.service.due import work_on_due
from rollbook.telemetry import logs, metrics

if TYPE_CHECKING:
    import asyncio

    from rollbook.notifications.outbox import Notification
    from rollbook.service.system import System

#: Deliveries at a time in each worker process.
CONCURRENCY: Final = 4
#: The factor by which the back-off grows, and the longest one in seconds.
FACTOR, LONGEST_BACKOFF_S = 3, 12 * 3600.0
#: Seconds by which a claim outlasts the longest delivery.
LEASE_MARGIN_S: Final = 15.0
UNFORESEEN = "Delivery failed unexpectedly. The operator's log has the details."

log = structlog.get_logger(__name__)


async def deliver_due(system: System, stop: asyncio.Event) -> None:
    """Deliver notifications until ``stop`` is set; deliveries under way get the grace period.

    A delivery that was cut off is made again when its claim ends.
    """
    settings = system.settings
    lease_s = mail.patience_s(settings) + LEASE_MARGIN_S

    async def claim() -> Notification | float:
        channels = settings.notification_channels
        if (found := await outbox.claim(system.pool, channels, lease_s=lease_s)) is not None:
            return found
        return await outbox.next_look_in_s(system.pool, channels)

    async def deliver(notification: Notification) -> None:
        with structlog.contextvars.bound_contextvars(notification=notification.id):
            await _deliver(system, notification)

    await work_on_due(
        stop,
        claim,
        deliver,
        concurrency=CONCURRENCY,
        grace_s=settings.shutdown_grace_s,
        service="notifications",
    )


async def _deliver(system: System, notification: Notification) -> None:
    """Deliver a claimed notification, postpone it or give it up."""
    try:
        status = await _send(system, notification)
    except NotificationError as error:
        await _failed(system, notification, error)
    except Exception as error:  # noqa: BLE001 - counts as a try, so that it isn't met for ever
        where = logs.places(error)
        log.error("delivery failed unexpectedly", error=type(error).__name__, where=where)
        await _failed(system, notification, NotificationError(UNFORESEEN))
    else:
        await outbox.note_delivered(system.pool, notification, status)
        _count(notification, "delivered")
        log.info("notification delivered", kind=notification.kind, channel=notification.channel)


async def _send(system: System, notification: Notification) -> int | None:
    """Send it, and return the status of a webhook's answer."""
    if not notification.is_current:
        raise NotificationRefusedError("The upload was retried since; its next end is reported.")
    if notification.channel == "email":
        await mail.send(system.settings, notification)
        return None
    if notification.webhook_id is None:
        target = webhook.of_settings(system.settings)
    else:
        target = await webhooks.target(system, notification.webhook_id)
    return await webhook.send(system.settings, target, notification)


async def _failed(system: System, notification: Notification, error: NotificationError) -> None:
    tries = notification.tries + 1
    is_last = tries >= system.settings.notification_attempts
    if is_last or isinstance(error, NotificationRefusedError):
        await outbox.give_up(system.pool, notification, error)
        _count(notification, "given_up")
        log.error("delivery failed", code=error.code, reason=error.message, tries=tries)
        return
    wait_s = max(_backoff_s(system.settings.notification_backoff_s, tries), error.wait_s)
    await outbox.postpone(system.pool, notification, error, wait_s=wait_s)
    _count(notification, "postponed")
    log.warning("delivery postponed", code=error.code, reason=error.message, wait_s=round(wait_s))


def _backoff_s(first_s: float, tries: int) -> float:
    """The pause after so many tries, up to a tenth longer at random to spread the retries."""
    backoff_s = min(first_s * FACTOR ** (tries - 1), LONGEST_BACKOFF_S)
    return float(backoff_s * random.uniform(1, 1.1))  # noqa: S311


def _count(notification: Notification, result: str) -> None:
    metrics.NOTIFICATIONS.labels(channel=notification.channel, result=result).inc()
