"""The tables beside the modules of this room: known values, headers, months, problems.

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
def written(name: str) -> Mapping[str, Any]:
    """The content of a table, such as ``values.toml``."""
    text = files("rollbook.pipeline").joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text)


def values() -> Mapping[str, Any]:
    """The known values of the fields that have a list of them, each with its other spellings."""
    return written("values.toml")
