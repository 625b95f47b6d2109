"""The catalogue of what may be wrong or doubtful in a row."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

Severity = Literal["error", "warning"]

#: The columns of a table of problems. ``column`` is the file's header and ``value`` the cell's
#: text; both are null where the file has no such column.
SCHEMA: Final[dict[str, type[pl.DataType]]] = {
    "row_number": pl.UInt32,
    "column": pl.String,
    "value": pl.String,
    "code": pl.String,
    "severity": pl.String,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem."""

    severity: Severity
    sentence: str


@cache
def catalogue() -> Mapping[str, Problem]:
    """Every kind of problem by its code."""
    text = files("rollbook.pipeline").joinpath("problems.toml").read_text(encoding="utf-8")
    return {code: Problem(**entry) for code, entry in tomllib.loads(text).items()}


def sentence(code: str) -> str:
    """The sentence for the person."""
    return catalogue()[code].sentence
