"""Reports of the members: how many there are by place, status, expiry and month; shared phones."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rollbook.accounts import audit
from rollbook.backends.database import fetch_all, fetch_one, queries
from rollbook.members import search
from rollbook.service import clocks

if TYPE_CHECKING:
    from rollbook.model import User
    from rollbook.service.system import System

#: The fields that members are counted by.
FIELDS: Final = ("province", "municipality", "ward", "status")
#: Values of a field that the page and the API show; the workbook has all.
MOST_VALUES: Final = 100
MONTHS: Final = 12
#: Members who share a phone number, from which on it is listed; and numbers that are listed.
LEAST_SHARED: Final = 2
MOST_PHONES: Final = 1_000
_EXPIRY_IN_WORDS: Final = {
    "expired": "Expired",
    "within_30": "Within 30 days",
    "within_60": "In 30 to 59 days",
    "within_90": "In 60 to 89 days",
    "later": "Later",
    "unknown": "No expiry date",
}

_SQL = queries("member_report")


@dataclass(frozen=True, slots=True)
class Report:
    """How many members there are, by what."""

    #: The day that it is of, in South Africa.
    today: dt.date
    members: int
    #: Value and members by field, the most first; None is the value of those without one.
    by_field: dict[str, list[tuple[str | None, int]]]
    #: Members by when their membership ends; see ``_EXPIRY_IN_WORDS``.
    expiring: dict[str, int]
    #: The month's first day, members who joined in it, and who renewed.
    by_month: list[tuple[dt.date, int, int]]
    #: Number and members.
    shared_phones: list[tuple[str, int]]
    #: How many numbers are shared, those beyond the list too.
    phones_found: int


async def read(system: System, user: User) -> Report:
    """The report of the reader's scope.

    Raises:
        ServerLimitError: it takes longer than ROLLBOOK_MEMBERS_TIMEOUT_S.
    """
    today = await clocks.today(system.pool)
    asked: dict[str, Any] = {
        "today": today,
        "months": MONTHS,
        "least": LEAST_SHARED,
        "most": MOST_PHONES,
        **user.scope.parameters(),
    }
    async with search.bounded(system) as connection:
        counted = await fetch_all(connection, _SQL["by_field"], asked)
        expiring = await fetch_one(connection, _SQL["expiring"], asked)
        months = await fetch_all(connection, _SQL["by_month"], asked)
        phones = await fetch_all(connection, _SQL["shared_phones"], asked)
    by_field: dict[str, list[tuple[str | None, int]]] = {name: [] for name in FIELDS}
    members = 0
    for row in counted:
        if row["field"] == "all":
            members = row["members"]
        else:
            by_field[row["field"]].append((row["value"], row["members"]))
    return Report(
        today=today,
        members=members,
        by_field=by_field,
        expiring=dict(expiring or {}),
        by_month=[(row["month"], row["joined"], row["renewed"]) for row in months],
        shared_phones=[(row["phone"], row["members"]) for row in phones],
        phones_found=phones[0]["found"] if phones else 0,
    )


async def workbook(system: System, user: User) -> bytes:
    """The same as a workbook, which isn't stored; the download is audited.

    Raises:
        ServerLimitError: it takes longer than ROLLBOOK_MEMBERS_TIMEOUT_S.
    """
    report = await read(system, user)
    content = await asyncio.to_thread(_written, report)
    await audit.record(
        system.pool, "download_members_report", who=user, about=f"{report.members} members"
    )
    return content


def _written(report: Report) -> bytes:
    # With the first one, since it takes a third of a second and 40 MB.
    from rollbook.spreadsheets.workbook import (  # noqa: PLC0415
        AnyCell,
        BarChart,
        Cell,
        Look,
        WorkbookWriter,
    )

    def table(*titles: str) -> list[list[AnyCell]]:
        return [[Cell(title, Look.HEADER) for title in titles]]

    at = dt.datetime.combine(report.today, dt.time(), tzinfo=dt.UTC)
    with tempfile.TemporaryDirectory(prefix="rollbook-") as folder:
        path = Path(folder) / "members.xlsx"
        with WorkbookWriter(path, title="Members", fills={}, created=at) as book:
            ends = [(words, report.expiring[name]) for name, words in _EXPIRY_IN_WORDS.items()]
            rows = table("Membership ends", "Members") + [[words, n] for words, n in ends]
            chart = BarChart(
                "Members by the end of their membership", 2, len(ends) + 1, "A", "B", ends,
                ((3, 1), (10, 16)),
            )  # fmt: skip
            rows += [[], [Cell("Members", Look.LABEL), report.members]]
            rows += [[Cell("Day", Look.LABEL), report.today.isoformat()]]
            book.add_cells("Summary", rows, chart=chart)
            for name, counts in report.by_field.items():
                title = name.capitalize()
                rows = table(title, "Members")
                rows += [[Cell(value or "(none)", Look.INERT), n] for value, n in counts]
                book.add_cells(title, rows)
            rows = table("Month", "Joined", "Renewed")
            rows += [[f"{month:%Y-%m}", *counts] for month, *counts in report.by_month]
            book.add_cells("Months", rows)
            rows = table("Phone number", "Members")
            rows += [[Cell(phone, Look.INERT), n] for phone, n in report.shared_phones]
            if report.phones_found > len(report.shared_phones):
                rows.append([f"{report.phones_found:,} numbers are shared; these are the most."])
            book.add_cells("Shared phones", rows)
        return path.read_bytes()
