"""Report: one workbook that says what became of every row, and one with the refused rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from rollbook.pipeline.columns import variants
from rollbook.pipeline.problems import sentence
from rollbook.pipeline.read import ERRORS
from rollbook.pipeline.report_tables import Tables, keep
from rollbook.workbook import BarChart, Cell, Look, WorkbookWriter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rollbook.database import Row
    from rollbook.pipeline.read import Sheet
    from rollbook.workbook import AnyCell

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
REFUSED = ("invalid", "duplicate", "out_of_scope")

EXISTING_IN_WORDS = {
    "update": "take what the file says",
    "fill": "only empty fields are filled",
    "skip": "stay as they are",
}

#: What the voter roll says of a row, in the column ``REGISTERED``.
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
#: The same with a number before it; what is pending is said apart.
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
WRITTEN = "Report written (UTC)"
ROW = "Row"
OUTCOME = "Outcome"
PROBLEMS = "Problems"
_FILL = "__fill"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the summary says beside the counts of the rows."""

    #: The row of the table ``uploads``, with ``owner_email``.
    upload: Row
    outcomes: dict[str, int]
    #: Seconds by stage, up to the report.
    seconds: dict[str, float]
    #: When the report was written.
    written: dt.datetime
    #: All rows or none were asked for, and it is none.
    is_refused: bool = False
    #: Why the voter roll isn't asked about any row; None when it is.
    not_asked_because: str | None = "verification is switched off"


@dataclass(frozen=True, slots=True)
class Files:
    """The workbooks, on local disk."""

    report: Path
    #: None when every row was taken in.
    refused: Path | None
    #: What the report is to be written from again, when the voter roll's answers are in; None when
    #: no row waits for one.
    tables: Path | None = None


def write(
    folder: Path, facts: Facts, sheet: Sheet, rows: pl.DataFrame, problems: pl.DataFrame
) -> Files:
    """Write both workbooks into a folder.

    Args:
        folder: where they go.
        facts: for the summary.
        sheet: the file as it was read, with its original columns.
        rows: one row per row of the file, with ``outcome`` and what ``match`` joined.
        problems: one row per problem.
    """
    table = _table(sheet, rows, problems)
    roll = dict(rows["roll_result"].drop_nulls().value_counts().iter_rows())
    tables = Tables(table, *_summary(facts, sheet, problems, roll))
    report = folder / "report.xlsx"
    write_workbook(report, tables, facts.upload, written=facts.written)
    kept = folder / "tables.parquet" if roll.get("pending") else None
    if kept is not None:
        keep(kept, tables)
    return Files(report, _write_refused(folder, facts, sheet, table), kept)


def write_workbook(path: Path, tables: Tables, upload: Row, *, written: dt.datetime) -> None:
    """Write the report itself from its tables."""
    title = f"Rollbook report: {upload['file_name']}"
    with WorkbookWriter(path, title=title, fills=FILLS, created=written) as workbook:
        workbook.add_cells("Summary", tables.summary, chart=tables.chart)
        for name, part in _parts(tables.table).items():
            workbook.add_table(name, part, row_fill=_FILL)


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


def _table(sheet: Sheet, rows: pl.DataFrame, problems: pl.DataFrame) -> pl.DataFrame:
    """The original columns with ours behind them, and the colour of each row."""
    ours = rows.join(_by_row(problems), on="row_number", how="left").select(
        "row_number",
        *roll_columns(),
        pl.when(pl.col("existing_surname").is_null())
        .then(pl.lit("No"))
        .otherwise(pl.lit("Yes"))
        .alias("Already Exists"),
        pl.concat_str("existing_firstname", "existing_surname", separator=" ").alias(
            "Existing Member Name"
        ),
        pl.col("existing_ward").alias("Existing Ward"),
        pl.col("existing_voting_district").alias("Existing VD"),
        pl.col("outcome").replace_strict(IN_WORDS).alias(OUTCOME),
        _all_problems().alias(PROBLEMS),
        pl.col("outcome").alias(_FILL),
    )
    taken = {ROW, *ours.columns}
    originals = sheet.frame.rename(_apart(sheet.frame.columns[1:], taken))
    return originals.join(ours, on="row_number", how="left", maintain_order="left").rename(
        {"row_number": ROW}
    )


def _apart(names: Sequence[str], taken: set[str]) -> dict[str, str]:
    """New names for those columns of the file that are called like one of ours."""
    new = {}
    for name in names:
        if name in taken:
            apart = f"{name} (file)"
            while apart in taken or apart in names:
                apart += " (file)"
            new[name] = apart
    return new


def _by_row(problems: pl.DataFrame) -> pl.DataFrame:
    codes = problems["code"].unique().to_list()
    words = {code: sentence(code) for code in codes}
    said = pl.when(pl.col("column").is_null()).then(pl.col("words"))
    return (
        problems.with_columns(words=pl.col("code").replace_strict(words, return_dtype=pl.String))
        .select("row_number", said=said.otherwise(pl.col("column") + ": " + pl.col("words")))
        .group_by("row_number")
        .agg(pl.col("said").str.join("\n"))
    )


