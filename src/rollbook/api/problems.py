"""Every failure as ``application/problem+json`` (RFC 9457), with a sentence for the person."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from psycopg import InterfaceError, OperationalError
from psycopg.errors import (
    IdleInTransactionSessionTimeout,
    ReadOnlySqlTransaction,
    TransactionTimeout,
)
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from rollbook import languages
from rollbook.api.requests import HEADER
from rollbook.backends import exhaustion, file_errors
from rollbook.backends.database_errors import explained
from rollbook.errors import (
    NoResourcesError,
    NoRoomError,
    RollbookError,
    TooManyRequestsError,
)
from rollbook.masking import masked
from rollbook.telemetry import logs

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

#: What PostgreSQL and its pool raise for reasons that aren't ours.
_OF_POSTGRESQL = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
    ReadOnlySqlTransaction,
    IdleInTransactionSessionTimeout,
    TransactionTimeout,
)
FULL = (
    "A disk of this server is full, so nothing was changed. Please ask the operator to make room, "
    "and try again then."
)
MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


def problem(
    request: Request, *, status: int, code: str, title: str, detail: str, **members: Any
) -> JSONResponse:
    """The answer to a failed request."""
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    content = {
        "success": False,
        "message": detail,
        "type": f"urn:rollbook:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": masked(request.url.path),
        **members,
    }
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Answer our errors, the framework's and unforeseen ones as problems."""
    for language in languages.available():  # a process without open files couldn't read them later
        languages.texts(language)
    app.add_exception_handler(RollbookError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    for kind in _OF_POSTGRESQL:
        app.add_exception_handler(kind, _database)
    app.add_exception_handler(Exception, _unforeseen)


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RollbookError)
    answer = problem(
        request,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.message,
        **error.members,
    )
    if isinstance(error, TooManyRequestsError):
        answer.headers["Retry-After"] = str(math.ceil(error.wait_s))
    return answer


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [
        {
            "field": masked(".".join(str(part) for part in e["loc"][1:])),
            "message": masked(e["msg"]),
        }
        for e in error.errors()
    ]
    named = "; ".join(f"{f['field'] or 'body'}: {f['message']}" for f in fields)
    return problem(
        request,
        status=422,
        code="invalid_request",
        title="The request can't be understood",
        detail=f"Nothing was changed. {named}.",
        errors=fields,
    )


async def _framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    answer = problem(
        request,
        status=error.status_code,
        code=title.lower().replace(" ", "_"),
        title=title,
        detail=str(error.detail),
    )
    answer.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = _methods(request)
    return answer


def _methods(request: Request) -> str:
    """The methods of an address; the router itself names those of its first route only."""
    path = request.url.path
    return ", ".join(
        sorted(
            method
            for found in iter_route_contexts(request.app.routes)
            if found.methods and found.path_regex.match(path)
            for method in found.methods
        )
    )


async def _database(request: Request, error: Exception) -> JSONResponse:
    meaning = explained(error)
    assert meaning is not None
    log.error(
        "request ended by PostgreSQL",
        path=request.url.path,
        error=type(error).__name__,
        code=meaning.code,
        sqlstate=getattr(error, "sqlstate", None),
    )
    return await _known(request, meaning)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    # The error's own text may quote data: neither the answer nor the log has it.
    request_id = getattr(request.state, "request_id", None)
    log.error(
        "request failed",
        path=request.url.path,
        request_id=request_id,
        error=type(error).__name__,
        where=logs.places(error),
    )
    if exhaustion.is_one(error):
        answer = await _known(request, NoResourcesError(exhaustion.SENTENCE))
    elif file_errors.is_full(error):
        answer = await _known(request, NoRoomError(FULL))
    else:
        answer = problem(
            request,
            status=500,
            code="internal",
            title="Something went wrong on our side",
            detail="The request failed because of a fault in Rollbook. The operator's log says "
            "more.",
        )
    if request_id is not None:  # this answer bypasses the middleware that sets it
        answer.headers[HEADER] = request_id
    # The error is raised again, and the server closes the connection: a client that is not told
    # would find its next request reset.
    answer.headers["Connection"] = "close"
    return answer
