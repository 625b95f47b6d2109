"""Excel workbooks, written for hundreds of thousands of rows in a second or two.

Why our own writer: docs/decisions/0003-own-workbook-writer.md.
"""

from rollbook.spreadsheets.workbook.parts import BarChart, Look
from rollbook.spreadsheets.workbook.worksheet import MARKED, Kind
from rollbook.spreadsheets.workbook.writer import AnyCell, Cell, FormColumn, WorkbookWriter

__all__ = ["MARKED", "AnyCell", "BarChart", "Cell", "FormColumn", "Kind", "Look", "WorkbookWriter"]
