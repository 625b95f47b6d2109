"""An organisation's own fields, and its own rules on the built-in ones.

``ROLLBOOK_FIELDS_FILE`` is read once, when a process reads its settings (``install``). Without it
there are none, and nothing else asks.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rollbook.fields.definition import NONE, PREFIX, OwnField, OwnFields, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NONE", "OwnField", "OwnFields", "Rule", "current", "install", "is_gone", "using"]

_current = NONE


def current() -> OwnFields:
    """The own fields and rules of this process."""
    return _current


def is_gone(field: str) -> bool:
    """Whether it is an own field that isn't defined any more: what is stored may still name it."""
    return field.startswith(PREFIX) and field not in _current.by_key


def install(own: OwnFields) -> None:
    """Make these the ones of this process."""
    global _current  # noqa: PLW0603 - there is one fields file a process
    _current = own


@contextmanager
def using(own: OwnFields) -> Iterator[OwnFields]:
    """Make these the ones of this process for a while."""
    before = current()
    install(own)
    try:
        yield own
    finally:
        install(before)