def _all_problems() -> pl.Expr:
    """The problems of the row's cells, and those of the row as a whole."""
    repeats = "Repeats row " + pl.col("duplicate_of").cast(pl.String) + "."
    elsewhere = pl.when(pl.col("outcome") == "out_of_scope").then(
        pl.lit("The row's province or municipality is not your office's.")
    )
    said = pl.concat_str(pl.col("said"), repeats, elsewhere, separator="\n", ignore_nulls=True)
    return pl.when(said != "").then(said)


def _parts(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The sheets behind the summary, in their order."""
    outcome = pl.col(_FILL)
    return {
        "All Uploaded Rows": table,
        "Invalid IDs": table.filter(outcome == "invalid"),
        "Duplicates": table.filter(outcome == "duplicate"),
        "Not Registered Voters": table.filter(pl.col(REGISTERED) == "No"),
        "New Members": table.filter(outcome == "inserted"),
        "Existing Members (Updated)": table.filter(outcome.is_in(["updated", "unchanged"])),
    }


def _write_refused(folder: Path, facts: Facts, sheet: Sheet, table: pl.DataFrame) -> Path | None:
    refused = table.filter(pl.col(_FILL).is_in(REFUSED))
    if refused.is_empty():
        return None
    path = folder / "refused.xlsx"
    with WorkbookWriter(
        path, title=f"Refused rows: {facts.upload['file_name']}", fills=FILLS, created=facts.written
    ) as workbook:
        workbook.add_table(
            "Refused rows",
            refused.select(
                # The file's own columns stand behind the row number, in the file's order; what an
                # earlier report said of them is out of date.
                pl.nth([n for n in range(1, sheet.frame.width) if refused.columns[n] != ERRORS]),
                pl.concat_str(OUTCOME, PROBLEMS, separator="\n", ignore_nulls=True).alias(ERRORS),
            ),
        )
    return path


def _summary(
    facts: Facts, sheet: Sheet, problems: pl.DataFrame, roll: Mapping[str, int]
) -> tuple[list[list[AnyCell]], BarChart]:
    """The first sheet: what came of the file, which file it was, and how it was processed."""
    upload = facts.upload
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
        [IN_WORDS[outcome], count, Cell(count / max(total, 1), Look.PERCENT)]
        for outcome, count in facts.outcomes.items()
    ]
    last_outcome = len(rows)
    rows += [[Cell("Rows in the file", Look.LABEL), total], []]

    rows.append([Cell(title, Look.HEADER) for title in ("Problem", "Rows", "Effect")])
    rows += [
        [sentence(code), count, "refuses the row" if severity == "error" else "only told"]
        for code, severity, count in _most_frequent(problems)
    ] or [["None"]]
    rows.append([])

    rows.append([Cell(title, Look.HEADER) for title in ("The file", "")])
    unknown = ", ".join(sheet.columns.unknown) or "none"
    office = ", ".join(filter(None, (upload["municipality"], upload["province"]))) or "national"
    rows += [
        ["Name", Cell(upload["file_name"], Look.INERT)],
        ["Sheet", Cell(sheet.sheet_name, Look.INERT)],
        ["Columns that are kept in this report only", Cell(unknown, Look.INERT)],
        ["Sent by", Cell(upload["owner_email"], Look.INERT)],
        ["Office", Cell(office, Look.INERT)],
        ["Received (UTC)", Cell(upload["created_at"], Look.DATETIME)],
        [WRITTEN, Cell(facts.written, Look.DATETIME)],
        ["Upload", str(upload["id"])],
        ["Attempt", str(upload["attempt"])],
        ["Dry run", "yes" if upload["dry_run"] else "no"],
        ["Existing members", EXISTING_IN_WORDS[upload["existing"]]],
        ["Refused rows", "refuse the file" if upload["all_or_nothing"] else "are left out"],
        ["Columns that you named", Cell(_in_words(upload["columns"] or {}), Look.INERT)],
        [
            VOTER_ROLL,
            f"not asked: {facts.not_asked_because}"
            if facts.not_asked_because
            else roll_in_words(roll),
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
        bars=[(IN_WORDS[outcome], count) for outcome, count in facts.outcomes.items()],
        corners=((4, 1), (11, 16)),
    )
    return rows, chart


def _in_words(columns: Mapping[str, str | None]) -> str:
    return ", ".join(
        f"{header}: {variants()[field][0] if field else 'left alone'}"
        for header, field in columns.items()
    )


def _most_frequent(problems: pl.DataFrame) -> list[tuple[str, str, int]]:
    """Each code with its severity and its number of rows: errors first, the most frequent first."""
    counted = problems.group_by("code", "severity").agg(pl.col("row_number").n_unique().alias("n"))
    ordered = counted.sort("severity", "n", "code", descending=[False, True, False])
    return list(ordered.iter_rows())
