"""A notification as an e-mail to the uploader."""

from __future__ import annotations

import smtplib
import ssl
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

import anyio.to_thread

from rollbook.errors import NotificationError, NotificationRefusedError, title_of

if TYPE_CHECKING:
    from rollbook.config import Settings
    from rollbook.notifications.outbox import Notification

#: How the mail calls each outcome.
_OUTCOMES = {
    "inserted": "new members",
    "updated": "changed members",
    "unchanged": "members without a change",
    "invalid": "refused: invalid",
    "duplicate": "refused: repeats another row",
    "out_of_scope": "refused: of another office",
}
_REFUSED = ("invalid", "duplicate", "out_of_scope")


async def send(settings: Settings, notification: Notification) -> None:
    """Hand the mail to the mail server.

    Raises:
        NotificationRefusedError: the server takes no mail for this address.
        NotificationError: it takes none now, or isn't reachable.
    """
    message = compose(settings, notification)
    # smtplib blocks; a thread of its own has no part in what the event loop does.
    await anyio.to_thread.run_sync(_hand_over, settings, message, abandon_on_cancel=True)


def _hand_over(settings: Settings, message: EmailMessage) -> None:
    assert settings.smtp_host is not None
    host, port, timeout_s = settings.smtp_host, settings.smtp_port, settings.notification_timeout_s
    context = ssl.create_default_context()
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
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        if all(code >= 500 for code in codes):
            raise NotificationRefusedError(
                f"The mail server takes no mail for the uploader's address ({codes[0]})."
            ) from None
        raise NotificationError(f"The mail server takes no mail now ({codes[0]}).") from None
    except smtplib.SMTPResponseException as error:
        # Its words may quote an address: the log gets the number.
        raise NotificationError(
            f"The mail server refused with {error.smtp_code} ({type(error).__name__})."
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotificationError(
            f"The mail server {host}:{port} can't be used ({type(error).__name__})."
        ) from None


def compose(settings: Settings, notification: Notification) -> EmailMessage:
    """The mail: counts and a link, and nothing of a member.

    Raises:
        NotificationRefusedError: the account's address is none.
    """
    assert settings.smtp_from is not None
    subject, lines = _words(notification)
    if settings.public_url is not None:
        lines += ["", f"Look at it: {link(settings.public_url, notification)}"]
    lines += ["", f"Job {notification.upload_id}", "", "-- ", "Rollbook sends this by itself."]
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = Address("Rollbook", addr_spec=settings.smtp_from)
    message["To"] = _recipient(notification.email)
    message["Date"] = format_datetime(notification.ended_at)
    domain = settings.smtp_from.rpartition("@")[2]
    message["Message-ID"] = f"<{notification.id}@{domain}>"
    # So that no holiday notice answers it (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(lines) + "\n")
    return message


def _recipient(email: str) -> Address:
    """The uploader's address; one with a line break in it would be another header."""
    try:
        return Address(addr_spec=email)
    except (ValueError, MessageError):
        raise NotificationRefusedError(
            "The uploader's address is none that a mail can go to."
        ) from None


def link(public_url: str, notification: Notification) -> str:
    """Where the page shows the upload; its id stands behind the #, which no server's log sees."""
    return f"{public_url}/#/uploads/{notification.upload_id}"


def _words(notification: Notification) -> tuple[str, list[str]]:
    """Subject and text."""
    sent = f"Your file of {notification.sent_at:%Y-%m-%d %H:%M} UTC"
    match notification.kind:
        case "completed":
            return _completed(notification, sent)
        case "failed":
            title = title_of(notification.error_code or "")
            return "Your upload failed", [
                f"{sent} could not be taken in: {title}.",
                "Nothing of it was merged. The page says what to do.",
            ]
        case "cancelled":
            return "Your upload was cancelled", [
                f"{sent} was cancelled by an operator. Nothing of it was merged.",
                "Ask why, and send it again if it is still wanted.",
            ]
        case "verified":
            return "The voter roll has answered about your upload", [
                f"The voter roll has answered about everybody in it. {sent} has a new report.",
                "",
                *_table(
                    {name.replace("_", " "): n for name, n in (notification.roll or {}).items()}
                ),
            ]


def _completed(notification: Notification, sent: str) -> tuple[str, list[str]]:
    total = notification.rows_total or 0
    refused = sum(notification.outcomes[name] for name in _REFUSED)
    lines = [f"{sent} is through: {total} rows were read.", ""]
    lines += _table({_OUTCOMES[name]: number for name, number in notification.outcomes.items()})
    if notification.is_dry_run:
        lines += ["", "This was a dry run: no member was changed."]
    if refused:
        lines += [
            "",
            f"{refused} rows were refused. The report says why; the refused rows alone can",
            "be downloaded, mended and sent again.",
        ]
    if notification.roll is not None and notification.roll["pending"]:
        pending = notification.roll["pending"]
        lines += ["", f"The voter roll is still being asked about {pending} people."]
    what = "dry run" if notification.is_dry_run else "upload"
    return f"Your {what} is through: {total - refused} of {total} rows taken in", lines


def _table(rows: dict[str, int]) -> list[str]:
    return [f"{number:>9}  {name}" for name, number in rows.items() if number]
