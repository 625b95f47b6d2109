"""How well possible duplicates are found."""
