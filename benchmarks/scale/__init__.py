"""How Rollbook grows: with worker processes, with rows, and with members in the table."""
