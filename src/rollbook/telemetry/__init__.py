"""Logs, metrics, traces and the ids that tie them together."""
