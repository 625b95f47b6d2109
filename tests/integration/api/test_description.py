"""The OpenAPI document is one that a generator of clients and a reader can use."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.api.app import create_app
from rollbook.api.description import EXAMPLES
from rollbook.api.operations import DOWNLOADS, IDS, PARAMETERS
from rollbook.config import Settings
from rollbook.members.correct import FIELDS
from rollbook.pipeline.columns import variants

if TYPE_CHECKING:
    from collections.abc import Iterator

#: RFC 3339, section 5.6: with a zone, always.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
#: A text that begins as a time does.
LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
#: Names of members that hold a moment.
MOMENTS = re.compile(r".*_(at|since|until)$|at")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(_env_file=None)).openapi()


@pytest.fixture(scope="module")
def other() -> dict[str, Any]:
    """That of an installation that says where it is, and takes the first system's clients."""
    address = "https://rollbook.example.org"
    settings = Settings(_env_file=None, public_url=address, first_system_clients=True)
    return create_app(settings).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named == set(document["components"]["schemas"])


def test_operations_have_names_that_a_person_would_choose(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)) > 50
    for name in names:
        assert re.fullmatch(r"[a-z]+(_[a-z]+){0,4}", name), name
        assert not {"api", "v1", "post"} & set(name.split("_")), name
    assert set(IDS.values()) <= set(names), "an operation that operations.py names is gone"
    assert set(DOWNLOADS) <= set(names)
    routes = {(method, path) for method, path, _ in operations(document)}
    assert set(IDS) <= routes


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    seen = set()
    for method, path, operation in operations(document):
        assert operation.get("description") or operation.get("summary"), (method, path)
        for parameter in operation.get("parameters", ()):
            seen.add(parameter["name"])
            assert len(parameter.get("description", "")) > 10, (method, path, parameter["name"])
    assert set(PARAMETERS) <= seen


def test_every_success_says_what_it_answers_with(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for code, answer in operation["responses"].items():
            # The answers about partial files have headers and no body.
            if code[0] == "2" and "/bulk-upload/files" not in path:
                assert answer.get("content"), (method, path, code)
            if code[0] in "45":
                assert set(answer["content"]) == {"application/problem+json"}, (method, path)


def test_the_server_is_the_installation(document: dict[str, Any], other: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["/"]
    assert [server["url"] for server in other["servers"]] == ["https://rollbook.example.org"]


def test_every_body_says_that_it_has_no_other_members(
    document: dict[str, Any], other: dict[str, Any]
) -> None:
    bodies = 0
    for _, path, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for schema in _objects(document, content["schema"]):
                bodies += 1
                assert schema["additionalProperties"] is False, path
    assert bodies > 10
    assert "additionalProperties" not in other["components"]["schemas"]["NewKey"]


def _objects(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for inner in schema.get("anyOf", ()):
        yield from _objects(document, inner)
    if "properties" in schema:
        yield schema


# --- times ----------------------------------------------------------------------------------------


def test_every_moment_in_the_document_is_a_time_of_rfc_3339(document: dict[str, Any]) -> None:
    moments = 0
    for name, schema in document["components"]["schemas"].items():
        for member, described in schema.get("properties", {}).items():
            if not MOMENTS.fullmatch(member):
                continue
            kinds = [described, *described.get("anyOf", ())]
            formats = {kind.get("format") for kind in kinds if kind.get("type") == "string"}
            assert formats == {"date-time"}, f"{name}.{member}"
            moments += 1
    assert moments > 20


def test_every_recorded_time_is_one_of_rfc_3339_with_its_zone() -> None:
    times = 0
    for operation, example in json.loads(EXAMPLES.read_text(encoding="utf-8")).items():
        for path, value in _texts(example):
            if MOMENTS.fullmatch(path.rpartition(".")[2]) or LIKE_A_TIME.match(value):
                assert TIME.fullmatch(value), f"{operation}: {path} is {value}"
                times += 1
            elif DATE.match(value) and len(value) < 30:
                assert DATE.fullmatch(value), f"{operation}: {path} is {value}"
    assert times > 30


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)
    elif isinstance(value, str):
        yield path, value


def test_an_object_that_takes_only_some_names_or_values_lists_them(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]
    change = schemas["MappingChange"]["properties"]["columns"]
    check, _ = schemas["CheckChoices"]["properties"]["columns"]["anyOf"]
    for columns in (change, check):
        field, nothing = columns["additionalProperties"]["anyOf"]
        assert field["enum"] == list(variants())
        assert nothing == {"type": "null"}
        assert not re.search(columns["propertyNames"]["pattern"], "Lid\0No")
        assert re.search(columns["propertyNames"]["pattern"], "Lid No")
    fields = schemas["CorrectionRequest"]["properties"]["fields"]
    assert fields["propertyNames"]["enum"] == list(FIELDS)
