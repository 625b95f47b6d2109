"""Pages of lists: the parameters that ask for one, and the answer."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Query

from rollbook.contract import Answer, Page

T = TypeVar("T")

PageParam = Annotated[int, Query(ge=1, le=1_000_000)]
PageSizeParam = Annotated[int, Query(ge=1, le=500)]


def listed(
    kind: type[Page[T]], items: list[T], total: int, page: int, page_size: int, *, of: str
) -> Answer[Page[T]]:
    """The answer with a page of a list, and how many there are of what."""
    data = kind(items=items, page=page, page_size=page_size, total=total)
    return Answer(message=f"{total} {of}.", data=data)
