"""The folder for the engines' sockets, whose path lengths the kernel limits."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from rollbook.errors import EngineError

#: Bytes of a socket's path: the kernels take 107 (Linux) and 103 (macOS).
PATH_LIMIT = 100
#: The longest of the sockets' names within the folder, PostgreSQL's.
LONGEST = "pg/.s.PGSQL.5432"


def socket_folder(data_dir: Path) -> Path:
    """The folder for the sockets: in the data folder, or a short private one elsewhere.

    Raises:
        EngineError: there is no place for it.
    """
    inside = data_dir / "run"
    if _fits(inside):
        inside.mkdir(mode=0o700, exist_ok=True)
        return inside
    uid = os.geteuid()
    digest = hashlib.sha256(f"{uid}:".encode() + os.fsencode(data_dir)).hexdigest()[:16]
    # Root's own runtime folder would be closed to a PostgreSQL that runs as nobody.
    bases = [os.environ.get("XDG_RUNTIME_DIR", "") if uid != 0 else "", tempfile.gettempdir()]
    for base in (Path(name) for name in (*bases, "/tmp") if name):  # noqa: S108 - checked below
        short = base / f"rollbook-{digest}"
        if _fits(short) and _is_safe(base, private=False):
            short.mkdir(mode=0o700, exist_ok=True)
            if not _is_safe(short, private=True):
                raise EngineError(
                    f"The folder {short} for the engines' sockets belongs to another user or is "
                    "open to others. Remove it, or set ROLLBOOK_DATA_DIR to a shorter path."
                )
            return short
    raise EngineError(
        f"The path of the data folder {data_dir} is too long for sockets, and no folder for "
        "temporary files can take them. Set ROLLBOOK_DATA_DIR to a shorter path."
    )


def _fits(run_dir: Path) -> bool:
    # libpq and PostgreSQL both read a comma as the start of another folder.
    return len(os.fsencode(run_dir / LONGEST)) <= PATH_LIMIT and "," not in str(run_dir)


def _is_safe(folder: Path, *, private: bool) -> bool:
    """Whether only this user and root can replace the folder's contents."""
    try:
        found = folder.lstat() if private else folder.stat()
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    closed = not found.st_mode & 0o022
    if private:
        return found.st_uid == os.geteuid() and closed
    return found.st_uid in {0, os.geteuid()} and (closed or bool(found.st_mode & stat.S_ISVTX))
