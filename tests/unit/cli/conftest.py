"""The command line in this process."""

from tests.command_line import rollbook

__all__ = ["rollbook"]
