"""The known values of the fields that have a list of them, each with its other spellings.

It needs no polars: the API reads them too, and starts without it.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def values() -> Mapping[str, Any]:
    """The content of ``values.toml``."""
    text = files("rollbook.pipeline").joinpath("values.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
