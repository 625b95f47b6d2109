"""Reads the cells of a plain .xlsx worksheet as text, in batches, faster than an XML parser.

A parser that handles one tag after the other spends its time on the tags, of which a cell has four
or six. Here the inflated XML of many rows is an array of bytes. The positions of the tags, their
kinds, their allowed order and the ends of the values are each one numpy operation over all tags;
polars then copies the values out.

This works for the XML that spreadsheet programs write, and not for all XML. Any other form than the
constants below describe raises ``NotPlainError``, at any time: the caller continues with
``books.xlsx``. The texts are those of ``books.xlsx`` and of fastexcel with ``dtypes="string"``,
which the tests compare:

- A number is its value rounded to nine decimals, without zeros at the end; so most numbers of a
  file are already that text.
- A number whose style is a date, a time or a duration is ``yyyy-mm-dd hh:mm:ss``, with
  milliseconds where there are some.
- A number of which its format shows something else, such as zeros before it, is that: see
  ``books.formats``. fastexcel gives the number.
- An error value is its text, such as ``#N/A``, and so is a formula that was never calculated
  (``books.values.UNCALCULATED``), for which fastexcel has no value.
- A text is unescaped, and its white space at the ends is dropped unless ``xml:space`` preserves it.

The file is untrusted. Each part is inflated in pieces, and only the table of shared strings is held
in memory as a whole, under a limit.
"""

from rollbook.spreadsheets.scan.plain import NotPlainError
from rollbook.spreadsheets.scan.workbook import Workbook, open_workbook

__all__ = ["NotPlainError", "Workbook", "open_workbook"]
