"""``python -m rollbook``, and the command ``rollbook``."""

import os
import sys


def main() -> None:
    """Run the command line; a Ctrl-C ends it quietly from the first moment on."""
    # Only the owner may read files of members, keys and sockets, whatever umask the caller set.
    # Child processes inherit it; the watched folder, which is shared, sets its modes by itself.
    os.umask(0o077)
    try:
        from rollbook.cli import main as run  # noqa: PLC0415 - while it is imported too

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
