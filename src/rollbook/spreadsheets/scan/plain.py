"""What all parts of the scanner share: the error with which it gives up, and its arrays."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator


Ints: TypeAlias = npt.NDArray[np.integer[Any]]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Flags: TypeAlias = npt.NDArray[np.bool_]


class NotPlainError(Exception):
    """The workbook uses something that the scanner leaves to ``books.xlsx``."""


#: The errors that an unforeseen form may cause; the tests let them through.
_UNFORESEEN: tuple[type[Exception], ...] = (
    ArithmeticError,
    LookupError,
    ValueError,
    pl.exceptions.PolarsError,
)


@contextmanager
def unforeseen() -> Iterator[None]:
    """Turn an unforeseen error in an untrusted file into ``NotPlainError``, for ``books.xlsx``."""
    try:
        yield
    except _UNFORESEEN as error:
        raise NotPlainError("an unforeseen form") from error


def require(holds: np.bool_ | bool, otherwise: str) -> None:
    """Give up unless it holds.

    Raises:
        NotPlainError: with what is there otherwise.
    """
    if not holds:
        raise NotPlainError(otherwise)


def is_utf8(content: bytes) -> bool:
    """Whether it is text in UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
