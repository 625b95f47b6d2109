"""A notification as an e-mail to the uploader."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from textwrap import wrap
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from rollbook import clock
from rollbook.errors import NotificationError, NotificationRefusedError, title_of
from rollbook.languages import phrase, speaking, spoken
from rollbook.masking import masked, visible
from rollbook.model import REFUSED

if TYPE_CHECKING:
    import datetime as dt

    from rollbook.config import Settings
    from rollbook.notifications.outbox import Notification

#: Characters of a file's name in a mail.
MOST_NAME_CHARS: Final = 80
#: A mail takes several exchanges, each limited by ROLLBOOK_NOTIFICATION_TIMEOUT_S. All of them
#: together are limited by this multiple of it.
TIMEOUTS: Final = 4
#: Characters of a line, at which a longer sentence is broken.
WIDTH: Final = 78


def patience_s(settings: Settings) -> float:
    """Seconds after which ``send`` has ended, with or without success."""
    return settings.notification_timeout_s * TIMEOUTS


async def send(settings: Settings, notification: Notification) -> None:
    """Send the notification through the mail server.

    Raises:
        NotificationRefusedError: the server refuses the recipient for good.
        NotificationError: the server refuses mail for now, is slow or can't be reached.
    """
    await submit(settings, compose(settings, notification), timeout_s=patience_s(settings))


async def submit(settings: Settings, message: EmailMessage, *, timeout_s: float) -> None:
    """Hand a message to the mail server, within so many seconds.

    Raises:
        What ``send`` raises.
    """
    try:
        async with asyncio.timeout(timeout_s):
            # smtplib blocks, so it gets a thread of its own.
            await anyio.to_thread.run_sync(_submit, settings, message, abandon_on_cancel=True)
    except TimeoutError:
        raise NotificationError("The mail server took too long.") from None


def sign_in(settings: Settings) -> None:
    """Connect to the mail server and sign in, without sending anything.

    Raises:
        NotificationError: that isn't possible.
    """
    _submit(settings, None)


def _submit(settings: Settings, message: EmailMessage | None) -> None:
    assert settings.smtp_host is not None
    host, port, timeout_s = settings.smtp_host, settings.smtp_port, settings.notification_timeout_s
    # Loading the certificates takes 20 ms of a processor.
    context = ssl.create_default_context() if settings.smtp_tls != "none" else None
    try:
        if settings.smtp_tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=timeout_s)
        with server:
            if settings.smtp_tls == "starttls":
                server.starttls(context=context)
            if settings.smtp_username is not None and settings.smtp_password is not None:
                server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
            if message is not None:
                server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        if all(code >= 500 for code in codes):
            raise NotificationRefusedError(
                f"The mail server refuses the recipient's address ({codes[0]})."
            ) from None
        raise NotificationError(f"The mail server accepts no mail now ({codes[0]}).") from None
    except smtplib.SMTPResponseException as error:
        # The reply's text may quote an address, so only its code is logged.
        raise NotificationError(
            f"The mail server refused with {error.smtp_code} ({type(error).__name__})."
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotificationError(
            f"The mail server {host}:{port} can't be used ({type(error).__name__})."
        ) from None


def compose(settings: Settings, notification: Notification) -> EmailMessage:
    """The mail: the file's name, counts and a link, no personal data.

    Raises:
        NotificationRefusedError: the account's address is not a mail address.
    """
    with speaking(notification.language or settings.language):
        subject, lines = _words(notification, settings.time_zone)
        if settings.public_url is not None:
            lines += ["", phrase("mail.details", link=link(settings.public_url, notification))]
        lines += ["", phrase("mail.job", id=notification.upload_id)]
        to, number, text = notification.email, notification.id, (subject, lines)
        return written(settings, to, number, text, notification.ended_at)


def written(
    settings: Settings, email: str, number: str, text: tuple[str, list[str]], at: dt.datetime
) -> EmailMessage:
    """A mail with this text, in the language that is spoken.

    Raises:
        NotificationRefusedError: the account's address is not a mail address.
    """
    assert settings.smtp_from is not None
    message = EmailMessage()
    message["From"] = Address("Rollbook", addr_spec=settings.smtp_from)
    message["To"] = _recipient(email)
    domain = settings.smtp_from.rpartition("@")[2]
    message["Message-ID"] = f"<{number}@{domain}>"
    # Suppresses automatic replies (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message["Subject"], lines = text
    message["Date"] = format_datetime(at)
    message.set_content("\n".join([*lines, "", "-- ", phrase("mail.automatic")]) + "\n")
    message["Content-Language"] = spoken()
    return message


def _recipient(email: str) -> Address:
    """The recipient's address; ``Address`` refuses line breaks, which would add a header."""
    try:
        return Address(addr_spec=email)
    except (ValueError, MessageError):
        raise NotificationRefusedError("The recipient's address is not a mail address.") from None


def link(public_url: str, notification: Notification) -> str:
    """The page's address of the upload; the id is in the fragment, which no server logs."""
    return f"{public_url}/#/uploads/{notification.upload_id}"


def _file(notification: Notification) -> str:
    """The file's name as a mail may show it: on one line, without ID numbers, not too long."""
    name = " ".join(masked(visible(notification.file_name)).split())
    return name if len(name) <= MOST_NAME_CHARS else f"{name[: MOST_NAME_CHARS - 1]}\u2026"


def _words(notification: Notification, zone: str) -> tuple[str, list[str]]:
    """Subject and text."""
    name = _file(notification)
    sent = phrase("mail.sent", file=name, moment=clock.in_words(notification.sent_at, zone))
    match notification.kind:
        case "completed":
            return _completed(notification, name, sent)
        case "failed":
            title = title_of(notification.error_code or "")
            lines = [phrase("mail.failed.text", sent=sent, title=title), phrase("mail.failed.next")]
        case "cancelled":
            lines = [phrase("mail.cancelled.text", sent=sent), phrase("mail.cancelled.next")]
        case "verified":
            roll = notification.roll or {}
            lines = [phrase("mail.verified.text", sent=sent), ""]
            lines += _table({phrase(f"mail.roll.{result}"): n for result, n in roll.items()})
    return phrase(f"mail.{notification.kind}.subject", file=name), lines


def _completed(notification: Notification, name: str, sent: str) -> tuple[str, list[str]]:
    total = notification.rows_total or 0
    refused = sum(notification.outcomes[name] for name in REFUSED)
    lines = [phrase("mail.completed.text", sent=sent, n=total), ""]
    lines += _table(
        {phrase(f"mail.outcome.{name}"): number for name, number in notification.outcomes.items()}
    )
    if notification.is_dry_run:
        lines += ["", phrase("mail.dry_run")]
    if refused:
        lines += ["", *wrap(phrase("mail.refused", n=refused), WIDTH)]
    if notification.rows_with_warnings:
        lines += ["", phrase("mail.warnings", n=notification.rows_with_warnings)]
    if notification.roll is not None and notification.roll["pending"]:
        lines += ["", phrase("mail.roll.still_pending", n=notification.roll["pending"])]
    key = "mail.completed.subject.dry_run" if notification.is_dry_run else "mail.completed.subject"
    return phrase(key, file=name, n=total, accepted=total - refused), lines


def _table(rows: dict[str, int]) -> list[str]:
    return [f"{number:>9}  {name}" for name, number in rows.items() if number]
