"""Where a page of members ends, as a text for an address: what follows that place comes next.

It is encrypted, because the order of members has their names and ID numbers in it. A page by its
number is counted from the beginning instead, and moves when a member comes or goes before it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from rollbook.accounts import tokens
from rollbook.errors import InvalidRequestError

if TYPE_CHECKING:
    from rollbook.config import Settings


class Position(NamedTuple):
    """The last member of a page, by what the page is sorted by."""

    sort: str
    #: The value of the column, as PostgreSQL reads it; None where the member has none.
    key: str | None
    id_number: str


def write(settings: Settings, position: Position) -> str:
    """The position as a text."""
    return _box(settings).encrypt(json.dumps(position).encode()).decode()


def read(settings: Settings, text: str, *, sort: str) -> Position:
    """The position that a text has.

    Raises:
        InvalidRequestError: ``write`` didn't make it with a key that counts, or for another order.
    """
    try:
        position = Position(*json.loads(_box(settings).decrypt(text.encode())))
    except InvalidToken:
        raise InvalidRequestError(
            "`after` isn't the `next` of a page that Rollbook gave, or Rollbook's key has changed "
            "since. Begin with the first page again."
        ) from None
    if position.sort != sort:
        raise InvalidRequestError(
            f"`after` is of a list in the order of {position.sort}, not of {sort}. Begin with the "
            "first page in the new order."
        )
    return position


def _box(settings: Settings) -> MultiFernet:
    """Encrypts with the key that signs tokens; reads what a former one has encrypted."""
    keys = (f"rollbook members after {key}" for key in tokens.verifying_keys(settings))
    digests = (hashlib.sha256(key.encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
