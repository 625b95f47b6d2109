"""Readers of workbooks: every format as sheets of rows of text, with what is said about them.

Each reader parses its format itself, in batches, and allocates no memory for rows that a file only
claims to have. ``scan`` is the fast reader of plain .xlsx files; ``xlsx`` here reads all others.
"""
