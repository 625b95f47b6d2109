"""Report: one workbook with every row's outcome, and one with only the refused rows."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl

from rollbook.languages import phrase
from rollbook.model import REFUSED, RESULTS
from rollbook.pipeline.cells import nulls
from rollbook.pipeline.changes import changes_table
from rollbook.pipeline.columns import (
    own,
    sent_place,
    unique_headers,
)
from rollbook.pipeline.problems import sentence
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.report_tables import TablesKeeper
from rollbook.pipeline.summary import FILLS, Facts, cells_of, words_of
from rollbook.spreadsheets.workbook import MARKED, WorkbookWriter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rollbook.backends.database import Row
    from rollbook.spreadsheets.workbook import AnyCell, BarChart
    from rollbook.spreadsheets.workbook.table import TableGroup

#: The report's own columns while it is written. Its workbook has their names in its language.
REGISTERED = "IEC Registered"
ROW = "Row"
OUTCOME = "Outcome"
PROBLEMS = "Problems"
#: All of them, with the end of the key of each one's name; then those of the sheet of changes.
_COLUMNS: Final = {
    ROW: "row",
    REGISTERED: "registered",
    "IEC Ward": "roll_ward",
    "IEC VD Code": "roll_district",
    "Already Exists": "exists",
    "Existing Member Name": "existing_name",
    "Existing Ward": "existing_ward",
    "Existing VD": "existing_district",
    OUTCOME: "outcome",
    PROBLEMS: "problems",
}
_OF_CHANGES: Final = {
    ROW: "row",
    "Member": "member",
    "Field": "field",
    "Before": "before",
    "After": "after",
}
#: Of a row that repeats another with other values, and of one that has come back undecided.
UNDECIDED: Final = ("repeat_differs", "repeat_undecided")
_FILL = "__fill"


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
        self._words = words_of(upload)
        self._keeper = TablesKeeper(folder) if keeps_tables else None
        self._headers = headers
        name = upload["file_name"]
        self._report_path = folder / "report.xlsx"
        self._refused_path = folder / "refused.xlsx"
        self._report = WorkbookWriter(
            self._report_path, title=phrase("report.title", file=name), fills=FILLS, created=created
        )
        self._refused = WorkbookWriter(
            self._refused_path,
            title=phrase("refused.title", file=name),
            fills={MARKED: FILLS["invalid"]},
            created=created,
        )

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            report = opened.enter_context(self._report)
            self._sheets = report.begin_tables(_part_names(), row_fill=_FILL)
            self._changes = report.begin_tables([phrase("report.sheet.changes")])
            self._opened = opened.pop_all()
        self._is_finished = False
        # Most files have no refused row, and a small one would wait for its workbook.
        self._refused_rows: TableGroup | None = None
        return self

    def __exit__(self, *raised: Any) -> None:
        self._opened.__exit__(*raised)
        if not self._is_finished:
            self._report_path.unlink(missing_ok=True)
        if not (self._is_finished and self._refused_rows is not None):
            self._refused_path.unlink(missing_ok=True)

    def add(self, rows: pl.DataFrame, lines: pl.DataFrame, problems: pl.DataFrame) -> None:
        """Write the next batch of rows.

        ``rows`` are as they were read: the row number and the file's own columns. ``lines`` are one
        for each row, with ``outcome``, ``duplicate_of`` and the columns of ``match.EXISTING`` and
        of ``verify.RESULTS``; ``problems`` are one line per problem.
        """
        table = _table(rows, self._headers, lines, problems, self._words)
        self._sheets.add(_named(table), _parts())
        changes = changes_table(lines)
        self._changes.add(_named(changes, _OF_CHANGES))
        if self._keeper is not None:
            self._keeper.add(table, changes)
        refused = table.filter(pl.col(_FILL).is_in(REFUSED))
        if refused.height:
            self._add_refused(refused, problems)

    def _add_refused(self, refused: pl.DataFrame, problems: pl.DataFrame) -> None:
        if self._refused_rows is None:
            workbook = self._opened.enter_context(self._refused)
            self._refused_rows = workbook.begin_tables([phrase("refused.sheet")])
        undecided = problems.filter(pl.col("code").is_in(UNDECIDED))[ROW_NUMBER]
        frame = _refused_rows(
            refused, self._headers, undecided if self._asks_about_repeats else None
        )
        self._refused_rows.add(frame, marks=_marks(refused, own(self._headers), problems))

    def finish(self, facts: Facts) -> Files:
        """Write what is said of all rows, and close both workbooks."""
        cells, chart = cells_of(facts)
        self._report.add_cells(phrase("report.sheet.summary"), cells, chart=chart, first=True)
        self._is_finished = True
        self._opened.close()
        kept = self._keeper.finish(cells, chart) if self._keeper is not None else None
        refused = None if self._refused_rows is None else self._refused_path
        return Files(self._report_path, refused, kept)


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
    title = phrase("report.title", file=upload["file_name"])
    with WorkbookWriter(path, title=title, fills=FILLS, created=written) as workbook:
        sheets = workbook.begin_tables(_part_names(), row_fill=_FILL)
        for table in tables:
            sheets.add(_named(table), _parts())
        if (first := next(changes, None)) is not None:
            changed = workbook.begin_tables([phrase("report.sheet.changes")])
            for frame in chain([first], changes):
                changed.add(_named(frame, _OF_CHANGES))
        workbook.add_cells(phrase("report.sheet.summary"), cells, chart=chart, first=True)


def roll_columns() -> list[pl.Expr]:
    """The report's columns of the voter roll, from those of ``verify.RESULTS``."""
    words = {result: phrase(f"report.roll.{result}") for result in RESULTS}
    return [
        pl.col("roll_result")
        .replace_strict(words, default=phrase("report.roll.not_asked"), return_dtype=pl.String)
        .alias(REGISTERED),
        pl.col("roll_ward").alias("IEC Ward"),
        pl.col("roll_voting_district").alias("IEC VD Code"),
    ]


