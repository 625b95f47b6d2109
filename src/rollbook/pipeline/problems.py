"""The catalogue of a row's possible errors and warnings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from rollbook import fields
from rollbook.fields.file import BUILT_IN, MOST_TEXT
from rollbook.pipeline.columns import built_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rollbook.fields.definition import Kind, OwnField, OwnFields, Rule

#: Choices that a sentence lists.
_MOST_CHOICES: Final = 12

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem."""

    severity: Severity
    sentence: str
    #: Whether the cell is left out of the record; only for warnings.
    leaves_out: bool = False


def catalogue() -> Mapping[str, Problem]:
    """Every kind of problem by its code."""
    own = fields.current()
    return _with_own(own) if own else _built_in()


@cache
def _built_in() -> Mapping[str, Problem]:
    text = files("rollbook.pipeline").joinpath("problems.toml").read_text(encoding="utf-8")
    return {code: Problem(**entry) for code, entry in tomllib.loads(text).items()}


@cache
def _with_own(own: OwnFields) -> Mapping[str, Problem]:
    """The same with the problems of own fields and rules: a field's name, a dot, and the check."""
    found = dict(_built_in())
    for name, rule in own.rules.items():
        title = _title(own, name)
        field = own.by_key.get(name)
        kind = BUILT_IN[name] if field is None else field.kind
        said = dict(_broken(rule, unit=" characters" if kind == "text" else ""))
        if field is not None:
            if field.kind == "choice":
                del said["choices"]  # it is the form of the type
            said["unclear"] = _FORMS[field.kind].format(
                decimals=field.decimals, choices=_listed(rule.choices or ())
            )
        severity: Severity = "error" if rule.is_strict else "warning"
        for check, text in said.items():
            found[f"{name}.{check}"] = Problem(
                severity, f"{title} {text}", leaves_out=not rule.is_strict
            )
        if rule.needed:
            found[f"{name}.missing"] = Problem(
                "error", f"{title} is missing, and your organisation needs it in every row."
            )
            found[f"{name}.unreadable"] = Problem(
                "error", f"{title} can't be used, and your organisation needs it in every row."
            )
    return found


def asked_of(field: OwnField) -> list[str]:
    """What is asked of an own field's values, as sentences."""
    found = catalogue()
    checks = ("unclear", "choices", "pattern", "least", "most")
    return [found[code].sentence for check in checks if (code := f"{field.key}.{check}") in found]


def _title(own: OwnFields, name: str) -> str:
    if name == "date_of_birth":
        return "The person"
    return own.by_key[name].title if name in own.by_key else built_in()[name][0]


#: What a value of each type must be.
_FORMS: Final[Mapping[Kind, str]] = {
    "text": f"has at most {MOST_TEXT:,} characters.",
    "integer": "is a whole number, such as 12 or 1 200.",
    "decimal": "is a number with at most {decimals} decimals, such as 12 or 1 200.",
    "date": "is a date.",
    "yes/no": "is yes or no.",
    "choice": "is one of {choices}.",
    "phone": "is a phone number.",
    "e-mail": "is an e-mail address.",
}


def _broken(rule: Rule, *, unit: str) -> Iterator[tuple[str, str]]:
    """What each check of a rule asks for."""
    verb = "must have" if unit else "must be"
    if rule.choices is not None:
        yield "choices", f"is one of {_listed(rule.choices)}."
    if rule.pattern is not None:
        yield "pattern", f"must have the form that your organisation asks for ({rule.pattern})."
    if rule.least is not None:
        yield "least", f"{verb} at least {rule.least}{unit}."
    if rule.most is not None:
        yield "most", f"{verb} at most {rule.most}{unit}."
    if rule.least_age is not None:
        yield "least_age", f"is younger than {rule.least_age} years, which your rules don't allow."


def _listed(choices: Sequence[str]) -> str:
    shown = ", ".join(choices[:_MOST_CHOICES])
    more = len(choices) - _MOST_CHOICES
    return f"{shown} and {more:,} more" if more > 0 else shown


#: A problem that only a newer version knows: during an upgrade, its workers write it.
UNKNOWN = Problem(
    "warning",
    "A newer version of Rollbook has found a problem in this row. Look again when the upgrade is "
    "done.",
)


#: A problem of an own field or rule that the fields file doesn't have any more.
FORMER = Problem(
    "warning",
    "Your organisation's own rules had a problem with this cell; they have changed since then.",
)


def described(code: str) -> Problem:
    """The kind of problem with this code; ``UNKNOWN`` for one of a newer version."""
    found = catalogue().get(code)
    if found is None and "." in code:
        return FORMER
    return found or UNKNOWN


def sentence(code: str) -> str:
    """The sentence for the person."""
    return described(code).sentence
