"""Requests that Schemathesis makes of the OpenAPI document, and what is wrong with the answers.

A module of its own, since importing Schemathesis takes a second of a processor: it is imported by
the test that needs it, and not where tests are only collected.

Schemathesis derives some forty requests for each operation from the document, each with another
value at one place: it calls that coverage. The gate sends the first of each kind at each place, but
for what ``_is_tried_elsewhere`` says: 1,600 of 4,600, and none with drawn values. ``make fuzz-api``
sends all, and many with drawn values.
"""

from __future__ import annotations

import json
import os
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.generation.feedback import NO_FEEDBACK
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)
from schemathesis.transport.requests import ManagedCookiesSession

from rollbook.api.app import create_app
from rollbook.config import Settings
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from schemathesis.checks import CheckFunction
    from schemathesis.core.errors import InvalidSchema
    from schemathesis.core.result import Result

    from tests.security.house import House

T = TypeVar("T")

load_all_checks()
#: Of drawn values, for each operation; with some, nothing else is left out either.
EXAMPLES = int(os.environ.get("ROLLBOOK_API_EXAMPLES", "0"))
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

#: The length of a text whose pattern takes Schemathesis seconds: it repeats the pattern so often.
LONG = 10_000


def _without_long_patterns(part: Any) -> Any:
    """A part of the document whose long texts have no pattern; test_api_fuzz.py tries these."""
    if isinstance(part, list):
        return [_without_long_patterns(each) for each in part]
    if not isinstance(part, dict):
        return part
    is_long = isinstance(part.get("maxLength"), int) and part["maxLength"] >= LONG
    return {
        name: _without_long_patterns(value)
        for name, value in part.items()
        if not (is_long and name == "pattern")
    }


_document = create_app(Settings(_env_file=None)).openapi()
schema = schemathesis.openapi.from_dict(
    _document if EXAMPLES else _without_long_patterns(_document)
)


def succeeded(result: Result[T, InvalidSchema]) -> T:
    """The value of a result, unless a part of the document is malformed."""
    assert isinstance(result, Ok), result.err()
    return result.ok()


def labels() -> set[str]:
    """The operations of the document, such as ``GET /healthz``."""
    return {succeeded(one).label for one in schema.get_all_operations()}


def attempt(name: str, running: House, *, takes_what_fits: bool, refuses_the_rest: bool) -> None:
    """Make the requests of one operation, and raise what is wrong with an answer.

    Args:
        name: of the operation, as in ``labels``.
        running: where the requests go.
        takes_what_fits: the document says all that a request needs to be taken.
        refuses_the_rest: what doesn't fit the document is refused with a status that it names.
    """
    left_out: list[CheckFunction] = []
    if not takes_what_fits:
        left_out.append(positive_data_acceptance)
    if not refuses_the_rest:
        left_out.append(negative_data_rejection)
    operation = schema.find_operation_by_label(name)
    assert operation is not None
    # ``schema.parametrize`` would make the requests while tests are collected, in each process of
    # pytest-xdist, for four seconds.
    drawn: Any = build_operation_test(
        config=schema.config,
        operation=operation,
        test_func=_is_as_the_document_has_it,
        given_kwargs={},
        feedback=NO_FEEDBACK,
    )
    with ManagedCookiesSession() as session:  # one connection for all, as a good client has
        session.trust_env = False
        more: dict[str, Any] = {
            "running": running,
            "left_out": left_out,
            "session": session,
            "seen": set(),
        }
        if EXAMPLES:
            drawn(**more)
            return
        # The same requests in the same order. For each of them Hypothesis would take twice the time
        # that the request takes.
        for example in reversed(drawn.hypothesis_explicit_examples):
            _is_as_the_document_has_it(**example.kwargs, **more)


@cache
def _first_with() -> dict[str, str]:
    """The first operation that has a query parameter of each description."""
    found: dict[str, str] = {}
    for one in schema.get_all_operations():
        operation = succeeded(one)
        for parameter in operation.query:
            found.setdefault(_described(parameter), operation.label)
    return found


def _described(parameter: Any) -> str:
    return json.dumps(parameter.definition, sort_keys=True)


def _is_tried_elsewhere(case: schemathesis.Case[Any], at: CoveragePhaseData) -> bool:
    """Whether a request is refused before it comes to its operation, as another one's is.

    That is one with a wrong number or text in a query parameter that an earlier operation describes
    in the same words, such as ``page_size``, and a malformed type of a body that isn't read. Values
    of another type are tried for each parameter of each operation.
    """
    assert case.meta is not None
    if at.scenario is CoverageScenario.MALFORMED_CONTENT_TYPE:
        return not len(case.operation.body)
    if at.parameter_location is not ParameterLocation.QUERY or at.parameter is None:
        return False
    if case.meta.generation.mode.is_positive or at.scenario is CoverageScenario.INCORRECT_TYPE:
        return False
    parameter = case.operation.query.get(at.parameter)
    return parameter is not None and _first_with()[_described(parameter)] != case.operation.label


@settings(
    max_examples=EXAMPLES or 1,
    phases=tuple(Phase) if EXAMPLES else (Phase.explicit,),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def _is_as_the_document_has_it(
    case: schemathesis.Case[Any],
    running: House,
    left_out: list[CheckFunction],
    session: ManagedCookiesSession,
    seen: set[object],
) -> None:
    assert case.meta is not None
    at = case.meta.phase.data
    if isinstance(at, CoveragePhaseData) and not EXAMPLES:
        kind = (at.scenario, at.parameter_location, at.parameter, at.location)
        if kind in seen or _is_tried_elsewhere(case, at):
            return
        seen.add(kind)
    header = case.meta.components.get(ParameterLocation.HEADER)
    # Where the headers are to be wrong, the token is a part of them.
    headers = {} if header and header.mode.is_negative else running.bearer("super")
    # After each good answer the check asks again, without a token and with wrong ones: once is
    # enough for an operation.
    is_guarded = bool(headers) and ignored_auth in seen
    more: dict[str, Any] = {
        "headers": headers,
        "session": session,
        "excluded_checks": [*left_out, ignored_auth] if is_guarded else left_out,
        "timeout": PATIENCE_S,
    }
    answer = case.call_and_validate(base_url=running.url, **more)
    if headers and 200 <= answer.status_code < 300:
        seen.add(ignored_auth)
    is_good = case.meta.generation.mode.is_positive
    if case.method == "GET" and is_good and "job_id" in case.path_parameters:
        # An id that there is: made-up ones are all answered with 404.
        case.path_parameters["job_id"] = running.uploads["johannesburg"]
        case.call_and_validate(base_url=running.url, **more)
