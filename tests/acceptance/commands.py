"""Runs many commands in one process, one after the other."""

from __future__ import annotations

import json
import sys

from rollbook.__main__ import main as run


def main() -> None:
    """Run commands, whose arguments are in the first argument as JSON; each ends in a line."""
    for arguments in json.loads(sys.argv[1]):
        sys.argv = ["rollbook", *arguments]
        code: object = 0
        try:
            run()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.write(f"ended with {code}\n")
        sys.stdout.flush()
