"""Requests that Schemathesis makes of the OpenAPI document, and what is wrong with the answers.

A module of its own, since importing Schemathesis takes a second of a processor: it is imported by
the test that needs it, and not where tests are only collected.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
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
EXAMPLES = int(os.environ.get("ROLLBOOK_API_EXAMPLES", "2"))
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

schema = schemathesis.openapi.from_dict(create_app(Settings(_env_file=None)).openapi())


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
    # ``schema.parametrize`` would make the requests while tests are collected, in each process of
    # pytest-xdist, for four seconds.
    (made,) = get_all_tests(
        schema=schema.include(name=name),
        test_func=_is_as_the_document_has_it,
        settings=None,
        given_kwargs=None,
    )
    _, requests = succeeded(made)
    with ManagedCookiesSession() as session:  # one connection for all, as a good client has
        session.trust_env = False
        requests(running=running, left_out=left_out, session=session)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def _is_as_the_document_has_it(
    case: schemathesis.Case[Any],
    running: House,
    left_out: list[CheckFunction],
    session: ManagedCookiesSession,
) -> None:
    assert case.meta is not None
    header = case.meta.components.get(ParameterLocation.HEADER)
    # Where the headers are to be wrong, the token is a part of them.
    headers = {} if header and header.mode.is_negative else running.bearer("super")
    more: dict[str, Any] = {
        "headers": headers,
        "session": session,
        "excluded_checks": left_out,
        "timeout": PATIENCE_S,
    }
    case.call_and_validate(base_url=running.url, **more)
    is_good = case.meta.generation.mode.is_positive
    if case.method == "GET" and is_good and "job_id" in case.path_parameters:
        # An id that there is: made-up ones are all answered with 404.
        case.path_parameters["job_id"] = running.uploads["johannesburg"]
        case.call_and_validate(base_url=running.url, **more)
