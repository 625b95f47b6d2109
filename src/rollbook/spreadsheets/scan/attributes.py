"""The kinds of cells by their tags' attributes; each distinct text is parsed once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import numpy as np

from rollbook.spreadsheets.scan.plain import Bytes, Ints, require
from rollbook.spreadsheets.scan.tags import MASKS, Tags

if TYPE_CHECKING:
    from collections.abc import Callable


#: The longest attributes of a cell after its reference, in words of eight bytes.
_ATTRIBUTE_WORDS: Final = 3
#: For each of these words, the bytes in it that count, by the size of the attributes.
_MASKS_BEHIND: Final = [
    MASKS.take(np.clip(np.arange(8 * _ATTRIBUTE_WORDS + 1) - 8 * index, 0, 8))
    for index in range(_ATTRIBUTE_WORDS)
]


class KnownAttributes:
    """The kinds of cells by the few distinct attributes of their tags."""

    #: Odd numbers, so that each bit of the attributes counts.
    _FACTORS: Final = (
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
    )

    def __init__(self, kind_of: Callable[[bytes], int]) -> None:
        self._kind_of = kind_of
        self._lock = threading.Lock()
        slots = 1 << 16
        #: By a hash of the attributes: they and their size; what they mean, and 0 if that is open.
        self._words = np.zeros((4, slots), np.uint64)
        self._meanings = np.zeros(slots, np.uint8)

    def meanings(self, tags: Tags, starts: Ints, ends: Ints) -> Bytes:
        """The kinds of the cells whose attributes are at these places."""
        sizes = ends - starts
        longest = int(sizes.max())
        require(longest <= 8 * _ATTRIBUTE_WORDS, "unusual attributes of a cell")
        words = [sizes.astype(np.uint64)]
        hashed = words[0] * np.uint64(self._FACTORS[0])
        for index in range((longest + 7) // 8):
            word = tags.words[starts + 8 * index] & _MASKS_BEHIND[index].take(sizes)
            hashed ^= word * np.uint64(self._FACTORS[index + 1])
            words.append(word)
        slots = (hashed >> np.uint64(48)).astype(np.int64)
        meanings: Bytes = self._meanings.take(slots)
        while len(new := np.flatnonzero(meanings == 0)):
            index = int(new[0])
            with self._lock:
                slot = slots[index]
                if not self._meanings[slot]:
                    self._words[: len(words), slot] = [word[index] for word in words]
                    attributes = tags.content[starts[index] : ends[index]]
                    self._meanings[slot] = self._kind_of(attributes)
            meanings = self._meanings.take(slots)
        # Two that share a slot are rare: refusing them is simpler than telling them apart.
        for word, known in zip(words, self._words, strict=False):
            require((known.take(slots) == word).all(), "very many styles")
        return meanings
