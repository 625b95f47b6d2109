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
#: A size is near another up to this ratio. Uploads further away count only where fewer than FEW
#: are near: what a small file takes says little about a large one.
NEAR: Final = 2.0
#: A kind with fewer recent uploads is compared with those of all kinds.
FEW: Final = 3
#: The fixed cost of an upload, as the number of bytes that take as long to process.
FIXED_BYTES: Final = 1_000_000


class Durations:
    """Recent uploads by kind, sorted by size."""

    def __init__(self, recent: Iterable[Row]) -> None:
        """``recent`` has ``file_kind``, ``file_bytes`` and ``seconds`` of each upload."""
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
        near = _near(found, size)
        return statistics.median(
            seconds * (size + FIXED_BYTES) / (bytes_ + FIXED_BYTES) for bytes_, seconds in near
        )


def _near(found: list[tuple[int, float]], size: int) -> list[tuple[int, float]]:
    """The uploads (bytes, seconds), sorted before, whose sizes are nearest; the nearest first."""

    def ratio(place: int) -> float:
        a, b = found[place][0] + FIXED_BYTES, size + FIXED_BYTES
        return max(a / b, b / a)

    above = bisect.bisect_left(found, (size, 0.0))
    below = above - 1
    near: list[tuple[int, float]] = []
    while len(near) < min(NEAREST, len(found)):
        is_below = above == len(found) or (below >= 0 and ratio(below) <= ratio(above))
        nearest = below if is_below else above
        if len(near) >= FEW and ratio(nearest) > NEAR:
            break
        near.append(found[nearest])
        below, above = (below - 1, above) if is_below else (below, above + 1)
    return near
