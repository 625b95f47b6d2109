"""Live messages: uploads as they change, sent to the clients of their scope (reference/live.md)."""
