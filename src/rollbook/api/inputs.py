"""Refuses query parameters, form fields and body members that a route doesn't know.

A misspelt name that is ignored does something else than what was asked: ``?dryRun=true`` would
merge. What a route knows is read from its own signature, so that no route can be forgotten. With
ROLLBOOK_FIRST_SYSTEM_CLIENTS nothing is refused, because those clients send names of their own.
"""

from __future__ import annotations

import json
import types
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from pydantic import AliasChoices, BaseModel
from starlette.requests import HTTPConnection, Request

from rollbook.config import Settings
from rollbook.errors import InvalidRequestError
from rollbook.masking import masked, visible

#: Names of a request that an answer quotes; a request may have thousands.
_QUOTED: Final = 5
#: Characters of a name that an answer quotes.
_LENGTH: Final = 60
#: Similarity from which a name is suggested, of 100.
_NEAR: Final = 75
#: Fewer characters are similar to everything.
_SHORTEST: Final = 3
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


async def any_parameter() -> None:
    """Marks a route that takes any parameter: what others call, by rules that aren't ours."""


AnyParameter: Final = Depends(any_parameter)


async def known_inputs(connection: HTTPConnection) -> None:
    """The dependency of all routes: refuse a request with a name that its route doesn't know.

    Raises:
        InvalidRequestError: a query parameter or a body member isn't known, or came twice.
    """
    route = _route(connection)
    if not are_refused(connection) or _takes_any(route.dependant):
        return
    problems = _query_problems(connection, route)
    if isinstance(connection, Request) and connection.method in _WITH_BODY:
        problems += await _body_problems(connection, route)
    refuse(problems)


def are_refused(connection: HTTPConnection) -> bool:
    """Whether unknown names are refused here."""
    settings = cast("Settings", connection.app.state.settings)
    return not settings.first_system_clients


def refuse(problems: Sequence[tuple[str, str]]) -> None:
    """Refuse a request for these names, each with a sentence.

    Raises:
        InvalidRequestError: there are any; ``errors`` has the names and the sentences.
    """
    if not problems:
        return
    errors = [{"field": name, "message": sentence} for name, sentence in problems[:_QUOTED]]
    named = " ".join(sentence for _, sentence in problems[:_QUOTED])
    raise InvalidRequestError(f"Nothing was changed. {named}", errors=errors)


def form_fields(request: Request) -> Collection[str]:
    """The fields of the form that this request's route reads itself."""
    return _route(request).form or ()


def refuse_field(request: Request, name: str, *, is_file: bool) -> None:
    """Refuse a form's field that the request's route doesn't know.

    Raises:
        InvalidRequestError: always; the sentence names the nearest field.
    """
    route = _route(request)
    if is_file and "file" in (route.form or ()):
        shown = _shown(name)
        refuse([(shown, f"The form has no field {shown!r}: send the file in the field 'file'.")])
    refuse([_unknown("form field", name, route.names())])


class _Route:
    """What a route takes."""

    def __init__(self, dependant: Dependant, body: Any, form: Mapping[str, Any] | None) -> None:
        self.dependant = dependant
        #: Query parameters, and whether each may come more than once.
        self.query = {name: _is_list(kind) for name, kind in _query(dependant)}
        #: The type of the body; None: it takes none, or reads it itself.
        self.body = body
        #: The fields of a form that the route reads itself.
        self.form = form

    def names(self) -> dict[str, list[str]]:
        """All that the route takes, by where it is sent."""
        models = _models(self.body)
        return {
            "query parameter": list(self.query),
            "form field": list(self.form or ()),
            "body member": [name for model in models for name in _members(model)],
        }


def _route(connection: HTTPConnection) -> _Route:
    scope = connection.scope
    found = scope.get("fastapi", {}).get("effective_route_context") or scope["route"]
    # A WebSocket's route is inside of its context.
    dependant = found.dependant or found.starlette_route.dependant
    routes = cast("dict[int, _Route]", connection.app.state.inputs)
    if id(dependant) not in routes:
        routes[id(dependant)] = _read(found, dependant)
    return routes[id(dependant)]


def _read(found: Any, dependant: Dependant) -> _Route:
    body = getattr(found, "body_field", None)
    extra = getattr(found, "openapi_extra", None) or {}
    content = extra.get("requestBody", {}).get("content", {})
    form = None
    for described in content.values():
        form = {**(form or {}), **described["schema"].get("properties", {})}
    return _Route(dependant, body.field_info.annotation if body else None, form)


def _query(dependant: Dependant) -> Iterator[tuple[str, Any]]:
    """The query parameters of a route and of its dependencies, with their types."""
    for parameter in dependant.query_params:
        kind = parameter.field_info.annotation
        models = _models(kind)
        yield from (
            [member for model in models for member in _members(model).items()]
            if models
            else [(parameter.alias, kind)]
        )
    for inner in dependant.dependencies:
        yield from _query(inner)


