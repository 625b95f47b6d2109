"""Middleware that reads requests and answers by the names of ``names.CALLS``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders

from rollbook.api.first_system.names import BASE, CALLS, Call, added
from rollbook.api.requests import route_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TranslationMiddleware:
    """Renames what a request sends, and adds the other names to its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, in our names."""
        if scope["type"] != "http" or not scope["path"].startswith(BASE):
            await self._app(scope, receive, send)
            return
        # What is renamed in requests belongs to calls without an id in their path.
        call = CALLS.get(f"{scope['method']} {scope['path'].removeprefix(BASE)}", Call())
        if call.query:
            scope["query_string"] = _renamed_query(scope["query_string"], call.query)
        if call.body:
            receive = _RenamedBody(receive, call.body).receive
        await self._app(scope, receive, _Answer(scope, send).send)


def _renamed_query(query: bytes, names: Mapping[str, str]) -> bytes:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given = {name for name, _ in pairs}
    renamed = [(name if names.get(name) in given else names.get(name, name), value)
               for name, value in pairs]  # fmt: skip
    return urlencode(renamed).encode()


class _RenamedBody:
    """A request's JSON body in our names, read when the route asks for it."""

    def __init__(self, receive: Receive, names: Mapping[str, str]) -> None:
        self._receive = receive
        self._names = names
        self._is_read = False

    async def receive(self) -> Message:
        """The whole body at the first call; what comes after it at later ones."""
        if self._is_read:
            return await self._receive()
        self._is_read = True
        body, more = b"", True
        while more:  # no bound of its own: the middleware around this one limits it
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return {"type": "http.request", "body": self._renamed(body), "more_body": False}

    def _renamed(self, body: bytes) -> bytes:
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            return body  # the route refuses it
        if not isinstance(given, dict):
            return body
        for theirs, ours in self._names.items():
            if theirs in given:
                given.setdefault(ours, given.pop(theirs))
        return json.dumps(given).encode()


class _Answer:
    """The answer of a call, to which the other names are added where the call has some."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._start: Message = {}
        self._call = Call()
        self._body = b""

    async def send(self, message: Message) -> None:
        """Send the answer on, after its last part where it is translated."""
        if message["type"] == "http.response.start":
            # By its route, which is known now.
            path = route_of(self._scope).removeprefix(BASE)
            self._call = CALLS.get(f"{self._scope['method']} {path}", Call())
            is_json = Headers(raw=message["headers"]).get("content-type") == "application/json"
            if (self._call.items or self._call.data) and is_json:
                self._start = message
                return
        if not self._start:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = self._translated()
        MutableHeaders(scope=self._start)["Content-Length"] = str(len(body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})

    def _translated(self) -> bytes:
        answer = json.loads(self._body)
        data: dict[str, Any] = answer["data"]
        if self._call.items:
            data["items"] = [item | added(item, self._call.items) for item in data["items"]]
        answer["data"] = data | added(data, self._call.data)
        return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()
