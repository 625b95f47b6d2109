"""Live messages: what happens to uploads, told to everybody who may see it (reference/live.md)."""
