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

    def includes(self, place: Scope) -> bool:
        """Does what was sent from a place lie in this office's scope?

        The same rule as ``in_scope``, for messages that a thousand clients get: they can't each ask
        the database. A test holds the two together.
        """
        if self.province is not None and place.province != self.province:
            return False
        if self.municipality is None:
            return True
        return (
            place.municipality is not None
            and place.municipality.lower() == self.municipality.lower()
        )

    def __str__(self) -> str:
        """The place in words."""
        return " / ".join(part for part in (self.province, self.municipality) if part) or "national"


EVERYWHERE = Scope()
