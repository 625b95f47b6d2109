"""Readers of workbooks: every format as sheets of rows of text, with what is said about them.

Each reader walks the format itself, some rows at a time, and makes no room for what a file only
claims to hold. ``scan`` is the fast reader of plain .xlsx files; ``xlsx`` here reads all others.
"""

from rollbook.spreadsheets.books.book import Area, Book, Rows, SheetInfo

__all__ = ["Area", "Book", "Rows", "SheetInfo"]
