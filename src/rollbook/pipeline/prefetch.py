"""Prepares the next item on another thread while the present one is processed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from rollbook.languages import asked_for, speak

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the same items; each is made on another thread while the one before it is processed.

    The iterator must not need the thread that it was made on. It speaks the caller's language.
    """
    with ThreadPoolExecutor(
        1, thread_name_prefix="prefetch", initializer=speak, initargs=(asked_for(),)
    ) as beside:
        coming = beside.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = beside.submit(next, items, None)
            yield item
