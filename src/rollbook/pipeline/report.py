"""Report: one workbook with every row's outcome, and one with only the refused rows."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl

from rollbook import clock
from rollbook.model import REFUSED
from rollbook.pipeline.changes import changes_table
from rollbook.pipeline.columns import (
    ERRORS,
    SENT_ROW,
    USE_ROW,
    own,
    sent_place,
    unique_headers,
    variants,
)
from rollbook.pipeline.problems import described, sentence
from rollbook.pipeline.read import MOST_NAME_CHARS, ROW_NUMBER
from rollbook.pipeline.reading import Reading
from rollbook.pipeline.report_tables import TablesKeeper
from rollbook.spreadsheets.workbook import MARKED, BarChart, Cell, Look, WorkbookWriter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rollbook.backends.database import Row
    from rollbook.pipeline.reading import How, SheetNotRead
    from rollbook.pipeline.tally import Tally
    from rollbook.spreadsheets.workbook import AnyCell
    from rollbook.spreadsheets.workbook.worksheet import CellValue

#: Row colours by outcome, as ARGB: light enough for black text.
FILLS = {
    "inserted": "FFE2F0D9",
    "updated": "FFDDEBF7",
    "unchanged": "FFF2F2F2",
    "invalid": "FFF8CBAD",
    "duplicate": "FFFFE699",
    "out_of_scope": "FFE4DFEC",
}

IN_WORDS = {
    "inserted": "New member",
    "updated": "Existing member, updated",
    "unchanged": "Existing member, nothing to change",
    "invalid": "Refused: invalid",
    "duplicate": "Refused: repeats another row",
    "out_of_scope": "Refused: belongs to another office",
}
#: The same for a list of members to remove, or to give another status.
_REMOVED_IN_WORDS = {"updated": "Member, removed", "unchanged": "Member, nothing to change"}
_STATUS_IN_WORDS = {**_REMOVED_IN_WORDS, "updated": "Member, status changed"}
_RENEWALS_IN_WORDS = {
    "new": "New members",
    "renewed": "Renewals (joined before the last payment)",
    "early": "Early renewals (paid before the membership had ended)",
    "expired": "Expired memberships",
}
EXISTING_IN_WORDS = {
    "update": "take what the file says",
    "fill": "only empty fields are filled",
    "skip": "stay as they are",
}

#: A row's verification result, as the column ``REGISTERED`` shows it.
ROLL_IN_WORDS = {
    "registered": "Yes",
    "other_ward": "Yes, in another ward",
    "without_district": "Yes, without a voting district",
    "not_registered": "No",
    "deceased": "Deceased",
    "international": "Yes, abroad",
    "pending": "Pending",
    "error": "Error: the roll gives no answer",
}
NOT_ASKED = "not asked"
#: Of a refused row: whether there is a member with its ID number.
NOT_LOOKED_UP = "not looked up"
#: The same after a number, in the summary; pending rows have their own text.
_COUNTED = {
    "registered": "registered in the ward of the file",
    "other_ward": "registered in another ward",
    "without_district": "registered without a voting district",
    "not_registered": "not registered",
    "deceased": "deceased",
    "international": "registered abroad",
    "error": "without an answer of the roll",
}

REGISTERED = "IEC Registered"
VOTER_ROLL = "Voter roll"
WRITTEN = "Report written"
#: The time zone of the report's times where none is given.
TIME_ZONE: Final = "Africa/Johannesburg"
ROW = "Row"
OUTCOME = "Outcome"
PROBLEMS = "Problems"
CHANGES = "Changes"
#: Of a row that repeats another with other values, and of one that has come back undecided.
UNDECIDED: Final = ("repeat_differs", "repeat_undecided")
_FILL = "__fill"
#: Names that a cell of the summary lists.
MOST_LISTED: Final = 50

_DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_HOW_IN_WORDS: Final[Mapping[How, str]] = {
    "given": " (as you said)",
    "remembered": " (as in an earlier upload)",
    "known": "",
    "tiers": "",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """The content of the summary."""

    #: The row of the table ``uploads``, with ``owner_email``.
    upload: Row
    sheet_name: str
    outcomes: dict[str, int]
    #: The number of rows with each problem.
    tally: Tally
    #: Seconds by stage, up to the report.
    seconds: dict[str, float]
    #: When the report was written.
    written: dt.datetime
    #: The sender asked for all rows or none, and some were refused.
    is_refused: bool = False
    #: Rows by verification result.
    roll: Mapping[str, int] = field(default_factory=dict)
    #: The reason why the roll isn't asked; None when it is.
    not_asked_because: str | None = "verification is switched off"
    #: How the file as a whole was read.
    reading: Reading = field(default_factory=Reading)
    #: New, renewed, early and expired members; None where the file has no dates.
    renewals: Mapping[str, int] | None = None
    #: Members who lose their value of a field on purpose, by field.
    emptied: Mapping[str, int] = field(default_factory=dict)
    #: In which times are given, by its name in the IANA database.
    time_zone: str = TIME_ZONE


@dataclass(frozen=True, slots=True)
class Files:
    """The workbooks, on local disk."""

    report: Path
    #: None when no row was refused.
    refused: Path | None
    #: The tables for rewriting the report when the voter roll's answers are in; None when
    #: no row waits for one.
    tables: Path | None = None


class ReportWriter:
    """Writes both workbooks: the rows first, batch by batch, and what is said of them at the end.

    A context manager; without ``finish`` no file is left.
    """

    def __init__(
        self,
        folder: Path,
        *,
        upload: Row,
        headers: Sequence[str],
        created: dt.datetime,
        keeps_tables: bool = False,
        asks_about_repeats: bool = False,
    ) -> None:
        """Begin both workbooks in a folder.

        ``keeps_tables`` keeps what the report is written from, because it will be written again.
        ``asks_about_repeats``: rows repeat others with other values, so the workbook of refused
        rows has a column that decides over them.
        """
        self._asks_about_repeats = asks_about_repeats
        self._words = _words_of(upload)
        self._keeper = TablesKeeper(folder) if keeps_tables else None
        self._headers = headers
        name = upload["file_name"]
        self._report_path = folder / "report.xlsx"
        self._refused_path = folder / "refused.xlsx"
        self._report = WorkbookWriter(
            self._report_path, title=f"Rollbook report: {name}", fills=FILLS, created=created
        )
        self._refused = WorkbookWriter(
            self._refused_path,
            title=f"Refused rows: {name}",
            fills={MARKED: FILLS["invalid"]},
            created=created,
        )

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            report = opened.enter_context(self._report)
            refused = opened.enter_context(self._refused)
            self._sheets = report.begin_tables(list(_PARTS), row_fill=_FILL)
            self._changes = report.begin_tables([CHANGES])
            self._refused_rows = refused.begin_tables(["Refused rows"])
            self._opened = opened.pop_all()
        self._is_finished = self._has_refused = False
        return self

    def __exit__(self, *raised: Any) -> None:
        self._opened.__exit__(*raised)
        if not self._is_finished:
            self._report_path.unlink(missing_ok=True)
        if not (self._is_finished and self._has_refused):
            self._refused_path.unlink(missing_ok=True)

    def add(self, rows: pl.DataFrame, lines: pl.DataFrame, problems: pl.DataFrame) -> None:
        """Write the next batch of rows.

        ``rows`` are as they were read: the row number and the file's own columns. ``lines`` are one
        for each row, with ``outcome``, ``duplicate_of`` and the columns of ``match.EXISTING`` and
        of ``verify.RESULTS``; ``problems`` are one line per problem.
        """
        table = _table(rows, self._headers, lines, problems, self._words)
        self._sheets.add(table, list(_PARTS.values()))
        changes = changes_table(lines)
        self._changes.add(changes)
        if self._keeper is not None:
            self._keeper.add(table, changes)
        refused = table.filter(pl.col(_FILL).is_in(REFUSED))
        self._has_refused = self._has_refused or refused.height > 0
        undecided = problems.filter(pl.col("code").is_in(UNDECIDED))[ROW_NUMBER]
        frame = _refused_rows(
            refused, self._headers, undecided if self._asks_about_repeats else None
        )
        self._refused_rows.add(frame, marks=_marks(refused, own(self._headers), problems))

    def finish(self, facts: Facts) -> Files:
        """Write what is said of all rows, and close both workbooks."""
        cells, chart = _summary(facts)
        self._report.add_cells("Summary", cells, chart=chart, first=True)
        self._is_finished = True
        self._opened.close()
        kept = self._keeper.finish(cells, chart) if self._keeper is not None else None
        return Files(self._report_path, self._refused_path if self._has_refused else None, kept)


def write_again(
    path: Path,
    tables: Iterator[pl.DataFrame],
    changes: Iterator[pl.DataFrame],
    *,
    cells: list[list[AnyCell]],
    chart: BarChart,
    upload: Row,
    written: dt.datetime,
) -> None:
    """Write only the report, from its stored tables, batch by batch.

    ``cells`` and ``chart`` make the summary; uploads of older versions have no ``changes``.
    """
    title = f"Rollbook report: {upload['file_name']}"
    with WorkbookWriter(path, title=title, fills=FILLS, created=written) as workbook:
        sheets = workbook.begin_tables(list(_PARTS), row_fill=_FILL)
        for table in tables:
            sheets.add(table, list(_PARTS.values()))
        if (first := next(changes, None)) is not None:
            changed = workbook.begin_tables([CHANGES])
            for frame in chain([first], changes):
                changed.add(frame)
        workbook.add_cells("Summary", cells, chart=chart, first=True)


def roll_columns() -> list[pl.Expr]:
    """The report's columns of the voter roll, from those of ``verify.RESULTS``."""
    return [
        pl.col("roll_result")
        .replace_strict(ROLL_IN_WORDS, default=NOT_ASKED, return_dtype=pl.String)
        .alias(REGISTERED),
        pl.col("roll_ward").alias("IEC Ward"),
        pl.col("roll_voting_district").alias("IEC VD Code"),
    ]


