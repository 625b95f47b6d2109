"""``python -m rollbook``, and the command ``rollbook``."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, even during imports."""
    # Only the owner may read members' files, keys and sockets, regardless of the caller's umask.
    # Child processes inherit it. The watched folder is shared, and its modes are set explicitly.
    os.umask(0o077)
    try:
        from rollbook.cli import main as run  # noqa: PLC0415 - while it is imported too

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
