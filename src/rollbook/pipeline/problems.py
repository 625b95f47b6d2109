"""The catalogue of a row's possible errors and warnings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem."""

    severity: Severity
    sentence: str
    #: Whether the cell is left out of the record; only for warnings.
    leaves_out: bool = False


@cache
def catalogue() -> Mapping[str, Problem]:
    """Every kind of problem by its code."""
    text = files("rollbook.pipeline").joinpath("problems.toml").read_text(encoding="utf-8")
    return {code: Problem(**entry) for code, entry in tomllib.loads(text).items()}


def sentence(code: str) -> str:
    """The sentence for the person."""
    return catalogue()[code].sentence
