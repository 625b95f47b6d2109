"""``python -m rollbook``, and the command ``rollbook``."""

import sys


def main() -> None:
    """Run the command line; a Ctrl-C ends it quietly from the first moment on."""
    try:
        from rollbook.cli import main as run  # noqa: PLC0415 - while it is imported too

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
