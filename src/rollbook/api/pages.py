"""Pages of lists: the parameters that ask for one, and the answer.

A list that grows for years has pages by number, or by what follows a page's last item.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from rollbook.backends.database import Listed, Paging
from rollbook.contract import Answer, Page

T = TypeVar("T")
P = TypeVar("P", bound=BaseModel)

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


def _paging(size: int) -> Any:
    async def paging(page: PageParam = 1, page_size: PageSizeParam = size) -> Paging:
        return Paging(page, page_size)

    return Depends(paging)


#: The page that is asked for, by how many items it has if the client doesn't say.
Pages20 = Annotated[Paging, _paging(20)]
Pages50 = Annotated[Paging, _paging(50)]
Pages100 = Annotated[Paging, _paging(100)]


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


def listed(
    kind: type[P],
    items: list[Any],
    found: Listed,
    paging: Paging,
    said: str,
    *,
    key: str = "",
    **more: Any,
) -> Answer[P]:
    """The answer with a page of a list.

    Args:
        kind: the page's shape.
        items: what it shows of the rows.
        found: the page's rows, and how many there are.
        paging: which page it is.
        said: the sentence about it, in which ``{}`` is replaced by the number of all.
        key: the column by which a ``LongPage`` is in order.
        more: what else the shape has.
    """
    has_more = bool(key) and len(found.rows) == paging.page_size
    facts = {
        **more,
        **asdict(paging),
        "items": items,
        "total": found.total,
        "total_is_exact": found.is_exact,
        "next": found.rows[-1][key] if has_more else None,
    }
    number = f"{'' if found.is_exact else 'About '}{found.total}"
    return Answer(message=said.replace("{}", number), data=kind.model_validate(facts))
