"""The REST API: each module is a group of routes that calls a noun module."""
