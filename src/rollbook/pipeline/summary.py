"""The first sheet of the report: the file's result, and how it was read and processed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rollbook import clock
from rollbook.languages import listed, phrase
from rollbook.model import RESULTS
from rollbook.pipeline.columns import title
from rollbook.pipeline.problems import described, sentence
from rollbook.pipeline.read import MOST_NAME_CHARS
from rollbook.pipeline.reading import Reading
from rollbook.pipeline.renewals import COUNTED
from rollbook.spreadsheets.workbook import BarChart, Cell, Look

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

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

#: The time zone of the report's times where none is given.
TIME_ZONE: Final = "Africa/Johannesburg"
#: Names that a cell of the summary lists.
MOST_LISTED: Final = 50

_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


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
    not_asked_because: str | None = field(
        default_factory=lambda: phrase("report.roll.switched_off")
    )
    #: How the file as a whole was read.
    reading: Reading = field(default_factory=Reading)
    #: New, renewed, early and expired members; None where the file has no dates.
    renewals: Mapping[str, int] | None = None
    #: Members who lose their value of a field on purpose, by field.
    emptied: Mapping[str, int] = field(default_factory=dict)
    #: In which times are given, by its name in the IANA database.
    time_zone: str = TIME_ZONE


def cells_of(facts: Facts) -> tuple[list[list[AnyCell]], BarChart]:
    """The first sheet: the file's result, its name and how it was processed."""
    upload = facts.upload
    words = words_of(upload)
    total = sum(facts.outcomes.values())
    rows: list[list[AnyCell]] = [[Cell(phrase("report.summary.title"), Look.TITLE)], []]
    if upload["dry_run"]:
        rows += [[Cell(phrase("report.summary.dry_run"), Look.LABEL)], []]
    if facts.is_refused:
        rows += [[Cell(phrase("report.summary.all_or_none"), Look.LABEL)], []]
    rows.append(_headings("outcome", "rows", "share"))
    first_outcome = len(rows) + 1
    rows += [
        [words[outcome], count, Cell(count / max(total, 1), Look.PERCENT)]
        for outcome, count in facts.outcomes.items()
    ]
    last_outcome = len(rows)
    rows += [[Cell(phrase("report.summary.rows_in_file"), Look.LABEL), total], []]

    rows.append(_headings("problem", "rows", "effect"))
    rows += [[sentence(code), count, _effect(code)] for code, _, count in facts.tally.problems] or [
        [phrase("report.summary.no_problem")]
    ]
    rows += [[phrase("report.summary.with_warning"), facts.tally.rows_with_warnings], []]
    if facts.reading.notes:
        rows.append(_headings("whole_file", "rows"))
        rows += [[Cell(note.message, Look.INERT), note.rows] for note in facts.reading.notes]
        rows.append([])

    rows.append([*_headings("file"), Cell("", Look.HEADER)])
    office = ", ".join(filter(None, (upload["municipality"], upload["province"])))
    rows += [
        [label("name"), Cell(upload["file_name"], Look.INERT)],
        [label("sheet"), Cell(facts.sheet_name, Look.INERT)],
        *_as_read(facts.reading),
        [label("sent_by"), Cell(upload["owner_email"], Look.INERT)],
        [label("office"), Cell(office or phrase("report.national"), Look.INERT)],
        [label("received"), _moment(upload["created_at"], facts)],
        [label("written"), _moment(facts.written, facts)],
        [label("time_zone"), facts.time_zone],
        [label("upload"), str(upload["id"])],
        [label("attempt"), str(upload["attempt"])],
        [label("dry_run"), phrase("report.yes" if upload["dry_run"] else "report.no")],
        *_asked_for(upload),
        *_renewals(facts.renewals),
        [
            label("refused"),
            phrase(f"report.refused.{'file' if upload['all_or_nothing'] else 'row'}"),
        ],
        *_emptied_on_purpose(upload["empty_text"], facts.emptied),
        [label("columns_given"), Cell(_in_words(upload["columns"] or {}), Look.INERT)],
        [
            label("voter_roll"),
            phrase("report.roll.not_asked_because", reason=facts.not_asked_because)
            if facts.not_asked_because
            else roll_in_words(facts.roll),
        ],
        [],
    ]
    rows.append(_headings("stage", "seconds"))
    rows += [[phrase(f"page.stage.{stage}"), seconds] for stage, seconds in facts.seconds.items()]
    chart = BarChart(
        title=phrase("report.summary.chart"),
        first_row=first_outcome,
        last_row=last_outcome,
        names="A",
        values="B",
        bars=[(words[outcome], count) for outcome, count in facts.outcomes.items()],
        corners=((4, 1), (11, 16)),
    )
    return rows, chart


