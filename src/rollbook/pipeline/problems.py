"""The catalogue of a row's possible errors and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from rollbook import fields
from rollbook.fields.file import BUILT_IN, MOST_TEXT
from rollbook.languages import listed, phrase, speaking, spoken
from rollbook.pipeline.values import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    """Every kind of problem by its code, with its sentence in the spoken language."""
    own = fields.current()
    return _with_own(own, spoken()) if own else _built_in(spoken())


@cache
def _built_in(language: str) -> Mapping[str, Problem]:
    with speaking(language):
        words = _words()
        return {
            code: Problem(sentence=phrase(f"problem.{code}", **words), **entry)
            for code, entry in written("problems.toml").items()
        }


def _words() -> dict[str, str]:
    """What sentences quote of the workbooks."""
    return {
        "use_row": phrase("refused.use_row"),
        "yes": phrase("refused.yes"),
        "passport_country": phrase("column.passport_country"),
    }


@cache
def _with_own(own: OwnFields, language: str) -> Mapping[str, Problem]:
    """The same with the problems of own fields and rules: a field's name, a dot, and the check."""
    found = dict(_built_in(language))
    with speaking(language):
        for name, rule in own.rules.items():
            field = own.by_key.get(name)
            severity: Severity = "error" if rule.is_strict else "warning"
            for check, sentence in _asked(own, name, rule):
                found[f"{name}.{check}"] = Problem(
                    severity, sentence, leaves_out=not rule.is_strict
                )
            if field is not None and field.kind == "choice":
                del found[f"{name}.choices"]  # it is the form of the type
            if rule.needed:
                title = _title(own, name)
                for check in ("missing", "unreadable"):
                    found[f"{name}.{check}"] = Problem(
                        "error", phrase(f"problem.own.{check}", title=title)
                    )
    return found


def asked_of(field: OwnField) -> list[str]:
    """What is asked of an own field's values, as sentences."""
    found = catalogue()
    checks = ("unclear", "choices", "pattern", "least", "most")
    return [found[code].sentence for check in checks if (code := f"{field.key}.{check}") in found]


def _title(own: OwnFields, name: str) -> str:
    if name == "date_of_birth":
        return phrase("problem.own.person")
    return own.by_key[name].title if name in own.by_key else phrase(f"column.{name}")


def _asked(own: OwnFields, name: str, rule: Rule) -> Iterator[tuple[str, str]]:
    """What each check of a rule asks for, and what a value of the field's type must be."""
    title = _title(own, name)
    field = own.by_key.get(name)
    kind = BUILT_IN[name] if field is None else field.kind
    if rule.choices is not None:
        choices = listed(rule.choices, _MOST_CHOICES)
        yield "choices", phrase("problem.own.choice", title=title, choices=choices)
    if rule.pattern is not None:
        yield "pattern", phrase("problem.own.pattern", title=title, pattern=rule.pattern)
    for check, bound in (("least", rule.least), ("most", rule.most)):
        if bound is not None and kind == "text":
            yield check, phrase(f"problem.own.{check}_characters", title=title, n=bound)
        elif bound is not None:
            yield check, phrase(f"problem.own.{check}", title=title, bound=bound)
    if rule.least_age is not None:
        yield "least_age", phrase("problem.own.least_age", title=title, n=rule.least_age)
    if field is not None:
        yield (
            "unclear",
            phrase(
                f"problem.own.{_FORMS[field.kind]}",
                title=title,
                most=MOST_TEXT,
                n=field.decimals,
                choices=listed(rule.choices or (), _MOST_CHOICES),
            ),
        )


#: The sentence on what a value of each type must be.
_FORMS: Final[Mapping[Kind, str]] = {
    "text": "text",
    "integer": "integer",
    "decimal": "decimal",
    "date": "date",
    "yes/no": "yes_or_no",
    "choice": "choice",
    "phone": "phone",
    "e-mail": "email",
}


def described(code: str) -> Problem:
    """The kind of problem with this code.

    There is none where only a newer version knows it, whose workers write it during an upgrade, or
    where the fields file doesn't have the own field or rule any more: a warning says so.
    """
    found = catalogue().get(code)
    if found is None:
        return Problem("warning", phrase("problem.former" if "." in code else "problem.unknown"))
    return found


def sentence(code: str) -> str:
    """The sentence for the person."""
    return described(code).sentence
