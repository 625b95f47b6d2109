"""The one module that knows scope: what an office may see and bring in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """An office's place; null in both fields is the national office and stands for everywhere.

    The rule itself is the SQL function ``in_scope`` (migration 0001), so that lists, single
    records and merges can't differ.
    """

    #: Province code such as ``GP``.
    province: str | None = None
    municipality: str | None = None

    def parameters(self) -> dict[str, str | None]:
        """The parameters of every query that calls ``in_scope``."""
        return {"scope_province": self.province, "scope_municipality": self.municipality}

    def __str__(self) -> str:
        """The place in words."""
        return " / ".join(part for part in (self.province, self.municipality) if part) or "national"


EVERYWHERE = Scope()
