"""An owner of engines: says what it runs, then waits for a Ctrl-C or for the end of its input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psycopg
import structlog

from rollbook.engines import Engines


def main() -> None:
    """Own the engines of a folder; the arguments are the folder, and the options as JSON."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    engines = Engines(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    with engines as addresses:
        told = [addresses.database_url, addresses.redis_url, engines.pids]
        try:
            _say(json.dumps(told))
            sys.stdin.read()
        except KeyboardInterrupt:
            assert addresses.database_url is not None
            with psycopg.connect(addresses.database_url) as connection:
                [(answer,)] = connection.execute("SELECT 'still there'").fetchall()
                _say(answer)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
