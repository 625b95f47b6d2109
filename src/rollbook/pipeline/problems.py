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


#: A problem that only a newer version knows: during an upgrade, its workers write it.
UNKNOWN = Problem(
    "warning",
    "A newer version of Rollbook has found a problem in this row. Look again when the upgrade is "
    "done.",
)


def described(code: str) -> Problem:
    """The kind of problem with this code; ``UNKNOWN`` for one of a newer version."""
    return catalogue().get(code, UNKNOWN)


def sentence(code: str) -> str:
    """The sentence for the person."""
    return described(code).sentence
