"""Schemathesis: requests made of the OpenAPI document, and what is wrong with the answers.

All its checks are on: no 5xx, no status and no media type that the document doesn't name, answers
of the shape that it promises, what doesn't fit refused and what fits taken, every other method
refused. ``make fuzz-api`` makes more requests (ROLLBOOK_API_EXAMPLES for each operation).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from rollbook.api.app import create_app
from rollbook.config import Settings
from tests.security.house import BASE, House
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis.checks import CheckFunction
    from schemathesis.core.errors import InvalidSchema
    from schemathesis.core.result import Result

T = TypeVar("T")

load_all_checks()
EXAMPLES = int(os.environ.get("ROLLBOOK_API_EXAMPLES", "2"))
#: An answer without an end; tests/integration/live/test_live.py and test_access.py have it.
STREAM = f"{BASE}/events"
#: What the document can't say: which bytes are a spreadsheet, which names the folder lists, and
#: which password is the present one, which places there are, which role has which, which addresses
#: may be reached, which languages are spoken, and that a passport number has a digit.
BY_CONTENT = {
    f"{BASE}/process", f"{BASE}/check", f"{BASE}/monitor/process", "/api/v1/auth/password",
    "/api/v1/auth/me", "/api/v1/members/readmit",
    "/api/v1/auth/second-factor", "/api/v1/auth/second-factor/confirm",
    "/api/v1/auth/second-factor/recovery-codes", "/api/v1/auth/second-factor/off",
    "/api/v1/keys", "/api/v1/users", "/api/v1/users/invitations",
    "/api/v1/users/invitations/check", "/api/v1/members", "/api/v1/members/search",
    "/api/v1/members/export", "/api/v1/members/removal", "/api/v1/webhooks",
    f"{BASE}/mend/{{job_id}}", f"{BASE}/facets/{{job_id}}",
}  # fmt: skip

#: tus asks for 412 where the header with its version is missing or another one.
PARTS = {f"{BASE}/files", f"{BASE}/files/{{file_id}}"}
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

schema = schemathesis.openapi.from_dict(create_app(Settings(_env_file=None)).openapi()).exclude(
    path=STREAM
)


@pytest.fixture(scope="module")
def running(house: House) -> Iterator[House]:
    """The installation, whose queue runs again afterwards."""
    yield house
    with house.client("super") as client:
        assert client.post(f"{BASE}/queue/resume").status_code == 200


def succeeded(result: Result[T, InvalidSchema]) -> T:
    """The value of a result, unless a part of the document is malformed."""
    assert isinstance(result, Ok), result.err()
    return result.ok()


@pytest.mark.parametrize("name", [succeeded(one).label for one in schema.get_all_operations()])
def test_every_answer_is_as_the_document_has_it(name: str, running: House) -> None:
    # ``schema.parametrize`` would make the requests while tests are collected, in each process of
    # pytest-xdist, for four seconds.
    (made,) = get_all_tests(
        schema=schema.include(name=name),
        test_func=is_as_the_document_has_it,
        settings=None,
        given_kwargs=None,
    )
    _, requests = succeeded(made)
    requests(running=running)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def is_as_the_document_has_it(case: schemathesis.Case[Any], running: House) -> None:
    assert case.meta is not None
    header = case.meta.components.get(ParameterLocation.HEADER)
    # Where the headers are to be wrong, the token is a part of them.
    headers = {} if header and header.mode.is_negative else running.bearer("super")
    left_out: list[CheckFunction] = []
    if case.operation.path in BY_CONTENT | PARTS:
        left_out.append(positive_data_acceptance)
    if case.operation.path in PARTS:
        left_out.append(negative_data_rejection)
    case.call_and_validate(
        base_url=running.url, headers=headers, excluded_checks=left_out, timeout=PATIENCE_S
    )
    is_good = case.meta.generation.mode.is_positive
    if case.method == "GET" and is_good and "job_id" in case.path_parameters:
        # An id that there is: made-up ones are all answered with 404.
        case.path_parameters["job_id"] = running.uploads["johannesburg"]
        case.call_and_validate(
            base_url=running.url, headers=headers, excluded_checks=left_out, timeout=PATIENCE_S
        )
