"""The multipart body of an upload, read as it arrives.

The file is streamed and never whole in memory; the other fields are small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, overload

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from rollbook.api import inputs
from rollbook.errors import FileTooLargeError, InvalidRequestError, MissingFileError
from rollbook.uploads import receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fastapi import Request

    from rollbook.config import Settings
    from rollbook.service.system import System

MAX_PARTS = 16
MAX_FIELD_BYTES = 4096
#: Allowed bytes beside the file: boundaries, headers and fields.
ROOM_FOR_THE_REST = 64 * 1024
#: The file, in the description of a form.
FILE: Final = {
    "type": "string",
    "format": "binary",
    "description": "A workbook or text file with one member a row.",
}


def described(fields: dict[str, Any], *, required: Sequence[str] = ()) -> dict[str, Any]:
    """The description of a form with these fields, for a route that reads it itself."""
    schema = {"type": "object", "properties": fields} | ({"required": required} if required else {})
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


class UploadForm:
    """The parts of the body, in order.

    Raises:
        InvalidRequestError: the body isn't a multipart form, is incomplete, or has a field that the
            route doesn't know or that came twice.
        FileTooLargeError: it is longer than the limit.
    """

    def __init__(self, request: Request, settings: Settings) -> None:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise InvalidRequestError(
                "Send the file as multipart/form-data with a part named 'file'. Nothing was kept."
            )
        self._limit = settings.max_upload_bytes + ROOM_FOR_THE_REST
        self._too_large = FileTooLargeError(receive.too_large(settings))
        if int(request.headers.get("content-length") or 0) > self._limit:
            raise self._too_large
        self._parser = PushMultipartParser(options["boundary"], max_segment_count=MAX_PARTS)
        self._request = request
        self._body = request.stream()
        self._received = 0
        self._events = self._parse()

    async def parts(self) -> AsyncIterator[MultipartSegment]:
        """The head of each part; read its content before the next one."""
        seen: set[str] = set()
        async for event in self._events:
            if not isinstance(event, MultipartSegment):
                continue
            name = event.name or ""
            if name not in inputs.form_fields(self._request):
                if inputs.are_refused(self._request):
                    inputs.refuse_field(self._request, name, is_file=bool(event.filename))
                continue  # its content is skipped
            if name in seen:
                raise InvalidRequestError(
                    "Send one file per request. Nothing was kept."
                    if event.filename
                    else f"The form field {name!r} came twice. Send it once. Nothing was kept."
                )
            seen.add(name)
            yield event

    async def content(self) -> AsyncIterator[bytes]:
        """The content of the latest part, in chunks."""
        async for event in self._events:
            if event is None:
                return
            yield bytes(event)

    async def text(self, name: str) -> str:
        """The latest part as a short text."""
        value = b""
        async for chunk in self.content():
            value += chunk
            if len(value) > MAX_FIELD_BYTES:
                raise InvalidRequestError(f"The field {name!r} is too long. Nothing was kept.")
        if b"\0" in value:  # PostgreSQL can't store it
            raise InvalidRequestError(f"The field {name!r} holds a NUL. Nothing was kept.")
        return value.decode("utf-8", errors="replace").strip()

    async def _parse(self) -> AsyncIterator[Any]:
        """Yield a part's head, the chunks of its content, and None at its end."""
        try:
            async for chunk in self._body:
                self._received += len(chunk)
                if self._received > self._limit:
                    raise self._too_large
                if chunk:
                    for event in self._parser.parse(chunk):
                        yield event
            self._parser.close()
        except MultipartError as error:
            raise InvalidRequestError(
                "The upload broke off or isn't a well-formed multipart/form-data body. Nothing "
                "was kept; please send it again."
            ) from error


@overload
async def received(
    form: UploadForm, system: System
) -> tuple[receive.StoredFile, dict[str, str]]: ...


@overload
async def received(
    form: UploadForm, system: System, *, may_be_checked: Literal[True]
) -> tuple[receive.StoredFile | None, dict[str, str]]: ...


async def received(
    form: UploadForm, system: System, *, may_be_checked: bool = False
) -> tuple[receive.StoredFile | None, dict[str, str]]:
    """Store the file of a form; returns it with the other fields.

    ``may_be_checked``: the form may name a check instead of a file, which is then None.

    Raises:
        MissingFileError: there is neither.
        InvalidRequestError: there are both, or the form is not one.
        What ``store_file`` raises. Nothing is kept then.
    """
    stored = None
    fields: dict[str, str] = {}
    try:
        async for part in form.parts():
            name = part.name or ""
            if name != "file":
                fields[name] = await form.text(name)
            elif part.filename:
                stored = await receive.store_file(system, part.filename, form.content())
        is_checked = may_be_checked and bool(fields.get("check_id"))
        if stored is None and not is_checked:
            raise MissingFileError(
                "The request has no file. Choose a spreadsheet and send it in the part 'file'."
            )
        if stored is not None and is_checked:
            raise InvalidRequestError(
                "The form has a file and a check_id. Send one of them. Nothing was kept."
            )
    except BaseException:
        if stored is not None:
            await receive.discard(system, stored)
        raise
    return stored, fields