def _moment(moment: dt.datetime, facts: Facts) -> Cell:
    return Cell(clock.local(moment, facts.time_zone), Look.DATETIME)


def label(key: str) -> Cell:
    """The label of a line of the summary, after which its value comes."""
    return Cell(phrase(f"report.label.{key}"), Look.PLAIN)


def _headings(*keys: str) -> list[AnyCell]:
    return [Cell(phrase(f"report.heading.{key}"), Look.HEADER) for key in keys]


def _how(how: How) -> str:
    return "" if how in {"known", "tiers"} else f" ({phrase(f'report.how.{how}')})"


def _renewals(counts: Mapping[str, int] | None) -> list[list[AnyCell]]:
    if counts is None:
        return []
    return [[phrase(f"report.renewals.{name}"), counts[name]] for name in COUNTED]


def _asked_for(upload: Row) -> list[list[AnyCell]]:
    """What becomes of the members whom the file names."""
    if upload["kind"] == "members":
        return [[label("existing"), phrase(f"report.existing.{upload['existing']}")]]
    status = upload["new_status"]
    what = phrase("report.get_status", status=status) if status else phrase("report.are_removed")
    return [
        [label("members"), Cell(what, Look.INERT)],
        [label("reason"), Cell(upload["reason"], Look.INERT)],
    ]


def _effect(code: str) -> str:
    """What a problem does to its row."""
    problem = described(code)
    if problem.severity == "error":
        return phrase("report.effect.refuses")
    return phrase("report.effect.leaves_out" if problem.leaves_out else "report.effect.to_check")


def _emptied_on_purpose(text: str | None, emptied: Mapping[str, int]) -> list[list[AnyCell]]:
    if text is None:
        return []
    counts = [f"{title(name)}: {members}" for name, members in emptied.items()]
    return [
        [label("empty_text"), Cell(text, Look.INERT)],
        [label("emptied"), ", ".join(counts) or phrase("report.none")],
    ]


def _as_read(reading: Reading) -> list[list[AnyCell]]:
    """How the file was read, so that its sender can see what was not."""
    others = [sheet.name[:MOST_NAME_CHARS] + _about(sheet) for sheet in reading.sheets_not_read]
    used = [
        f"{header}: {title(column.field)}{_how(column.how)}"
        for header, column in reading.columns_used.items()
    ]
    delimiter = _DELIMITERS.get(reading.delimiter or "")
    between = phrase(f"report.delimiter.{delimiter}") if delimiter is not None else None
    kind = ", ".join(filter(None, (reading.encoding, between)))
    said: dict[str, CellValue] = {
        "text": kind or None,
        "header_row": reading.header_row,
        "sheets_not_read": _listed(others),
        "columns_used": _listed(used),
        "columns_not_read": _listed(reading.columns_not_read),
        "hidden_rows": reading.hidden_rows or None,
        "hidden_columns": _listed(reading.hidden_columns) if reading.hidden_columns else None,
    }
    return [
        [label(name), Cell(value, Look.INERT) if isinstance(value, str) else value]
        for name, value in said.items()
        if value is not None
    ]


def _about(sheet: SheetNotRead) -> str:
    said = [
        phrase("report.sheet_rows", n=sheet.rows) if sheet.rows is not None else "",
        phrase("report.sheet_hidden") if sheet.is_hidden else "",
        phrase("report.sheet_members") if sheet.holds_members else "",
    ]
    about = ", ".join(filter(None, said))
    return f" ({about})" if about else ""


def _listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    return listed(names, MOST_LISTED) or phrase("report.none")


def _in_words(columns: Mapping[str, str | None]) -> str:
    return ", ".join(
        f"{header}: {title(field) if field else phrase('report.not_read')}"
        for header, field in columns.items()
    )


def roll_in_words(counts: Mapping[str, int]) -> str:
    """What the summary says of the voter roll, from the rows by result."""
    said = [
        phrase(f"report.roll.{result}.count", n=counts[result])
        for result in sorted(RESULTS, key="pending".__eq__)
        if counts.get(result)
    ]
    return "; ".join(said) or phrase("report.roll.none")


def outcome_in_words(outcome: str, upload: Row) -> str:
    """What an outcome of an upload's rows is called."""
    if upload["kind"] != "members" and outcome in {"updated", "unchanged"}:
        kind = "status" if upload["new_status"] and outcome == "updated" else "removal"
        return phrase(f"report.outcome.{outcome}.{kind}")
    return phrase(f"report.outcome.{outcome}")


def words_of(upload: Row) -> Mapping[str, str]:
    """What the outcomes of an upload's rows are called."""
    return {outcome: outcome_in_words(outcome, upload) for outcome in FILLS}
