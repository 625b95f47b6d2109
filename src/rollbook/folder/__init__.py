"""The watched folder: files are claimed from it and become uploads."""
