"""Spreadsheet files: which kinds there are, inspection, reading and writing."""
