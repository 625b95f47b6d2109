"""One-time links by mail, sent while the administrator waits.

They don't go through the outbox: it is in the database, where only the hash of a link may be.
"""

from __future__ import annotations

import asyncio
from textwrap import wrap
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from rollbook import clock
from rollbook.accounts import audit
from rollbook.errors import NotificationError
from rollbook.languages import phrase, speaking
from rollbook.notifications import mail
from rollbook.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollbook.accounts.links import Link
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

#: Mails of a list that are sent at a time. As many failures in a row end the sending: the server is
#: away, and each further mail would wait for it.
AT_A_TIME: Final = 5

log = structlog.get_logger(__name__)


def is_possible(settings: Settings) -> bool:
    """Is there a mail server, and an address of the page to send?"""
    return (
        settings.notifications_enabled
        and settings.smtp_host is not None
        and settings.public_url is not None
    )


async def send(system: System, by: User, email: str, link: Link) -> str | None:
    """Send a link to the account's address.

    No error leaves this function: the link is nowhere but in the answer of the caller.

    Returns:
        Why it wasn't sent, or isn't in the audit trail; None: the mail server has accepted it.
    """
    settings = system.settings
    if not is_possible(settings):
        return (
            "Mail isn't configured (ROLLBOOK_SMTP_HOST and ROLLBOOK_PUBLIC_URL). Send the link "
            "yourself."
        )
    try:
        with speaking(link.language or settings.language):
            text = _words(settings, by, link)
            message = mail.written(settings, email, uuid4().hex, text, clock.now())
        await mail.submit(settings, message, timeout_s=settings.notification_timeout_s)
    except NotificationError as error:
        log.warning("link not mailed", kind=link.kind, code=error.code, reason=error.message)
        return f"{error.message} Send the link yourself."
    except Exception as error:  # noqa: BLE001 - the link would be lost with the answer
        kind = type(error).__name__
        log.error("link not mailed", kind=link.kind, error=kind, where=logs.places(error))
        return f"The mail could not be made or sent ({kind}). Send the link yourself."
    try:
        await audit.record(system.pool, "link_mail", who=by, about=email)
    except Exception as error:  # noqa: BLE001 - as above
        kind = type(error).__name__
        log.error(
            "mail of a link not audited", kind=link.kind, error=kind, where=logs.places(error)
        )
        return (
            f"The mail was sent, but the audit trail could not be written ({kind}). If it doesn't "
            "arrive, send the link yourself."
        )
    log.info("link mailed", kind=link.kind)
    return None


async def send_all(system: System, by: User, links: Sequence[tuple[str, Link]]) -> list[str | None]:
    """Send the links of a list to their addresses, within ROLLBOOK_INVITATIONS_MAIL_S.

    Returns:
        For each, what ``send`` returns. A mail that isn't sent in that time has a sentence too.
    """
    answers: list[str | None] = [
        "Mailing the links of the list took too long. Send the link yourself; it may have arrived."
    ] * len(links)
    waiting = iter(enumerate(links))
    failed_in_a_row = 0

    async def sends() -> None:
        nonlocal failed_in_a_row
        for place, (email, link) in waiting:
            if failed_in_a_row >= AT_A_TIME:
                answers[place] = (
                    "The mails before this one failed, so it was not tried. Send the link yourself."
                )
                continue
            answers[place] = await send(system, by, email, link)
            failed_in_a_row = 0 if answers[place] is None else failed_in_a_row + 1

    try:
        async with asyncio.timeout(system.settings.invitations_mail_s):
            await asyncio.gather(*(sends() for _ in range(AT_A_TIME)))
    except TimeoutError:
        log.warning("links of a list not mailed in time", links=len(links))
    return answers


def _words(settings: Settings, by: User, link: Link) -> tuple[str, list[str]]:
    """Subject and text."""
    until = clock.in_words(link.expires_at, settings.time_zone)
    return phrase(f"mail.link.{link.kind}.subject"), [
        phrase(f"mail.link.{link.kind}.text", by=by.email),
        "",
        link.address,
        "",
        *wrap(phrase("mail.link.until", until=until), mail.WIDTH),
    ]
