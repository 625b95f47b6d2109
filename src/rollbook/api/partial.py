"""Sending a file by parts, by the protocol tus 1.0 (https://tus.io/protocols/resumable-upload).

Its extensions ``creation``, ``creation-with-upload``, ``checksum``, ``expiration`` and
``termination`` are there. The complete file is a check: the id in its address is the ``check_id``.
"""

from __future__ import annotations

import base64
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rollbook.api.access import SystemParam, UserParam, audited, failures, routes
from rollbook.errors import InvalidRequestError
from rollbook.uploads import partial
from rollbook.uploads.partial import Checksum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.uploads.partial import PartialFile

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
#: The media type of parts, which the protocol requires.
PARTS = "application/offset+octet-stream"
_BODY = {
    "requestBody": {
        "content": {PARTS: {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = routes("/bulk-upload/files", "uploads", 401, 412, 422)


async def versioned(
    response: Response,
    tus_resumable: Annotated[
        str | None, Header(description="The version of the protocol: 1.0.0.")
    ] = None,
) -> None:
    """A dependency that refuses other versions of the protocol.

    Raises:
        HTTPException: 412 with the version that is spoken.
    """
    if tus_resumable != VERSION:
        raise HTTPException(
            HTTPStatus.PRECONDITION_FAILED,
            f"Send the header Tus-Resumable: {VERSION}. Nothing was changed.",
            headers={"Tus-Version": VERSION},
        )
    response.headers["Tus-Resumable"] = VERSION
    response.headers["Cache-Control"] = "no-store"


Versioned = Annotated[None, Depends(versioned)]
Length = Annotated[int, Header(ge=0)]
Offset = Annotated[int, Header(ge=0)]


@router.options("", status_code=204)
async def resumable_options(system: SystemParam, response: Response) -> None:
    """What of the protocol is there, and how large a file may be."""
    response.headers.update(
        {
            "Tus-Resumable": VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(system.settings.max_upload_bytes),
            "Tus-Checksum-Algorithm": ",".join(partial.CHECKSUMS),
        }
    )


@router.post(
    "",
    status_code=201,
    response_class=Response,
    openapi_extra=_BODY,
    **audited("upload", 409, 413, 415, 429, 503),
)
async def begin_file(
    request: Request,
    response: Response,
    system: SystemParam,
    user: UserParam,
    _: Versioned,
    upload_length: Annotated[Length, Header(description="Bytes of the whole file.")],
    upload_metadata: Annotated[
        str, Header(description="`filename` and the file's name in base64.")
    ] = "",
) -> None:
    """Begin a file that is sent by parts; the answer's Location is where they go."""
    name = _file_name(upload_metadata)
    file = await partial.create(system, user, name, upload_length)
    response.headers["Location"] = f"files/{file.id}"
    if request.headers.get("content-type") == PARTS:
        file = await _append(request, system, user, file.id, offset=0)
    _describe(response, file)


@router.head("/{file_id}", response_class=Response, responses=failures(404))
async def get_file_offset(
    file_id: UUID, response: Response, system: SystemParam, user: UserParam, _: Versioned
) -> None:
    """How much of the file has come in."""
    file = await partial.find(system, user, file_id)
    _describe(response, file)
    response.headers["Upload-Length"] = str(file.bytes)


@router.patch(
    "/{file_id}",
    status_code=204,
    openapi_extra=_BODY,
    **audited("upload", 404, 408, 409, 413, 415, 423, 429, 460, 503),
)
async def append_to_file(
    file_id: UUID,
    request: Request,
    response: Response,
    system: SystemParam,
    user: UserParam,
    _: Versioned,
    upload_offset: Annotated[Offset, Header(description="How much has come in, in bytes.")],
) -> None:
    """Add bytes to the file; what came in before the line was cut is kept."""
    if request.headers.get("content-type") != PARTS:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Send the bytes with Content-Type: {PARTS}. Nothing was kept.",
        )
    _describe(response, await _append(request, system, user, file_id, offset=upload_offset))


@router.delete("/{file_id}", status_code=204, responses=failures(404, 423, 503))
async def discard_file(file_id: UUID, system: SystemParam, user: UserParam, _: Versioned) -> None:
    """Remove a file of which parts are still missing."""
    await partial.remove(system, user, file_id)


async def _append(
    request: Request, system: SystemParam, user: UserParam, file_id: UUID, *, offset: int
) -> PartialFile:
    header = request.headers.get("upload-checksum")
    checksum = _checksum(header) if header else None
    cut: HTTPException | None = None

    async def body() -> AsyncIterator[bytes]:
        nonlocal cut
        try:
            async for chunk in request.stream():
                yield chunk
        except ClientDisconnect:
            return  # nobody reads the answer
        except HTTPException as error:  # it came too slowly
            cut = HTTPException(
                error.status_code,
                "The bytes came in too slowly and the line was cut. What came in is kept; ask how "
                "much that is, and go on from there.",
                headers=error.headers,
            )

    file = await partial.append(system, user, file_id, body(), offset=offset, checksum=checksum)
    if cut is not None:
        raise cut
    return file


def _checksum(header: str) -> Checksum:
    """Read the header ``Upload-Checksum``: an algorithm's name and a digest in base64.

    Raises:
        HTTPException: 400, it can't be read, or the algorithm isn't known.
    """
    algorithm, _, digest = header.strip().partition(" ")
    try:
        if algorithm in partial.CHECKSUMS:
            return Checksum(algorithm, base64.b64decode(digest, validate=True))
    except ValueError:
        pass
    raise HTTPException(
        HTTPStatus.BAD_REQUEST,
        f"Send Upload-Checksum as an algorithm ({', '.join(partial.CHECKSUMS)}), a space and the "
        "digest in base64. Nothing of this request was kept.",
    )


def _describe(response: Response, file: PartialFile) -> None:
    response.headers["Upload-Offset"] = str(file.received)
    response.headers["Upload-Expires"] = format_datetime(file.expires_at, usegmt=True)


def _file_name(metadata: str) -> str:
    """The name in the header ``Upload-Metadata``: pairs of a key and a value in base64.

    Raises:
        InvalidRequestError: there is none, or it can't be read.
    """
    pairs = dict(pair.strip().partition(" ")[::2] for pair in metadata.split(","))
    try:
        name = base64.b64decode(pairs["filename"], validate=True).decode("utf-8")
    except (KeyError, ValueError):
        name = ""
    if not name.strip():
        raise InvalidRequestError(
            "Send the header Upload-Metadata with 'filename' and the file's name in base64. "
            "Nothing was kept."
        )
    return name
