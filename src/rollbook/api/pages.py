"""Pages of lists: the parameters that ask for one, and the answer.

A list that grows for years has pages by number, or by what follows a page's last item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import Field

from rollbook.contract import Answer, Page

if TYPE_CHECKING:
    from rollbook.backends.database import Listed

T = TypeVar("T")

PageParam = Annotated[int, Query(ge=1, le=1_000_000)]
PageSizeParam = Annotated[int, Query(ge=1, le=500)]
AfterParam = Annotated[
    int | None,
    Query(
        ge=0,
        le=2**63 - 1,
        description="The `next` of an earlier page: what follows it. `page` counts from there.",
    ),
]


def listed(
    kind: type[Page[T]], items: list[T], total: int, page: int, page_size: int, *, of: str
) -> Answer[Page[T]]:
    """The answer with a page of a list, and how many there are of what."""
    data = kind(items=items, page=page, page_size=page_size, total=total)
    return Answer(message=f"{total} {of}.", data=data)


class CountedPage(Page[T], Generic[T]):
    """One page of a list that may be long, and is counted up to a bound."""

    total_is_exact: bool = Field(
        description="False where `total` is an estimate, because there are so many."
    )


class LongPage(CountedPage[T], Generic[T]):
    """One page of a list that grows for years."""

    next: int | None = Field(
        description="Sent as `after`, it gives the page that follows; null on the last one. It "
        "costs the same on every page, and skips nothing where something is added meanwhile."
    )


def numbered(listed: Listed, *, page: int, page_size: int) -> dict[str, Any]:
    """What a ``CountedPage`` says beside its items.

    Args:
        listed: the page's rows.
        page: its number, from 1.
        page_size: items on a page.
    """
    return {
        "page": page,
        "page_size": page_size,
        "total": listed.total,
        "total_is_exact": listed.is_exact,
    }


def place(listed: Listed, key: str, *, page: int, page_size: int) -> dict[str, Any]:
    """What a ``LongPage`` says beside its items: as ``numbered``, and what follows the page.

    ``key`` is the column by which the list is in order.
    """
    has_more = len(listed.rows) == page_size
    following = listed.rows[-1][key] if has_more else None
    return {**numbered(listed, page=page, page_size=page_size), "next": following}


def counted(listed: Listed, what: str) -> str:
    """How many there are, for people."""
    return f"{'' if listed.is_exact else 'About '}{listed.total} {what}."
