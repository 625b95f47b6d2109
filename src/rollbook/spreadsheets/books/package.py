"""The parts of a workbook that is a zip archive, and how they refer to each other (OPC)."""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote
from xml.parsers import expat

from rollbook.spreadsheets.refusals import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PIECE_BYTES: Final = 1 << 20
#: The largest inflated part that is read as a whole, in bytes.
MOST_SMALL_PART_BYTES: Final = 64 << 20
MOST_DEPTH: Final = 256


class Relation(NamedTuple):
    """A relationship from one part to another."""

    #: The last word of its type, which is the same in both variants of the format.
    kind: str
    #: The part's name from the root of the package.
    target: str


class Package:
    """The parts by their names, which are compared without regard to case."""

    def __init__(self, path: Path) -> None:
        """Open the archive.

        Raises:
            UnreadableFileError: it is none.
        """
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise damaged() from error
        self._infos = {_key(info.filename): info for info in self._archive.infolist()}

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._infos

    def size(self, name: str) -> int:
        """The inflated bytes of a part."""
        return self._info(name).file_size

    def stored_name(self, name: str) -> str:
        """The name of a part as the archive has it."""
        return self._info(name).filename

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a part, some at a time.

        Raises:
            UnreadableFileError: there is no such part, or it isn't whole.
        """
        try:
            with self._archive.open(self._info(name)) as part:
                while piece := part.read(PIECE_BYTES):
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise damaged() from error

    def content(self, name: str, most_bytes: int = MOST_SMALL_PART_BYTES) -> bytes:
        """All bytes of a part.

        Raises:
            UnreadableFileError: there is no such part, or it isn't whole, or too large.
        """
        if self.size(name) > most_bytes:
            raise damaged()
        return b"".join(self.pieces(name))

    def relations(self, name: str) -> dict[str, Relation]:
        """The relationships of a part, or of the package where the name is empty, by their ids."""
        folder, base = posixpath.split(name)
        part = posixpath.join(folder, "_rels", f"{base}.rels")
        if part not in self:
            return {}
        found = {}
        for path, attributes in elements(self.content(part)):
            if path[-1] == "Relationship" and attributes.get("TargetMode") != "External":
                target = unquote(attributes.get("Target", "")).replace("\\", "/")
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                kind = attributes.get("Type", "").rpartition("/")[2]
                found[attributes.get("Id", "")] = Relation(kind, target)
        return found

    def _info(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._infos[_key(name)]
        except KeyError:
            raise damaged() from None


def target_of(relations: Mapping[str, Relation], kind: str, otherwise: str) -> str:
    """The part of the first relationship of a kind; ``otherwise`` where there is none."""
    return next((one.target for one in relations.values() if one.kind == kind), "") or otherwise


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()


def elements(content: bytes) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """The elements of a small part: local names from the root on, attributes by local name.

    Raises:
        UnreadableFileError: it isn't well-formed.
    """
    path: list[str] = []
    found: list[tuple[tuple[str, ...], dict[str, str]]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(local(name))
        if len(path) > MOST_DEPTH:
            raise damaged()
        found.append((tuple(path), {local(key): value for key, value in attributes.items()}))

    def end(_name: str) -> None:
        path.pop()

    for _ in parsing([content], start, end):
        pass
    yield from found


def local(name: str) -> str:
    """The name without its prefix."""
    return name.rpartition(":")[2]


def parsing(
    pieces: Iterator[bytes] | list[bytes],
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Go through the XML of a part, a piece at each step.

    Raises:
        UnreadableFileError: it isn't well-formed.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    if text is not None:
        parser.CharacterDataHandler = text
    try:
        for piece in pieces:
            parser.Parse(piece)
            yield
        parser.Parse(b"", True)  # noqa: FBT003 - expat takes no names
    except (expat.ExpatError, UnicodeError, LookupError) as error:
        raise damaged() from error
    yield