def roll_in_words(counts: Mapping[str, int]) -> str:
    """What the summary says of the voter roll, from the rows by result."""
    said = [f"{counts[result]} {words}" for result, words in _COUNTED.items() if counts.get(result)]
    if counts.get("pending"):
        said.append(
            f"{counts['pending']} pending. They are being asked about; this report is written "
            "again when the last answer is in"
        )
    return "; ".join(said) or "no row to ask about"


def _words_of(upload: Row) -> Mapping[str, str]:
    """What the outcomes of an upload's rows are called."""
    if upload["kind"] == "members":
        return IN_WORDS
    return IN_WORDS | (_STATUS_IN_WORDS if upload["new_status"] else _REMOVED_IN_WORDS)


def _table(
    rows: pl.DataFrame,
    headers: Sequence[str],
    lines: pl.DataFrame,
    problems: pl.DataFrame,
    words: Mapping[str, str],
) -> pl.DataFrame:
    """The original columns followed by the report's own, and the colour of each row."""
    name = pl.concat_str("existing_firstname", "existing_surname", separator=" ")
    ours = lines.join(_by_row(problems), on=ROW_NUMBER, how="left", maintain_order="left").select(
        *roll_columns(),
        # Only rows that may be merged are looked up, and of a person's rows the first.
        pl.when(pl.col("taken").is_not_null())
        .then(pl.lit("Yes"))
        .when(~pl.col("outcome").cast(pl.String).is_in(REFUSED))
        .then(pl.lit("No"))
        .otherwise(pl.lit(NOT_LOOKED_UP))
        .alias("Already Exists"),
        # This office may not see what another office knows of its member.
        _of_own(name).alias("Existing Member Name"),
        _of_own(pl.col("existing_ward")).alias("Existing Ward"),
        _of_own(pl.col("existing_voting_district")).alias("Existing VD"),
        pl.col("outcome").cast(pl.String).replace_strict(words).alias(OUTCOME),
        _all_problems().alias(PROBLEMS),
        pl.col("outcome").cast(pl.String).alias(_FILL),
    )
    originals = [
        rows[header].alias(apart) if header in rows.columns else _empty(apart, rows.height)
        for header, apart in zip(headers, _apart(headers, {ROW, *ours.columns}), strict=True)
    ]
    return pl.DataFrame([rows[ROW_NUMBER].alias(ROW), *originals, *ours])


