"""Reading: how the file as a whole was read, in words that its sender can check.

The readers fill a ``Reading``. It is stored with the upload and shown in the status, in the live
messages, on the page and in the report.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from rollbook.languages import phrase
from rollbook.masking import masked, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Why a header is read as a field: the sender's own mapping, one that the office used before, the
#: table of known headers, or two headers over each other (``tiers``).
How = Literal["given", "remembered", "known", "tiers"]

#: Entries of each list that are stored: a workbook may have any number of sheets and headers.
MOST_LISTED: Final = 200
#: Characters of each name that are stored: a cell that looks like a header may hold a whole text.
MOST_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class SheetNotRead:
    """A sheet of the workbook that was not read."""

    name: str
    #: Rows below its headers, or as many as the workbook claims; None where it does not say.
    rows: int | None = None
    is_hidden: bool = False
    #: It has a column of ID numbers and rows below it.
    holds_members: bool = False


@dataclass(frozen=True, slots=True)
class ColumnUsed:
    """The field that a column of the file was read as."""

    field: str
    how: How


@dataclass(frozen=True, slots=True)
class Note:
    """A warning about the file rather than about one cell."""

    #: Never changes once it is published.
    code: str
    #: Rows that it concerns; None where that is unknown or the whole file.
    rows: int | None = None
    #: What its sentence says of the file, for JSON.
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The sentence for the person, in the spoken language."""
        return phrase(f"note.{self.code}", **self.values)


@dataclass(frozen=True, slots=True)
class Reading:
    """Facts about the file. The reading of a table's last batch covers the whole table."""

    #: As Python names it; None for a workbook.
    encoding: str | None = None
    #: None for a workbook.
    delimiter: str | None = None
    #: As the spreadsheet program counts, from 1.
    header_row: int | None = None
    sheets_not_read: tuple[SheetNotRead, ...] = ()
    #: Rows that the spreadsheet program does not show, such as those that a filter hides. They were
    #: read.
    hidden_rows: int = 0
    #: Headers of the columns that the spreadsheet program does not show. They were read.
    hidden_columns: tuple[str, ...] = ()
    #: By header, in the order of the file.
    columns_used: Mapping[str, ColumnUsed] = field(default_factory=dict)
    #: Headers of the columns that held data and were not read as any field.
    columns_not_read: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The reading as ``uploads.reading`` stores it: at most ``MOST_LISTED`` of each list.

        ``columns_used`` is a list of ``header``, ``field`` and ``how``, because PostgreSQL does not
        keep the order of an object's members. Texts of the file have their ID numbers masked.
        """
        used = [
            {"header": _shown(header), **asdict(column)}
            for header, column in self.columns_used.items()
        ]
        others = [
            asdict(sheet) | {"name": _shown(sheet.name)}
            for sheet in self.sheets_not_read[:MOST_LISTED]
        ]
        notes = [
            {"code": note.code, "rows": note.rows, "message": _shown(note.message)}
            for note in self.notes
        ]
        return {
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "header_row": self.header_row,
            "sheets_not_read": others,
            "hidden_rows": self.hidden_rows,
            "hidden_columns": [_shown(name) for name in self.hidden_columns[:MOST_LISTED]],
            "columns_used": used[:MOST_LISTED],
            "columns_not_read": [_shown(name) for name in self.columns_not_read[:MOST_LISTED]],
            "notes": notes[:MOST_LISTED],
        }


def _shown(text: str) -> str:
    return masked(visible(text))[:MOST_CHARS]
