"""The report's six sheets by the fastest writers that were found, from the same table."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

#: The column that says which sheets a row goes to and which colour it has.
FILL = "__fill"
SHEETS = {
    "All Uploaded Rows": ("inserted", "updated", "invalid", "duplicate"),
    "Invalid IDs": ("invalid",),
    "Duplicates": ("duplicate",),
    "Not Registered Voters": (),
    "New Members": ("inserted",),
    "Existing Members (Updated)": ("updated",),
}
COLOURS = {
    "inserted": "#E2F0D9", "updated": "#DDEBF7", "invalid": "#F8CBAD", "duplicate": "#FFE699"
}  # fmt: skip


def _parts(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {name: table.filter(pl.col(FILL).is_in(fills)) for name, fills in SHEETS.items()}


def jetxl(table: pl.DataFrame, path: str) -> None:
    """Without colours: it can give them to cells one by one, or by a rule for a column."""
    from jetxl import write_sheets_arrow  # noqa: PLC0415 - only the peers' environment has it

    sheets: list[dict[str, Any]] = [
        {
            "data": part.drop(FILL).to_arrow(),
            "name": name,
            "auto_filter": True,
            "freeze_rows": 1,
            "styled_headers": True,
            "column_widths": dict.fromkeys(part.columns[:-1], 16),
        }
        for name, part in _parts(table).items()
        if part.height  # it takes no sheet without rows
    ]
    write_sheets_arrow(sheets, path, 2)


def rustpy(table: pl.DataFrame, path: str) -> None:
    """Without colours."""
    _rustpy(table, path, has_colours=False)


def rustpy_coloured(table: pl.DataFrame, path: str) -> None:
    """With the colour of each row."""
    _rustpy(table, path, has_colours=True)


def _rustpy(table: pl.DataFrame, path: str, *, has_colours: bool) -> None:
    from rustpy_xlsxwriter import FastExcel, Format  # noqa: PLC0415 - only the peers' environment has it

    colours = {fill: Format().set_background_color(colour) for fill, colour in COLOURS.items()}
    book = FastExcel(path).format(bold_headers=True).freeze(row=1)
    for name, part in _parts(table).items():
        rows = {n: colours[fill] for n, fill in enumerate(part[FILL], start=1)}
        book.sheet(
            name,
            part.drop(FILL),
            column_width=16,
            autofilter=True,
            row_formats=rows if has_colours else None,
        )
    book.save()


WRITERS: dict[str, Callable[[pl.DataFrame, str], None]] = {
    "jetxl": jetxl, "rustpy": rustpy, "rustpy_coloured": rustpy_coloured
}  # fmt: skip


def main(writer: str, source: str, target: str) -> None:
    """Write it and print what it took."""
    import_module("jetxl" if writer == "jetxl" else "rustpy_xlsxwriter")
    table = pl.read_ipc(source)
    table.head(0).to_arrow()  # that imports a library too
    began = time.perf_counter()
    WRITERS[writer](table, target)
    sys.stdout.write(json.dumps(round(time.perf_counter() - began, 3)))


if __name__ == "__main__":
    main(*sys.argv[1:])