def _of_own(value: pl.Expr) -> pl.Expr:
    return pl.when(~pl.col("taken")).then(value)


def _empty(name: str, height: int) -> pl.Series:
    return pl.Series(name, [None], pl.String).new_from_index(0, height)


def _apart(headers: Sequence[str], taken: set[str]) -> list[str]:
    """The headers, with other names for those that collide with a column of the report."""
    apart = []
    for header in headers:
        name = header
        if name in taken:
            name = f"{header} (file)"
            while name in taken or name in headers:
                name += " (file)"
        apart.append(name)
    return apart


def _by_row(problems: pl.DataFrame) -> pl.DataFrame:
    codes = problems["code"].unique().to_list()
    words = {code: sentence(code) for code in codes}
    said = pl.when(pl.col("column").is_null()).then(pl.col("words"))
    sentence_ = pl.col("code").replace_strict(words, return_dtype=pl.String)
    kept = pl.when(pl.col("kept").is_not_null()).then(pl.lit(" Kept: ") + pl.col("kept") + ".")
    return (
        problems.with_columns(words=pl.concat_str(sentence_, kept.fill_null("")))
        .select("row_number", said=said.otherwise(pl.col("column") + ": " + pl.col("words")))
        .group_by("row_number")
        .agg(pl.col("said").str.join("\n"))
    )


