"""What the OpenAPI document says of failures: every status that an operation can answer with."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from rollbook.api.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PROBLEM: Final = {"schema": {"$ref": "#/components/schemas/Problem"}}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
#: What FastAPI says of bodies and parameters that don't fit; ours is a problem like all others.
_UNUSED: Final = ("HTTPValidationError", "ValidationError")


def complete(document: dict[str, Any], *, base: str) -> None:
    """Name the failures that all operations have in common, and the form in which they come.

    Args:
        document: OpenAPI, as FastAPI makes it of the routes.
        base: where the operations lie whose failures are problems.
    """
    for path, operations in document["paths"].items():
        if not path.startswith(base):
            continue
        for operation in operations.values():
            answers = operation["responses"]
            for code in _failures(operation):
                answers.setdefault(str(code), {"description": HTTPStatus(code).phrase})
            for code, answer in answers.items():
                if code[0] in "45":
                    answer["content"] = {MEDIA_TYPE: _PROBLEM}
            if "429" in answers:
                answers["429"]["headers"] = _RETRY_AFTER
            operation["responses"] = dict(sorted(answers.items()))
    for name in _UNUSED:
        document["components"]["schemas"].pop(name, None)


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
