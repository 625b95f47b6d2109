"""Takes the prefix off the names of a part's elements, as in ``<x:row>``.

.NET's OpenXML SDK writes all names so. A bracket begins a tag wherever it is, because texts and
attributes have none; sections of CDATA, in which there may be some, are refused by the scanner.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rollbook.spreadsheets.scan.archive import INPUT_BYTES

if TYPE_CHECKING:
    from rollbook.spreadsheets.scan.archive import Part

#: The root's name, and the same without its prefix.
_ROOT: Final = re.compile(rb"\s*(?:<\?xml[^<>]*>\s*)?<([A-Za-z][\w.-]*)(:[\w.-]+)?[\s/>]")
#: Where the root's name has begun at the latest.
_MOST_START_BYTES: Final = 4096


class Unprefixed:
    """A part as a stream of its inflated bytes with plain names; see ``archive.Part``."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._start = part.read(INPUT_BYTES)
        while len(self._start) < _MOST_START_BYTES and not _ROOT.match(self._start):
            more = part.read(INPUT_BYTES)
            if not more:
                break
            self._start += more
        root = _ROOT.match(self._start)
        self._prefix = root[1] if root and root[2] else None
        #: The beginning of a tag that continues in the next bytes.
        self._rest = b""

    @property
    def size(self) -> int:
        """The inflated size by the directory, with the prefixes."""
        return self._part.size

    @property
    def left(self) -> int:
        """The bytes that haven't been read, with the prefixes."""
        return self._part.left + len(self._start) + len(self._rest)

    def read(self, most: int) -> bytes:
        """Some more bytes, none at the end."""
        while True:
            content, self._start = self._start or self._part.read(most), b""
            if self._prefix is None:
                return content
            whole, is_end = self._rest + content, not content
            cut = whole.rfind(b"<")
            is_cut = not is_end and cut >= 0 and len(whole) - cut < len(self._prefix) + 3
            whole, self._rest = (whole[:cut], whole[cut:]) if is_cut else (whole, b"")
            if whole or is_end:
                return _stripped(whole, self._prefix)


def _stripped(content: bytes, prefix: bytes) -> bytes:
    plain = content.replace(b"<" + prefix + b":", b"<")
    return plain.replace(b"</" + prefix + b":", b"</")