def _all_problems() -> pl.Expr:
    """The problems of the row's cells, and those of the row as a whole."""
    repeats = "Repeats row " + pl.col("duplicate_of").cast(pl.String) + "."
    # A cell that names another office has its own sentence.
    is_named = pl.col("said").str.contains(sentence("other_office"), literal=True)
    elsewhere = pl.when(
        (pl.col("outcome") == "out_of_scope") & ~is_named.fill_null(value=False)
    ).then(pl.lit("This member belongs to another office."))
    said = pl.concat_str(pl.col("said"), repeats, elsewhere, separator="\n", ignore_nulls=True)
    return pl.when(said != "").then(said)


#: The sheets after the summary, in their order, with the rows of the table that are in each.
_PARTS: Final[dict[str, pl.Expr]] = {
    "All Uploaded Rows": pl.col(_FILL).is_not_null(),
    "Invalid IDs": pl.col(_FILL) == "invalid",
    "Duplicates": pl.col(_FILL) == "duplicate",
    "Not Registered Voters": pl.col(REGISTERED) == "No",
    "New Members": pl.col(_FILL) == "inserted",
    "Existing Members (Updated)": pl.col(_FILL).is_in(["updated", "unchanged"]),
}


def _refused_rows(
    refused: pl.DataFrame, headers: Sequence[str], undecided: pl.Series | None
) -> pl.DataFrame:
    """The file's own columns in its order, and why; what an earlier report said is out of date.

    ``undecided`` are the numbers of rows that repeat others with other values. When they come back,
    they are refused until someone has decided; None where the file has none.
    """
    # They follow the row number, renamed where they collide with the report's own.
    kept = own(headers)
    originals = [_dates(refused[:, n]).alias(header) for n, header in enumerate(kept, start=1)]
    why = pl.concat_str(OUTCOME, PROBLEMS, separator="\n", ignore_nulls=True)
    *_, decision, sent_row, name = unique_headers([*kept, USE_ROW, SENT_ROW, ERRORS])
    if undecided is not None:
        says_no = pl.when(pl.col(ROW).is_in(undecided.implode())).then(pl.lit("no"))
        originals.append(refused.select(says_no.alias(decision)).to_series())
    before = sent_place(headers)
    number = refused[ROW] if before is None else refused[:, before + 1]
    why_refused = refused.select(why.alias(name)).to_series()
    return pl.DataFrame([*originals, number.alias(sent_row), why_refused])


def _dates(cells: pl.Series) -> pl.Series:
    """The cells as dates where all of them are, as the readers of workbooks write dates."""
    # Even within a method of a series, polars takes a name such as "^$" for a pattern.
    cells = cells.alias("cells")
    days = cells.str.to_date("%Y-%m-%d", strict=False)
    is_same = days.dt.to_string("%Y-%m-%d") == cells
    has_other = (cells.is_not_null() & ~is_same.fill_null(value=False)).any()
    return cells if has_other or days.null_count() == len(days) else days


def _marks(
    refused: pl.DataFrame, headers: Sequence[str], problems: pl.DataFrame
) -> dict[int, pl.Series]:
    """Which cells of the refused rows have an error, by the place of the column."""
    errors = problems.filter(severity="error")
    places = {header: place for place, header in enumerate(headers)}
    return {
        places[str(column)]: refused[ROW].is_in(found[ROW_NUMBER].implode())
        for (column,), found in errors.group_by("column")
        if column in places
    }


def _summary(facts: Facts) -> tuple[list[list[AnyCell]], BarChart]:
    """The first sheet: the file's result, its name and how it was processed."""
    upload = facts.upload
    words = _words_of(upload)
    total = sum(facts.outcomes.values())
    rows: list[list[AnyCell]] = [[Cell("What became of every row", Look.TITLE)], []]
    if upload["dry_run"]:
        rows += [[Cell("Dry run: this is what would happen. Nothing was changed.", Look.LABEL)], []]
    if facts.is_refused:
        why = "All rows or none were asked for, and rows were refused: nothing was changed."
        rows += [[Cell(why, Look.LABEL)], []]
    rows.append([Cell(title, Look.HEADER) for title in ("Outcome", "Rows", "Share")])
    first_outcome = len(rows) + 1
    rows += [
        [words[outcome], count, Cell(count / max(total, 1), Look.PERCENT)]
        for outcome, count in facts.outcomes.items()
    ]
    last_outcome = len(rows)
    rows += [[Cell("Rows in the file", Look.LABEL), total], []]

    rows.append([Cell(title, Look.HEADER) for title in ("Problem", "Rows", "Effect")])
    rows += [[sentence(code), count, _effect(code)] for code, _, count in facts.tally.problems] or [
        ["None"]
    ]
    rows += [["Rows with a warning", facts.tally.rows_with_warnings], []]
    if facts.reading.notes:
        rows.append([Cell(title, Look.HEADER) for title in ("About the whole file", "Rows")])
        rows += [[Cell(note.message, Look.INERT), note.rows] for note in facts.reading.notes]
        rows.append([])

    rows.append([Cell(title, Look.HEADER) for title in ("The file", "")])
    office = ", ".join(filter(None, (upload["municipality"], upload["province"]))) or "national"
    rows += [
        ["Name", Cell(upload["file_name"], Look.INERT)],
        ["Sheet", Cell(facts.sheet_name, Look.INERT)],
        *_as_read(facts.reading),
        ["Sent by", Cell(upload["owner_email"], Look.INERT)],
        ["Office", Cell(office, Look.INERT)],
        ["Received", Cell(clock.local(upload["created_at"], facts.time_zone), Look.DATETIME)],
        [WRITTEN, Cell(clock.local(facts.written, facts.time_zone), Look.DATETIME)],
        ["Time zone", facts.time_zone],
        ["Upload", str(upload["id"])],
        ["Attempt", str(upload["attempt"])],
        ["Dry run", "yes" if upload["dry_run"] else "no"],
        *_asked_for(upload),
        *_renewals(facts.renewals),
        ["Refused rows", "refuse the file" if upload["all_or_nothing"] else "are left out"],
        *_emptied_on_purpose(upload["empty_text"], facts.emptied),
        ["Columns that you named", Cell(_in_words(upload["columns"] or {}), Look.INERT)],
        [
            VOTER_ROLL,
            f"not asked: {facts.not_asked_because}"
            if facts.not_asked_because
            else roll_in_words(facts.roll),
        ],
        [],
    ]
    rows.append([Cell(title, Look.HEADER) for title in ("Stage", "Seconds")])
    rows += [[stage, seconds] for stage, seconds in facts.seconds.items()]
    chart = BarChart(
        title="Rows by outcome",
        first_row=first_outcome,
        last_row=last_outcome,
        names="A",
        values="B",
        bars=[(words[outcome], count) for outcome, count in facts.outcomes.items()],
        corners=((4, 1), (11, 16)),
    )
    return rows, chart


