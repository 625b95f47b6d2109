"""Inspection of a file before a parser sees it: sizes, structure, limits."""
