"""Expected durations of uploads, from those of recent ones of the same kind and size."""

from __future__ import annotations

import bisect
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rollbook.backends.database import Row

#: Uploads of the nearest sizes that count.
NEAREST: Final = 15
#: A kind with fewer recent uploads is compared with those of all kinds.
FEW: Final = 3
#: The bytes that take as long as what every upload costs, whatever its size.
FIXED_BYTES: Final = 1_000_000


class Durations:
    """Recent uploads by kind, sorted by size."""

    def __init__(self, recent: Iterable[Row]) -> None:
        """Take over the recent uploads.

        Args:
            recent: ``file_kind``, ``file_bytes`` and ``seconds`` of each.
        """
        by_kind: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for upload in recent:
            by_kind[upload["file_kind"]].append((upload["file_bytes"], upload["seconds"]))
        self._all = sorted(one for found in by_kind.values() for one in found)
        self._of_kind = {
            kind: sorted(found) for kind, found in by_kind.items() if len(found) >= FEW
        }
        self._known: dict[tuple[str, int], float | None] = {}

    def expected(self, kind: str, size: int) -> float | None:
        """Seconds that an upload of this kind and size in bytes takes; None where unknown.

        The median of the uploads of the nearest sizes, each adjusted to this size.
        """
        key = (kind, size)
        if key not in self._known:
            self._known[key] = self._median(self._of_kind.get(kind, self._all), size)
        return self._known[key]

    def _median(self, found: list[tuple[int, float]], size: int) -> float | None:
        if not found:
            return None
        middle = bisect.bisect_left(found, (size, 0.0))
        first, last = middle, middle
        while last - first < min(NEAREST, len(found)):
            below = size - found[first - 1][0] if first else None
            above = found[last][0] - size if last < len(found) else None
            if above is None or (below is not None and below <= above):
                first -= 1
            else:
                last += 1
        return statistics.median(
            seconds * (size + FIXED_BYTES) / (bytes_ + FIXED_BYTES)
            for bytes_, seconds in found[first:last]
        )