def _renewals(counts: Mapping[str, int] | None) -> list[list[AnyCell]]:
    if counts is None:
        return []
    return [[words, counts[name]] for name, words in _RENEWALS_IN_WORDS.items()]


def _asked_for(upload: Row) -> list[list[AnyCell]]:
    """What becomes of the members whom the file names."""
    if upload["kind"] == "members":
        return [["Existing members", EXISTING_IN_WORDS[upload["existing"]]]]
    status = upload["new_status"]
    what = "get the status " + status if status else "are removed"
    return [["Members", Cell(what, Look.INERT)], ["Reason", Cell(upload["reason"], Look.INERT)]]


def _effect(code: str) -> str:
    """What a problem does to its row."""
    problem = described(code)
    if problem.severity == "error":
        return "refuses the row"
    return "the cell was left out" if problem.leaves_out else "to be checked"


def _emptied_on_purpose(text: str | None, emptied: Mapping[str, int]) -> list[list[AnyCell]]:
    if text is None:
        return []
    counts = [f"{variants()[name][0]}: {members}" for name, members in emptied.items()]
    return [
        ["Text that empties a field", Cell(text, Look.INERT)],
        ["Members whose field was emptied", ", ".join(counts) or "none"],
    ]


def _as_read(reading: Reading) -> list[list[AnyCell]]:
    """How the file was read, so that its sender can see what was not."""
    others = [sheet.name[:MOST_NAME_CHARS] + _about(sheet) for sheet in reading.sheets_not_read]
    used = [
        f"{header}: {variants()[column.field][0]}{_HOW_IN_WORDS[column.how]}"
        for header, column in reading.columns_used.items()
    ]
    text = ", ".join(filter(None, (reading.encoding, _DELIMITERS.get(reading.delimiter or ""))))
    said: dict[str, CellValue] = {
        "Text": text or None,
        "Header row": reading.header_row,
        "Sheets that were not read": _listed(others),
        "Columns that were read": _listed(used),
        "Columns that were not read": _listed(reading.columns_not_read),
        "Hidden rows, which were read": reading.hidden_rows or None,
        "Hidden columns, which were read": _listed(reading.hidden_columns)
        if reading.hidden_columns
        else None,
    }
    return [
        [label, Cell(value, Look.INERT) if isinstance(value, str) else value]
        for label, value in said.items()
        if value is not None
    ]


def _about(sheet: SheetNotRead) -> str:
    said = [
        f"{sheet.rows} rows" if sheet.rows is not None else "",
        "hidden" if sheet.is_hidden else "",
        "holds members" if sheet.holds_members else "",
    ]
    about = ", ".join(filter(None, said))
    return f" ({about})" if about else ""


def _listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = len(names) - MOST_LISTED
    listed = ", ".join(names[:MOST_LISTED])
    return f"{listed} and {more} more" if more > 0 else listed or "none"


def _in_words(columns: Mapping[str, str | None]) -> str:
    return ", ".join(
        f"{header}: {variants()[field][0] if field else 'not read'}"
        for header, field in columns.items()
    )
