"""Completes the OpenAPI document: names, texts, failures, and an example of each operation.

A test records the examples from a running system and keeps them up to date.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rollbook.api import operations
from rollbook.api.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Status, request and answer by operation (``GET /api/v1/...``).
EXAMPLES: Final = Path(__file__).with_name("examples.json")
_JSON: Final = "application/json"
_PROBLEM: Final = {"schema": {"$ref": "#/components/schemas/Problem"}}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
#: FastAPI's schemas of validation errors; ours are problems like all others.
_UNUSED: Final = ("HTTPValidationError", "ValidationError")


def complete(document: dict[str, Any], *, base: str, server: str, is_strict: bool) -> None:
    """Add what FastAPI leaves out: failures, examples, names, texts and media types.

    ``base`` is the prefix of the operations that have failures in common. ``server`` is the
    installation's address, or ``/`` for the one that the document came from. ``is_strict``: unknown
    members of a body are refused.
    """
    document["servers"] = [{"url": server, "description": "This installation"}]
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8")) if EXAMPLES.exists() else {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _complete_one(operation)
            if path.startswith(base):
                _add_failures(operation)
            _make_problems(operation)
            if example := examples.get(f"{method.upper()} {path}"):
                _show(operation, example)
    for name in _UNUSED:
        document["components"]["schemas"].pop(name, None)
    if is_strict:
        _close_bodies(document)


def _complete_one(operation: dict[str, Any]) -> None:
    """Give parameters their texts, and a download its media type."""
    for parameter in operation.get("parameters", ()):
        text = operations.PARAMETERS.get(parameter["name"])
        if text is not None:
            parameter.setdefault("description", text)
    if media_type := operations.DOWNLOADS.get(operation["operationId"]):
        content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
        operation["responses"]["200"] |= {"description": "The file", "content": content}


def _make_problems(operation: dict[str, Any]) -> None:
    for code, answer in operation["responses"].items():
        if code[0] in "45":
            answer["content"] = {MEDIA_TYPE: _PROBLEM}


def _add_failures(operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    for code in _failures(operation):
        answers.setdefault(str(code), {"description": HTTPStatus(code).phrase})
    if "429" in answers:
        answers["429"]["headers"] = _RETRY_AFTER
    operation["responses"] = dict(sorted(answers.items()))


def _close_bodies(document: dict[str, Any]) -> None:
    """Say of every object that a body may hold that it has no other members."""
    schemas = document["components"]["schemas"]
    waiting: list[Any] = [
        described["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for described in operation.get("requestBody", {}).get("content", {}).values()
    ]
    seen: set[str] = set()
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, list):
            waiting += schema
        if not isinstance(schema, dict):
            continue
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        if name and name not in seen:
            seen.add(name)
            waiting.append(schemas[name])
        waiting += [inner for key, inner in schema.items() if key != "example"]


def _show(operation: dict[str, Any], example: Mapping[str, Any]) -> None:
    answer = operation["responses"][str(example["status"])]
    answer["content"][_JSON]["example"] = example["answer"]
    if "request" in example:
        operation["requestBody"]["content"][_JSON]["example"] = example["request"]


def _failures(operation: Mapping[str, Any]) -> Iterator[int]:
    yield HTTPStatus.SERVICE_UNAVAILABLE
    if operation.get("security"):
        yield HTTPStatus.UNAUTHORIZED
        yield HTTPStatus.TOO_MANY_REQUESTS
    if operation.get("parameters") or operation.get("requestBody"):
        yield HTTPStatus.UNPROCESSABLE_ENTITY
    if operation.get("requestBody"):
        yield HTTPStatus.BAD_REQUEST
        yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE
