"""``rollbook doctor``: checks what Rollbook runs on, and says what to do."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table

from rollbook import config
from rollbook.cli.output import JsonOption, out, print_json
from rollbook.cli.session import named_or_running, settings_for
from rollbook.errors import NotificationError
from rollbook.notifications import mail
from rollbook.service.doctor import examine
from rollbook.service.doctor_settings import settings_findings
from rollbook.service.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.config import Settings

#: Seconds for a connection to the voter roll.
CONNECT_S = 10.0
_COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor(*, as_json: JsonOption = False) -> None:
    """Check servers, file store, mail, voter roll and settings, and say what to do.

    Nothing is changed but a small file in the store, which is removed at once. The exit code is 1
    when something has to be done.
    """
    settings = settings_for("doctor")
    findings = [
        *_unknown_settings(),
        *settings_findings(settings),
        *_examine(settings),
        *_mail(settings),
        *_voter_roll(settings),
    ]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _examine(settings: Settings) -> list[Finding]:
    named = named_or_running(settings)
    if named is None:
        return [
            Finding(
                "engines",
                "connection",
                "error",
                f"no addresses are set, and none run in {settings.data_dir.resolve()}",
                "Start `rollbook up` there first, or set DATABASE_URL and REDIS_URL.",
            )
        ]
    return asyncio.run(examine(named))


def _unknown_settings() -> Iterator[Finding]:
    for name, nearest in config.unknown_names().items():
        remedy = f"Did you mean {nearest}?" if nearest else "Remove it, or correct its name."
        yield Finding("settings", name, "warning", "not a setting of this version", remedy)


def _mail(settings: Settings) -> Iterator[Finding]:
    if "email" not in settings.notification_channels:
        yield Finding(
            "mail server",
            "sign-in",
            "ok",
            "none is set, so no mail is sent",
            "For mails set ROLLBOOK_SMTP_HOST (docs/how-to/notifications.md).",
        )
        return
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        mail.sign_in(settings)
    except NotificationError as error:
        remedy = "Are the ROLLBOOK_SMTP_* settings right?"
        yield Finding("mail server", "sign-in", "error", f"{where}: {error.message}", remedy)
    else:
        yield Finding("mail server", "sign-in", "ok", where)


def _voter_roll(settings: Settings) -> Iterator[Finding]:
    if not settings.asks_voter_roll or settings.voter_roll_url is None:
        return
    address = urlsplit(str(settings.voter_roll_url))
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    try:
        # No question is asked: each counts against the budget.
        with socket.create_connection((host, port), timeout=CONNECT_S):
            pass
    except OSError as error:
        remedy = "Is ROLLBOOK_VOTER_ROLL_URL right, and may this machine connect to it?"
        yield Finding("voter roll", "connection", "error", f"{host}:{port}: {error}", remedy)
    else:
        yield Finding("voter roll", "connection", "ok", f"{host}:{port}")


def _show(findings: list[Finding]) -> None:
    table = Table("", "part", "check", "found", "what to do")
    for one in findings:
        colour = _COLOURS[one.level]
        table.add_row(
            f"[{colour}]{one.level}[/]",
            *(escape(text) for text in (one.part, one.check, one.found, one.remedy)),
        )
    out.print(table)
    errors = sum(one.level == "error" for one in findings)
    out.print(f"{errors} to correct." if errors else "Nothing has to be corrected.")