def _named(table: pl.DataFrame, names: Mapping[str, str] = _COLUMNS) -> pl.DataFrame:
    """A table with the names that its own columns have in the report's language.

    No column of the file has one of them: see ``_apart``.
    """
    return table.rename({name: phrase(f"report.column.{key}") for name, key in names.items()})


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
        .then(pl.lit(phrase("report.exists.yes")))
        .when(~pl.col("outcome").cast(pl.String).is_in(REFUSED))
        .then(pl.lit(phrase("report.exists.no")))
        .otherwise(pl.lit(phrase("report.exists.not_looked_up")))
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
        _days(rows[header]).alias(apart) if header in rows.columns else nulls(rows.height, apart)
        for header, apart in zip(headers, _apart(headers, _taken()), strict=True)
    ]
    return pl.DataFrame([rows[ROW_NUMBER].alias(ROW), *originals, *ours])


def _of_own(value: pl.Expr) -> pl.Expr:
    return pl.when(~pl.col("taken")).then(value)


def _taken() -> set[str]:
    """The names of the report's own columns, while it is written and in its language."""
    return {_FILL, *_COLUMNS, *(phrase(f"report.column.{key}") for key in _COLUMNS.values())}


def _apart(headers: Sequence[str], taken: set[str]) -> list[str]:
    """The headers, with other names for those that collide with a column of the report."""
    apart = []
    for header in headers:
        name = header
        if name in taken:
            name = phrase("report.column.of_file", header=header)
            while name in taken or name in headers:
                name = phrase("report.column.of_file", header=name)
        apart.append(name)
    return apart


def _by_row(problems: pl.DataFrame) -> pl.DataFrame:
    codes = problems["code"].unique().to_list()
    words = {code: sentence(code) for code in codes}
    said = pl.when(pl.col("column").is_null()).then(pl.col("words"))
    sentence_ = pl.col("code").replace_strict(words, return_dtype=pl.String)
    before, after = phrase("report.kept", value="\0").split("\0")
    kept = pl.when(pl.col("kept").is_not_null()).then(
        pl.concat_str(pl.lit(f" {before}"), "kept", pl.lit(after))
    )
    return (
        problems.with_columns(words=pl.concat_str(sentence_, kept.fill_null("")))
        .select("row_number", said=said.otherwise(pl.col("column") + ": " + pl.col("words")))
        .group_by("row_number")
        .agg(pl.col("said").str.join("\n"))
    )


def _all_problems() -> pl.Expr:
    """The problems of the row's cells, and those of the row as a whole."""
    before, after = phrase("report.repeats", row="\0").split("\0")
    repeats = pl.concat_str(pl.lit(before), pl.col("duplicate_of").cast(pl.String), pl.lit(after))
    # A cell that names another office has its own sentence.
    is_named = pl.col("said").str.contains(sentence("other_office"), literal=True)
    elsewhere = pl.when(
        (pl.col("outcome") == "out_of_scope") & ~is_named.fill_null(value=False)
    ).then(pl.lit(phrase("report.elsewhere")))
    said = pl.concat_str(pl.col("said"), repeats, elsewhere, separator="\n", ignore_nulls=True)
    return pl.when(said != "").then(said)


#: The sheets after the summary, in their order.
PARTS: Final = ("all", "invalid", "duplicates", "not_registered", "new", "existing")


def _part_names() -> list[str]:
    return [phrase(f"report.sheet.{part}") for part in PARTS]


def _parts() -> list[pl.Expr]:
    """The rows of the table that are in each sheet of ``PARTS``."""
    outcome = pl.col(_FILL)
    return [
        outcome.is_not_null(),
        outcome == "invalid",
        outcome == "duplicate",
        pl.col(phrase("report.column.registered")) == phrase("report.roll.not_registered"),
        outcome == "inserted",
        outcome.is_in(["updated", "unchanged"]),
    ]


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
    added = [phrase(f"refused.{name}") for name in ("use_row", "sent_row", "errors")]
    *_, decision, sent_row, name = unique_headers([*kept, *added])
    if undecided is not None:
        says_no = pl.when(pl.col(ROW).is_in(undecided.implode())).then(pl.lit(phrase("refused.no")))
        originals.append(refused.select(says_no.alias(decision)).to_series())
    before = sent_place(headers)
    number = refused[ROW] if before is None else refused[:, before + 1]
    why_refused = refused.select(why.alias(name)).to_series()
    return pl.DataFrame([*originals, number.alias(sent_row), why_refused])


_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _dates(cells: pl.Series) -> pl.Series:
    """The cells as dates where all of them are."""
    # Even within a method of a series, polars takes a name such as "^$" for a pattern.
    cells = cells.alias("cells")
    filled = cells.drop_nulls()
    if not len(filled) or not _DAY.fullmatch(filled[0]):
        return cells
    days = cells.str.to_date("%Y-%m-%d", strict=False)
    is_same = days.dt.to_string("%Y-%m-%d") == cells
    has_other = (cells.is_not_null() & ~is_same.fill_null(value=False)).any()
    return cells if has_other or days.null_count() == len(days) else days


def _days(cells: pl.Series) -> pl.Series:
    """The cells, with date cells as days: the readers of workbooks give each a time, midnight."""
    cells = cells.alias("cells")  # as in ``_dates``
    if not cells.str.ends_with(" 00:00:00").any():
        return cells
    return cells.str.replace("^([0-9]{4}-[0-9]{2}-[0-9]{2}) 00:00:00$", "$1")


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
