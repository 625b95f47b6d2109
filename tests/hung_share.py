"""A share that hangs, by the kernel's own means: a file system whose server answers nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FUSE = "/dev/fuse"
#: Unmount now, also while steps wait for the share.
_DETACH = 2


def _checked(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def hung(folder: Path) -> Iterator[None]:
    """Let every step in a folder wait for as long as the context lasts; then each fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.ExitStack() as stack:
        try:
            server = os.open(FUSE, os.O_RDWR)
            stack.callback(os.close, server)  # ends all waits
            options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
            _checked(libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options))
        except OSError as error:
            pytest.skip(f"no share that hangs ({error.strerror}): needs root and {FUSE}")
        stack.callback(lambda: _checked(libc.umount2(os.fsencode(folder), _DETACH)))
        yield
