"""Rollbook takes members' spreadsheets into PostgreSQL and says what became of each row."""

from importlib.metadata import version

__version__ = version("rollbook")
