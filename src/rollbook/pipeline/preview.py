"""Preview: how a file would be read, from its first rows, before it is sent for good."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from rollbook.errors import NoIdColumnError, NoRowsError
from rollbook.languages import phrase
from rollbook.masking import masked, masked_cell, masked_passport, visible
from rollbook.pipeline import header as header_rows
from rollbook.pipeline import tables
from rollbook.pipeline.aliases import key_of
from rollbook.pipeline.columns import ColumnMap, map_headers, own
from rollbook.pipeline.dates import Orders
from rollbook.pipeline.emptied import bits
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.problems import described
from rollbook.pipeline.read import ALL_SHEETS, ROW_NUMBER, Wanted, read, sheet_key
from rollbook.pipeline.reading import MOST_LISTED, SheetNotRead
from rollbook.pipeline.recognise import suggestions
from rollbook.pipeline.validate import validate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    from rollbook.model import Scope
    from rollbook.pipeline.aliases import Aliases
    from rollbook.pipeline.read import Sheet
    from rollbook.pipeline.reading import Reading
    from rollbook.pipeline.recognise import Suggestion
    from rollbook.pipeline.tables import Table
    from rollbook.spreadsheets.inspect.archive import Limits

#: Rows from which the preview is made.
SAMPLE_ROWS: Final = 1_000
#: Rows that are shown.
SHOWN_ROWS: Final = 10
#: Values shown of each column.
SAMPLES: Final = 5
#: Characters of each text that are shown.
MOST_CHARS: Final = 200
#: Columns that are described.
MOST_COLUMNS: Final = 300


@dataclass(frozen=True, slots=True)
class _Seen:
    """The first rows of the table that would be read, and what is known of the file."""

    frame: pl.DataFrame
    columns: ColumnMap
    reading: Reading
    #: Name, rows, ``is_hidden``, ``holds_members``, ``is_chosen`` of each sheet.
    sheets: list[dict[str, Any]]
    rows_expected: int | None
    sheet: Sheet | None


def preview(
    path: Path,
    kind: str,
    wanted: Wanted,
    *,
    scope: Scope,
    today: dt.date,
    limits: Limits,
    accepts_passports: bool = False,
    aliases: Aliases | None = None,
    empty_text: str | None = None,
) -> dict[str, Any]:
    """How a file would be read: what the answer to a check holds of it.

    Returns:
        ``encoding``, ``delimiter``, ``sheets``, ``header_row``, ``columns``, ``missing``,
        ``warnings``, ``emptied``, ``rows_expected``, ``rows`` (the first ones) and ``notes``, all
        fit for JSON. ID numbers are masked.

    Raises:
        FileProblemError: the file can't be read at all, or it has no rows.
    """
    seen = _seen(path, kind, wanted, limits)
    found = {one.header: one for one in suggestions(seen.frame, seen.columns, today)}
    headers = own(seen.frame.columns[1:])[:MOST_COLUMNS]
    warnings, emptied = _said_of_rows(
        seen,
        scope,
        today,
        accepts_passports=accepts_passports,
        aliases=aliases,
        empty_text=empty_text,
    )
    fields = [_meant(seen, header, found.get(header)) for header in headers]
    return {
        "encoding": seen.reading.encoding,
        "delimiter": seen.reading.delimiter,
        "sheets": seen.sheets[:MOST_LISTED],
        "header_row": seen.reading.header_row,
        "columns": [_column(seen, header, found.get(header)) for header in headers],
        "missing": _missing(seen),
        "warnings": warnings,
        "emptied": emptied,
        "rows_expected": seen.rows_expected,
        "rows": [
            {"row_number": number, "cells": list(map(_shown, cells, fields))}
            for number, *cells in seen.frame.head(SHOWN_ROWS).iter_rows()
        ],
        "notes": seen.reading.as_json()["notes"],
    }


def _seen(path: Path, kind: str, wanted: Wanted, limits: Limits) -> _Seen:
    batches = read(path, kind, wanted, batch_rows=SAMPLE_ROWS, limits=limits, needs_names=False)
    with closing(batches) as found:  # type: ignore[type-var]
        try:
            sheet = next(found)
        except NoIdColumnError:
            return _without_numbers(path, kind, wanted, limits)
        is_all = next(found, None) is None
    rows = sheet.frame.height if is_all else sheet.rows_expected
    shown = SheetNotRead(sheet.sheet_name, rows, sheet.is_hidden, holds_members=True)
    chosen = _sheet(shown, is_chosen=True)
    others = [_sheet(other) for other in sheet.reading.sheets_not_read]
    return _Seen(sheet.frame, sheet.columns, sheet.reading, [chosen, *others], rows, sheet)


def _missing(seen: _Seen) -> list[str]:
    missing = list(seen.columns.missing)
    # Passport numbers may be there, and this installation doesn't take them.
    is_unread = seen.sheet is None and "id_number" not in seen.columns.headers
    return ["id_number", *missing] if is_unread and "id_number" not in missing else missing


def _sheet(sheet: SheetNotRead, *, is_chosen: bool = False) -> dict[str, Any]:
    return asdict(sheet) | {"name": _shown(sheet.name), "is_chosen": is_chosen}


def _without_numbers(path: Path, kind: str, wanted: Wanted, limits: Limits) -> _Seen:
    """The first rows of a file in which no header means ID numbers."""
    with tables.opened(path, kind, wanted.find, limits) as found:
        table = _chosen(found, wanted)
        rows = tables.first_rows(table.open(SAMPLE_ROWS)).frame
        header = header_rows.likely(rows.iter_rows())
        if rows.height <= header + 1:
            raise NoRowsError(phrase("refusal.no_rows"))
        names = header_rows.names_of(rows.row(header))
        wanted.check(names)
        frame = rows.slice(header + 1, SAMPLE_ROWS)
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
        frame = frame.insert_column(
            0, pl.int_range(header + 2, header + 2 + frame.height, dtype=pl.UInt32, eager=True)
            .alias(ROW_NUMBER)
        )  # fmt: skip
        claimed = table.rows()
        expected = None if claimed is None else max(claimed - header - 1, 0)
        sheets = [
            _sheet(
                SheetNotRead(one.name, expected if one is table else one.rows(), one.is_hidden),
                is_chosen=one is table,
            )
            for one in found
        ]
        given, _ = wanted.mapping(names)
        reading = replace(table.reading, header_row=header + 1)
        return _Seen(frame, map_headers(names, given), reading, sheets, expected, None)


def _chosen(found: Sequence[Table], wanted: Wanted) -> Table:
    """The wanted table, or the visible one with the most rows."""
    named = [table for table in found if sheet_key(table.name) == sheet_key(wanted.sheet or "")]
    shown = [table for table in found if not table.is_hidden] or list(found)
    if wanted.sheet not in {None, ALL_SHEETS} and named:
        return named[0]
    return max(shown, key=lambda table: table.rows() or 0)


def _column(seen: _Seen, header: str, suggestion: Suggestion | None) -> dict[str, Any]:
    field, used = seen.columns.known.get(header), seen.reading.columns_used.get(header)
    how = used.how if used else suggestion.how if suggestion else "unknown"
    if field is not None and used is None:
        how = "known"
    # Even within a method of a series, polars takes a name such as "^ID$" for a pattern.
    values = seen.frame.to_series(seen.frame.get_column_index(header)).alias("cell")
    texts = values.drop_nulls().str.strip_chars()
    samples = texts.filter(texts != "").unique(maintain_order=True).head(SAMPLES)
    return {
        "header": _shown(header),
        "field": field,
        "how": "known" if how in {"tiers", "given"} else how,
        "suggestions": list(suggestion.fields) if suggestion else [],
        "samples": [_shown(text, _meant(seen, header, suggestion)) for text in samples],
    }


def _said_of_rows(
    seen: _Seen,
    scope: Scope,
    today: dt.date,
    *,
    accepts_passports: bool,
    aliases: Aliases | None,
    empty_text: str | None,
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The problems of the first rows, the most frequent first, and the fields that they empty."""
    if seen.sheet is None or seen.columns.missing:
        return [], {}
    normalised = normalise(
        seen.sheet,
        today,
        Orders(),
        empty_text=key_of(empty_text),
        accepts_passports=accepts_passports,
        aliases=aliases,
    )
    validated = validate(normalised, seen.sheet, scope)
    counted = (
        validated.problems.group_by("code", "severity")
        .agg(rows=pl.col(ROW_NUMBER).n_unique())
        .sort("rows", "code", descending=[True, False])
    )
    warnings = [
        {"code": code, "severity": severity, "rows": rows, "message": described(code).sentence}
        for code, severity, rows in counted.iter_rows()
    ]
    found = validated.rows.filter(verdict="valid")["emptied"]
    emptied = {name: int(((found & bit) != 0).sum()) for name, bit in bits().items()}
    return warnings, {name: rows for name, rows in emptied.items() if rows}


def _meant(seen: _Seen, header: str, suggestion: Suggestion | None) -> str | None:
    """The field of a column, or the one that it most likely has."""
    fields = suggestion.fields if suggestion else ()
    return seen.columns.known.get(header) or next(iter(fields), None)


def _shown(text: str | None, field: str | None = None) -> str:
    """A text of the file, in which a number of a person is masked, also where it has an error."""
    mask = {"id_number": masked_cell, "passport_number": masked_passport}.get(field or "", masked)
    return masked(mask(visible(text or "")))[:MOST_CHARS]
