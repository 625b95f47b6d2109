"""Groups of options that several commands share: a dataclass, whose fields are the options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import typer


class Commands(typer.Typer):
    """Commands whose parameters may be groups of options."""

    def command(self, *given: Any, **more: Any) -> Callable[[Callable[..., Any]], Any]:
        """Add a command: it has the options of its groups, and its function gets the groups."""
        add = super().command(*given, **more)

        def added(function: Callable[..., Any]) -> Callable[..., Any]:
            add(_with_groups(function))
            return function

        return added


def _with_groups(function: Callable[..., Any]) -> Callable[..., Any]:
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    groups: dict[str, Any] = {
        one.name: one.annotation for one in parameters if is_dataclass(one.annotation)
    }
    options: list[inspect.Parameter] = []
    for one in parameters:
        options += _options(groups[one.name]) if one.name in groups else [one]

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        return function(**given)

    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in options]
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return command


def _options(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    made = inspect.signature(group).parameters.values()
    return [one.replace(annotation=hints[one.name]) for one in made]
