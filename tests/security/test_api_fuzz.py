"""Schemathesis: requests made of the OpenAPI document, and what is wrong with the answers.

All its checks are on: no 5xx, no status and no media type that the document doesn't name, answers
of the shape that it promises, what doesn't fit refused and what fits taken, every other method
refused. ``make fuzz-api`` makes more requests (200 with drawn values for each operation).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from rollbook.api.fixes import ReplacedValue
from tests.security.house import BASE, House
from tests.security.routes import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

#: An answer without an end; tests/integration/live/test_live.py and test_access.py have it.
STREAM = ("GET", f"{BASE}/events")
#: What is no operation of the document: the page with its files, and the WebSocket.
UNDOCUMENTED = {
    ("GET", "/"), ("GET", "/page/{version}/{name:path}"), ("GET", "/docs"), ("GET", "/docs/{name}"),
    ("GET", "/openapi.json"), ("WEBSOCKET", f"{BASE}/ws"),
}  # fmt: skip
#: What the document can't say: which bytes are a spreadsheet, which names the folder lists, and
#: which password is the present one, which places there are, which role has which, which addresses
#: may be reached, which languages are spoken, and that a passport number has a digit.
BY_CONTENT = {
    f"{BASE}/process", f"{BASE}/check", f"{BASE}/check/{{check_id}}", f"{BASE}/monitor/process",
    "/api/v1/auth/password", "/api/v1/auth/me", "/api/v1/members/readmit",
    "/api/v1/auth/second-factor", "/api/v1/auth/second-factor/confirm",
    "/api/v1/auth/second-factor/recovery-codes", "/api/v1/auth/second-factor/off",
    "/api/v1/keys", "/api/v1/users", "/api/v1/users/invitations",
    "/api/v1/users/invitations/check", "/api/v1/members", "/api/v1/members/search",
    "/api/v1/members/export", "/api/v1/members/removal", "/api/v1/webhooks",
    f"{BASE}/mend/{{job_id}}", f"{BASE}/facets/{{job_id}}",
}  # fmt: skip

#: tus asks for 412 where the header with its version is missing or another one.
PARTS = {f"{BASE}/files", f"{BASE}/files/{{file_id}}"}
OPERATIONS = sorted(" ".join(route) for route in RULES.keys() - UNDOCUMENTED - {STREAM})


@pytest.fixture(scope="module")
def document() -> Any:
    """The requests, by the module that makes them."""
    return import_module("tests.security.document")


@pytest.fixture(scope="module")
def running(house: House) -> Iterator[House]:
    """The installation, whose queue runs again afterwards."""
    yield house
    with house.client("super") as client:
        assert client.post(f"{BASE}/queue/resume").status_code == 200


def test_every_operation_of_the_document_is_tried(document: Any) -> None:
    assert document.labels() == {*OPERATIONS, " ".join(STREAM)}


@pytest.mark.parametrize("name", ["column", "value"])
def test_a_nul_in_a_long_text_is_refused(name: str) -> None:
    """``make fuzz-api`` sends them; in the gate the pattern would take three seconds."""
    good = {"column": "Province", "value": "Gautng", "becomes": "Gauteng"}
    ReplacedValue.model_validate(good)
    with pytest.raises(ValidationError, match="string_pattern_mismatch"):
        ReplacedValue.model_validate({**good, name: "a\0b"})


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_as_the_document_has_it(name: str, document: Any, running: House) -> None:
    path = name.partition(" ")[2]
    document.attempt(
        name,
        running,
        takes_what_fits=path not in BY_CONTENT | PARTS,
        refuses_the_rest=path not in PARTS,
    )