def _takes_any(dependant: Dependant) -> bool:
    return any(found.call is any_parameter or _takes_any(found) for found in dependant.dependencies)


# --- the query ------------------------------------------------------------------------------------


def _query_problems(connection: HTTPConnection, route: _Route) -> list[tuple[str, str]]:
    problems = []
    for name, times in Counter(name for name, _ in connection.query_params.multi_items()).items():
        if name not in route.query:
            problems.append(_unknown("query parameter", name, route.names()))
        elif times > 1 and not route.query[name]:
            problems.append((name, f"The query parameter {name!r} came {times} times. Send one."))
    return problems


# --- the body -------------------------------------------------------------------------------------


class _Members(dict[str, Any]):
    """An object of a body, which remembers the names that came twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]


async def _body_problems(request: Request, route: _Route) -> list[tuple[str, str]]:
    if route.form is not None:  # the route reads it as it comes in
        return []
    text = await request.body()
    if route.body is None:
        return [] if text.strip() in {b"", b"{}", b"null"} else [_unwanted(route)]
    try:
        body = json.loads(text, object_pairs_hook=_Members)
        return list(_walk(body, route.body, route, ""))
    except ValueError:
        return []  # the route says so
    except RecursionError:
        return [("body", "The body has values within values, far too deep.")]


def _unwanted(route: _Route) -> tuple[str, str]:
    names = [f"the query parameter {name!r}" for name in route.query]
    takes = f"It takes {' and '.join(names)}." if names else "Send it without one."
    return "body", f"This call takes no body. {takes}"


def _walk(value: Any, annotation: Any, route: _Route, path: str) -> Iterator[tuple[str, str]]:
    """The problems of a value of the body, and of what is in it."""
    if isinstance(value, list):
        for inner in value:
            yield from _walk(inner, annotation, route, path)
    if not isinstance(value, _Members):
        return
    for name in value.twice:
        shown = _shown(name)
        yield f"{path}{shown}", f"The body member {shown!r} came more than once. Send one."
    models = _models(annotation)
    if not models or any(model.model_config.get("extra") == "allow" for model in models):
        return  # any name is good here
    known: dict[str, list[Any]] = {}
    for name, kind in [member for model in models for member in _members(model).items()]:
        known.setdefault(name, []).append(kind)
    for name, inner in value.items():
        if name not in known:
            names = {**route.names(), "body member": list(known)}
            shown, sentence = _unknown("body member", name, names)
            yield f"{path}{shown}", sentence
        for kind in known.get(name, ()):
            yield from _walk(inner, kind, route, f"{path}{name}.")


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, in a union, a list or ``Annotated``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Union, types.UnionType, Annotated, list, tuple, Sequence}:
        return [model for one in get_args(annotation) for model in _models(one)]
    return []


def _members(model: type[BaseModel]) -> dict[str, Any]:
    """The names that a model reads, with their types."""
    members: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        aliases = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        if model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"):
            aliases = [*aliases, name]
        members |= {one: field.annotation for one in aliases if isinstance(one, str)}
    return members


# --- sentences ------------------------------------------------------------------------------------


def _unknown(kind: str, name: str, known: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """The name as it may be shown, and a sentence with the nearest one that the route takes."""
    shown = _shown(name)
    near = _nearest(name, known)
    if near is not None:
        advice = f"Did you mean the {near[0]} {near[1]!r}?"
    elif known.get(kind):
        advice = f"This call takes {', '.join(known[kind])}."
    else:
        advice = f"This call takes no {kind}."
    return shown, f"There is no {kind} {shown!r}. {advice}"


def _nearest(name: str, known: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The kind and the name of the most similar one; None where none is similar."""
    choices = [(kind, one) for kind, names in known.items() for one in names]
    if len(_plain(name)) < _SHORTEST:
        return None
    from rapidfuzz import fuzz, process  # the API starts without it

    found = process.extractOne(
        _plain(name[:_LENGTH]),
        [_plain(one) for _, one in choices],
        scorer=fuzz.WRatio,
        score_cutoff=_NEAR,
    )
    return choices[found[2]] if found else None


def _plain(name: str) -> str:
    """A name without case and punctuation: ``dryRun`` and ``dry-run`` are ``dry_run``."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _shown(name: str) -> str:
    return masked(visible(name[:_LENGTH]))


def _is_list(annotation: Any) -> bool:
    """Whether a parameter may come more than once."""
    if get_origin(annotation) in {Union, types.UnionType, Annotated}:
        return any(_is_list(one) for one in get_args(annotation))
    return get_origin(annotation) in {list, set, tuple, frozenset, Sequence}
