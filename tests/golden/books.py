"""Makes the golden workbooks about how workbooks are read; see ``make.py``."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any, Final

import openpyxl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openpyxl.worksheet.worksheet import Worksheet

NAMES: Final = ("ID Number", "Firstname", "Surname")
MADE: Final = dt.datetime(2026, 11, 24, 8, 0)  # noqa: DTZ001 - the writers take no zone


def formulas() -> bytes:
    """Formulas that were never calculated, and errors of later versions."""

    def write(book: Any) -> None:
        sheet: Worksheet = book.active
        sheet.append([*NAMES, "Cell", "Ward", "Province"])
        sheet.append(["8001015009087", "Ayanda", "Nkosi", '="082"&"1234567"', "#SPILL!", "GP"])
        sheet.append(['="850214"&"0123180"', "Lerato", "Mokoena", None, None, "GP"])
        sheet.append(["9006305500082", "=PROPER(B3)", "=B4", None, "#FIELD!", "#BUSY!"])
        sheet.append(["9202290077083", "Sipho", "#CALC!", "#UNKNOWN!", "#N/A", "#REF!"])
        sheet.append(["=A2", "=B2", "=C2"])
        for row in sheet.iter_rows():
            for cell in row:
                if isinstance(cell.value, str) and cell.value.startswith("#"):
                    cell.data_type = "e"

    return _with_openpyxl(write)


FILES: Final[Mapping[str, Callable[[], bytes]]] = {
    "formulas.xlsx": formulas,
}


def _with_openpyxl(write: Callable[[Any], None]) -> bytes:
    book = openpyxl.Workbook()
    book.properties.created = book.properties.modified = MADE
    write(book)
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()
