"""Become an engine: run by path, as ``python -I -S launch.py``, instead of a ``preexec_fn``.

A ``preexec_fn`` runs Python between fork and exec and may deadlock where the owner has threads.
This is a fresh process with one thread, and it imports nothing of Rollbook.

Arguments: the owner's pid; the signal to send when the owner dies; how its death is detected
(``prctl``, ``none``, or ``FD:NAME``: the watchdog's pipe and the engine's lock in the data folder);
the identity (``same``, ``userns:UID:GID`` or ``nobody:UID:GID``); a folder that the engine must be
able to enter; the program and its arguments.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000


def main() -> None:
    """Set the identity, arrange the death signal, and become the program."""
    owner, number, watch, identity, folder, *program = sys.argv[1:]
    os.umask(0o077)
    if identity != "same":
        kind, uid, gid = identity.split(":")
        (_enter_namespace if kind == "userns" else _change_user)(int(uid), int(gid))
    # After the identity: the kernel forgets the death signal when a process changes its user.
    if watch == "prctl":
        _call("prctl", PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    elif watch != "none":
        pipe, _, lock = watch.partition(":")
        os.write(int(pipe), f"{os.getpid()} {number} {lock}\n".encode())
        # The watchdog waits for the pipe's last writer to go; the engine must not be one.
        os.set_inheritable(int(pipe), False)  # noqa: FBT003 - it takes no name
    if os.getppid() != int(owner):
        sys.exit("the owner died before the death signal was set")
    os.chdir(folder)
    os.execv(program[0], program)  # noqa: S606 - becoming the engine is the point


def _change_user(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _enter_namespace(uid: int, gid: int) -> None:
    """Map the user to another id inside a user namespace; file access stays that of the user."""
    # The kernel lets an ordinary user write a gid_map only after the "deny" (user_namespaces(7)).
    maps = {"setgroups": "deny", "uid_map": f"{uid} {os.geteuid()} 1"}
    maps["gid_map"] = f"{gid} {os.getegid()} 1"
    _call("unshare", CLONE_NEWUSER)
    for name, text in maps.items():
        Path("/proc/self", name).write_text(text, encoding="ascii")


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*map(ctypes.c_ulong, arguments)) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"the engine could not be launched: {error}")
