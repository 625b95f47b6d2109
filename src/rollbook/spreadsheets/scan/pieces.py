"""A large part of XML in pieces that end with an element, inflated ahead on another thread."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import polars as pl

from rollbook.spreadsheets.books.book import Rows
from rollbook.spreadsheets.scan.archive import INPUT_BYTES, MOST_TAIL_BYTES
from rollbook.spreadsheets.scan.plain import NotPlainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from rollbook.spreadsheets.scan.prefix import Unprefixed

_Result = TypeVar("_Result")
#: Inflated XML that is processed at a time, in bytes: its arrays fit in the cache.
PIECE_BYTES: Final = 4 << 20
#: The longest row, and the longest text before the rows.
MOST_ROW_BYTES: Final = 32 << 20
_THREADS: Final = 2
#: Zeros after each piece, so that eight bytes can be read anywhere.
_PAD: Final = bytes(64)


class _Form(NamedTuple):
    """Where the elements that are looked for begin and end in a part."""

    root: bytes
    #: The start of the tag that they follow.
    start: bytes
    #: What ends each of them.
    cut: bytes
    end: bytes


SHEET: Final = _Form(b"<worksheet", b"<sheetData", b"</row>", b"</sheetData>")
TABLE: Final = _Form(b"<sst", b"<sst", b"</si>", b"</sst>")
_DECLARATION: Final = re.compile(
    rb"""<\?xml version=["']1.0["'](?: encoding=["']utf-8["'])?"""
    rb"""(?: standalone=["'](?:yes|no)["'])?\s*\?>\s*""",
    re.IGNORECASE,
)
#: Tags without a bracket in quotes, with white space between them.
_TAGS: Final = re.compile(rb"""(?:</?[A-Za-z](?:[^<>"']|"[^<>"]*"|'[^<>']*')*>\s*)*""")


class Piece(NamedTuple):
    """Whole elements of one kind: a range of the bytes, followed by at least 64 more."""

    content: bytes
    start: int
    end: int


class Pieces:
    """The XML of a part in pieces that begin and end between two elements."""

    def __init__(self, part: Unprefixed, form: _Form) -> None:
        self._part, self._form = part, form
        head = b""
        at = -1
        while (end := head.find(b">", at) if at >= 0 else -1) < 0:
            more = part.read(max(INPUT_BYTES, len(head)))
            if not more or len(head) > MOST_ROW_BYTES:
                raise NotPlainError("a part without what it should have")
            head += more
            at = head.find(form.start)
        #: Everything up to the first element.
        self.head = head[: end + 1]
        declared = _DECLARATION.match(self.head)
        tags = self.head[declared.end() if declared else 0 :]
        if not tags.startswith(form.root) or not _TAGS.fullmatch(tags):
            raise NotPlainError("XML with more than elements before the rows")
        #: Whether there are no elements at all.
        self.is_empty = self.head.endswith(b"/>")
        self._rest = head[end + 1 :]
        #: Whether the last piece was taken.
        self.is_done = self.is_empty

    def next(self) -> Piece | None:
        """The next piece; None at the end, when all of the part has been checked."""
        if self.is_done:
            return None
        parts, size = [self._rest], len(self._rest)
        recent = self._rest
        while True:
            found = recent.find(self._form.end)
            if found >= 0:
                self.is_done = True
                self._check_tail()
                return Piece(b"".join((*parts, _PAD)), 0, size - len(recent) + found)
            if size >= PIECE_BYTES:
                content = b"".join((*parts, _PAD))
                cut = content.rfind(self._form.cut)
                if cut >= 0:
                    cut += len(self._form.cut)
                    self._rest = content[cut : -len(_PAD)]
                    return Piece(content, 0, cut)
                if size > MOST_ROW_BYTES:
                    raise NotPlainError("a very long row")
            fresh = self._part.read(max(PIECE_BYTES - size, INPUT_BYTES))
            if not fresh:
                raise NotPlainError("a part without its end")
            # An end may be split over two reads.
            recent = recent[-len(self._form.end) :] + fresh
            parts.append(fresh)
            size += len(fresh)

    def _check_tail(self) -> None:
        """Inflate what is left, for its sum."""
        if self._part.left > MOST_TAIL_BYTES:
            raise NotPlainError("much after the rows")
        while self._part.read(PIECE_BYTES):
            pass


def in_order(pieces: Pieces, work: Callable[[Piece], _Result]) -> Iterator[_Result]:
    """The results of the work on each piece, with both on other threads, a few pieces ahead.

    One piece is all that a small part has, and needs no threads.
    """
    first = pieces.next()
    if first is not None and pieces.is_done:
        yield work(first)
    elif first is not None:
        yield from _ahead(first, pieces.next, work)


def _ahead(
    first: Piece, take: Callable[[], Piece | None], work: Callable[[Piece], _Result]
) -> Iterator[_Result]:
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="worksheet-scan") as threads:
        waiting: deque[Future[_Result]] = deque()
        try:
            piece: Piece | None = first
            while piece is not None:
                # Taking is submitted before working, because it is awaited first.
                taken = threads.submit(take)
                waiting.append(threads.submit(work, piece))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
                piece = taken.result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def in_batches(parts: Iterator[Rows], rows: int) -> Iterator[Rows]:
    """The same rows in batches of so many rows each, with what is known about them."""
    held: list[pl.DataFrame] = []
    hidden: list[int] = []
    height = done = 0

    def batch(frame: pl.DataFrame) -> Rows:
        nonlocal done
        done += frame.height
        count = bisect_right(hidden, done)
        found = Rows(frame, hidden[:count])
        del hidden[:count]
        return found

    for part in parts:
        held.append(part.frame)
        hidden += part.hidden
        height += part.frame.height
        if height < rows:
            continue
        whole = _stacked(held)
        for start in range(0, height - rows + 1, rows):
            yield batch(whole.slice(start, rows))
        held = [whole.slice(height - height % rows)] if height % rows else []
        height %= rows
    if held:
        yield batch(_stacked(held))


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames, how="diagonal") if len(frames) > 1 else frames[0]
