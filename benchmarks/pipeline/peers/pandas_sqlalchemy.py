"""pandas with openpyxl, rows cleaned one by one, SQLAlchemy's upsert, a report by openpyxl."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - SQLAlchemy reads the annotations
import json
import sys
import time
from decimal import Decimal  # noqa: TC003 - the same
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter
from rows import InvalidRowError, clean, field_of
from sqlalchemy import create_engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FILLS = {
    "inserted": PatternFill("solid", fgColor="FFE2F0D9"),
    "updated": PatternFill("solid", fgColor="FFDDEBF7"),
    "invalid": PatternFill("solid", fgColor="FFF8CBAD"),
    "duplicate": PatternFill("solid", fgColor="FFFFE699"),
}
ADDED = [
    "IEC Registered", "IEC Ward", "IEC VD Code", "Already Exists", "Existing Member Name",
    "Existing Ward", "Existing VD", "Outcome", "Problems",
]  # fmt: skip
BATCH = 1000


class Base(DeclarativeBase):
    """Tables."""


class Member(Base):
    """A member."""

    __tablename__ = "plain_members"
    id_number: Mapped[str] = mapped_column(primary_key=True)
    firstname: Mapped[str | None]
    surname: Mapped[str | None]
    date_of_birth: Mapped[dt.date | None]
    gender: Mapped[str | None]
    citizenship: Mapped[str | None]
    race: Mapped[str | None]
    language: Mapped[str | None]
    cell_number: Mapped[str | None]
    landline_number: Mapped[str | None]
    email: Mapped[str | None]
    residential_address: Mapped[str | None]
    occupation: Mapped[str | None]
    qualification: Mapped[str | None]
    province: Mapped[str | None]
    region: Mapped[str | None]
    municipality: Mapped[str | None]
    ward: Mapped[str | None]
    voting_station: Mapped[str | None]
    voting_district: Mapped[str | None]
    date_joined: Mapped[dt.date | None]
    last_payment: Mapped[dt.date | None]
    expiry_date: Mapped[dt.date | None]
    subscription: Mapped[str | None]
    membership_amount: Mapped[Decimal | None]
    status: Mapped[str | None]


def judge(records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The rows to merge, and of every row its outcome so far and its problem or ID number."""
    good: list[dict[str, Any]] = []
    verdicts: list[tuple[str, str]] = []
    seen: set[str] = set()
    for record in records:
        try:
            values = clean(record)
        except InvalidRowError as error:
            verdicts.append(("invalid", str(error)))
            continue
        number = values["id_number"]
        verdicts.append(("duplicate" if number in seen else "valid", number))
        if number not in seen:
            seen.add(number)
            good.append(values)
    return good, verdicts


def merge(session: Session, good: list[dict[str, Any]]) -> dict[str, Any]:
    """Insert or update; what is known of those who existed comes back."""
    existing: dict[str, Any] = {}
    for rows in _batches(good):
        wanted = select(
            Member.id_number, Member.firstname, Member.surname, Member.ward, Member.voting_district
        ).where(Member.id_number.in_([row["id_number"] for row in rows]))
        existing.update((found.id_number, found) for found in session.execute(wanted))
    statement = insert(Member)
    upsert = statement.on_conflict_do_update(
        index_elements=["id_number"],
        set_={
            column.name: statement.excluded[column.name]
            for column in Member.__table__.columns
            if column.name != "id_number"
        },
    )
    for rows in _batches(good):
        session.execute(upsert, rows)
    session.commit()
    return existing


def write_report(
    path: str, frame: pd.DataFrame, verdicts: Sequence[tuple[str, str]], existing: dict[str, Any]
) -> dict[str, int]:
    """Seven sheets, a colour for each row."""
    book = Workbook(write_only=True)
    summary = book.create_sheet("Summary")
    headers = ["Row", *(str(name) for name in frame.columns), *ADDED]
    sheets = {
        name: _sheet(book, name, headers)
        for name in (
            "All Uploaded Rows", "Invalid IDs", "Duplicates", "Not Registered Voters",
            "New Members", "Existing Members (Updated)",
        )
    }  # fmt: skip
    places = {
        "invalid": "Invalid IDs",
        "duplicate": "Duplicates",
        "inserted": "New Members",
        "updated": "Existing Members (Updated)",
    }
    counts = dict.fromkeys(FILLS, 0)
    originals = frame.itertuples(index=False, name=None)
    for number, (cells, (verdict, about)) in enumerate(zip(originals, verdicts, strict=True), 2):
        member = existing.get(about)
        outcome = verdict if verdict != "valid" else "updated" if member else "inserted"
        counts[outcome] += 1
        known = (
            [f"{member.firstname} {member.surname}", member.ward, member.voting_district]
            if member
            else [None] * 3
        )
        problem = about if verdict == "invalid" else None
        added = ["not asked", None, None, "Yes" if member else "No", *known, outcome, problem]
        row = [number, *(None if cell != cell else cell for cell in cells), *added]  # noqa: PLR0124
        for sheet in (sheets["All Uploaded Rows"], sheets[places[outcome]]):
            sheet.append(_coloured(sheet, row, FILLS[outcome]))
    for outcome, count in counts.items():
        summary.append([outcome, count])
    book.save(path)
    return counts


def _sheet(book: Workbook, name: str, headers: list[str]) -> Any:
    sheet = book.create_sheet(name)
    sheet.freeze_panes = "A2"
    for column in range(1, len(headers) + 1):
        sheet.column_dimensions[get_column_letter(column)].width = 16
    titles = []
    for header in headers:
        title = WriteOnlyCell(sheet, value=header)
        title.font, title.fill = Font(bold=True), PatternFill("solid", fgColor="FFBFBFBF")
        titles.append(title)
    sheet.append(titles)
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(headers))}1"
    return sheet


def _coloured(sheet: Any, row: list[Any], fill: PatternFill) -> Iterator[Any]:
    for value in row:
        cell = WriteOnlyCell(sheet, value=value)
        cell.fill = fill
        yield cell


def _batches(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


def main(source: str, report: str) -> None:
    """Do it all and print what it took."""
    times = [time.perf_counter()]
    frame = pd.read_excel(source, dtype=object)
    times.append(time.perf_counter())
    known = frame.rename(columns={name: field_of(name) or name for name in frame.columns})
    good, verdicts = judge(known.to_dict("records"))
    times.append(time.perf_counter())
    with Session(create_engine("postgresql+psycopg://")) as session:
        existing = merge(session, good)
    times.append(time.perf_counter())
    counts = write_report(report, frame, verdicts, existing)
    times.append(time.perf_counter())
    took = [round(after - before, 3) for before, after in pairwise(times)]
    stages = dict(zip(("read", "validate", "merge", "report"), took, strict=True))
    sys.stdout.write(json.dumps({"stages": stages, "outcomes": counts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
