"""How fast members are found and exported."""
