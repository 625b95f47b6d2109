"""The keyed hash that stays of an erased person: a later file that holds the person is seen.

The key is the installation's secret, which isn't in the database: who has only the database can't
find the ID number by trying all of them.
"""

from __future__ import annotations

import hashlib
from typing import Final

#: Bytes of a hash.
HASH_BYTES: Final = 32
_PURPOSE: Final = b"rollbook erased"


def erased_hash(key: str, id_number: str) -> bytes:
    """The hash of an ID number under one of the installation's keys."""
    # blake2b takes 64 bytes of a key at most.
    short = hashlib.sha256(key.encode()).digest()
    return hashlib.blake2b(
        id_number.encode(), key=short, person=_PURPOSE, digest_size=HASH_BYTES
    ).digest()
