"""The cells of a plain .xlsx worksheet as text, some rows at a time, faster than a parser of XML.

A parser that takes one tag after the other spends its time on the tags, of which a cell has four
or six. Here the inflated XML of many rows is looked at as an array of bytes: where the tags are,
what they are, which may follow which, and where values start and end are each one operation of
numpy over all tags at once; polars then copies the values out.

This holds for the XML that programs write, and not for all XML. Whatever is outside of the form
that is described by the constants below raises ``NotPlainError``, at any time: the caller goes on
with ``books.xlsx``. What is inside of it gives the text that this reader gives, and that fastexcel
gives with ``dtypes="string"``, which the tests hold against it:

- A number is its value rounded to nine decimals, without zeros at the end; so most numbers of a
  file are that text as they stand.
- A number whose style is a date, a time or a duration is ``yyyy-mm-dd hh:mm:ss``, with
  milliseconds where there are some.
- An error value is its text, such as ``#N/A``, and so is a formula that was never calculated
  (``books.values.UNCALCULATED``), for which fastexcel has no value.
- A text is unescaped, and its white space at the ends is dropped unless ``xml:space`` preserves it.

The file is a stranger's. Each part is inflated a piece at a time, and only the table of shared
strings is kept whole, under a limit.
"""

from rollbook.spreadsheets.scan.plain import NotPlainError
from rollbook.spreadsheets.scan.workbook import Workbook, open_workbook

__all__ = ["NotPlainError", "Workbook", "open_workbook"]
