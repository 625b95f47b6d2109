"""``python -m rollbook``, and the command ``rollbook``."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, even during imports."""
    # Only the owner may read members' files, keys and sockets, regardless of the caller's umask.
    # Child processes inherit it. The watched folder is shared, and its modes are set explicitly.
    os.umask(0o077)
    _open_standard_streams()
    try:
        from rollbook.cli import main as run  # noqa: PLC0415 - while it is imported too

        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _open_standard_streams() -> None:
    """Open the standard streams that the caller has closed, on nothing.

    Otherwise the next file gets the number of one, and log lines are written into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
            os.set_inheritable(number, True)  # noqa: FBT003 - the function names no argument
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
