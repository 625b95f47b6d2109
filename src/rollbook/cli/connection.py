"""Requests of commands to the API: errors as sentences, retries with bounds, files as streams.

The same code talks to a server over the network, and to the API in this process
(``api.in_process``).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from rich.markup import escape

from rollbook import __version__
from rollbook.cli import credentials
from rollbook.cli.addresses import is_this_machine
from rollbook.cli.credentials import SignIn
from rollbook.cli.failures import OtherVersionError
from rollbook.cli.output import err
from rollbook.errors import NotAuthenticatedError, RollbookError, SecondFactorNeededError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

BASE = "/api/v1"
UTC = "UTC"
#: Timeouts in seconds. A virus scanner may look at an upload for two minutes before the answer.
CONNECT_S, ANSWER_S, UPLOAD_ANSWER_S = 10.0, 60.0, 300.0
#: Pause before the first retry, in seconds; it doubles up to the longest.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
#: Seconds between two tries to renew a token.
RENEWAL_PAUSE_S = 60.0
#: Seconds for which a request is retried, where the command doesn't wait for a job.
SHORT_PATIENCE_S = 10.0
BUSY = frozenset({429, 502, 503, 504})
READ_BYTES = 256 * 1024


class UnreachableError(RollbookError, code="server_unreachable", status=503):
    """The server can't be reached, or the connection broke."""


class NotRollbookError(RollbookError, code="not_rollbook", status=422):
    """What answers at the address is not Rollbook's API."""


class RefusedError(RollbookError, code="refused"):
    """The server refused the request; ``status`` is its answer's."""

    def __init__(self, message: str, *, status: int, code: str = "refused") -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]
        self.code = code  # type: ignore[misc]


class Data(dict[str, Any]):
    """An object of an answer; a missing member means that the server has another version."""

    def __init__(self, members: dict[str, Any], server: str | None) -> None:
        super().__init__(members)
        self._server = server

    def __missing__(self, name: str) -> Any:
        raise OtherVersionError(f"The server's answer has no {name!r}.", server=self._server)


@dataclass(frozen=True, slots=True)
class Answer:
    """The envelope of a success."""

    message: str
    data: Any


class Connection:
    """The API for one command, over a client whose base address is the server's.

    Without ``server``, it is the installation on this machine. A session's token is renewed when it
    is due; with ``is_stored``, the sign-in is in the user's file, and the renewed token goes there.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        server: str | None,
        sign_in: SignIn | None,
        is_stored: bool = False,
    ) -> None:
        self._http = http
        self.server = server
        self._sign_in = sign_in
        self._is_stored = is_stored
        #: When a token that is due may be renewed again, by the loop's clock.
        self._next_renewal = 0.0
        #: Seconds for which a request is retried while the server doesn't answer.
        self.patience_s = SHORT_PATIENCE_S
        #: Of the installation, once it was asked.
        self._zone: str | None = None
        #: Whether the server has answered at all in this command.
        self.has_answered = False

    @property
    def name(self) -> str:
        """The server, in sentences."""
        return self.server or "the installation on this machine"

    async def get(self, path: str, **query: Any) -> Answer:
        """Read something."""
        given = {name: value for name, value in query.items() if value is not None}
        response = await self._send("GET", path, repeatable=True, request={"params": given})
        return await self._read(response)

    async def get_with_zone(self, path: str, **query: Any) -> tuple[Answer, str]:
        """Read something, and the name of the time zone in which the installation gives times."""
        return await self.get(path, **query), await self.zone()

    async def zone(self) -> str:
        """The name of the time zone in which the installation gives times."""
        if self._zone is None:
            self._zone = str((await self.get("/auth/me")).data.get("time_zone", UTC))
            try:
                ZoneInfo(self._zone)
            except (ValueError, ZoneInfoNotFoundError):  # this machine doesn't know it
                self._zone = UTC
        return self._zone

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, repeatable: bool = False
    ) -> Answer:
        """Make a change; once it may have arrived, it is only repeated if ``repeatable``."""
        request = {} if body is None else {"json": dict(body)}
        response = await self._send("POST", path, repeatable=repeatable, request=request)
        return await self._read(response)

    async def delete(self, path: str) -> Answer:
        """Remove something; once it may have arrived, it is not repeated."""
        return await self._read(await self._send("DELETE", path, repeatable=False))

    async def upload(
        self,
        path: str,
        file: Path,
        fields: Mapping[str, str],
        *,
        key: str | None = None,
        sent: Callable[[int], None] = lambda _: None,
        repeatable: bool = True,
    ) -> Answer:
        """Send a file as a stream; a repeat has the same Idempotency-Key and is no second upload.

        The file is opened again for each try. ``sent`` is called with the bytes that this try has
        read; ``repeatable`` as in ``post``.
        """
        headers = {"Idempotency-Key": key or str(uuid4())}
        timeout = httpx.Timeout(UPLOAD_ANSWER_S, connect=CONNECT_S)
        with contextlib.ExitStack() as opened:

            def parts() -> dict[str, Any]:
                opened.close()  # of the try before
                source = opened.enter_context(_Counted(file, sent))
                return {"data": dict(fields), "files": {"file": (file.name, source)}}

            response = await self._send(
                "POST",
                path,
                repeatable=repeatable,
                request={"headers": headers, "timeout": timeout},
                content=parts,
            )
        return await self._read(response)

    @contextlib.asynccontextmanager
    async def streamed(self, path: str) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Read a file: its header ``Content-Disposition``, and its content in parts.

        Reading the parts raises UnreachableError where the connection breaks.
        """
        response = await self._send("GET", path, repeatable=True, stream=True)
        try:
            if not response.is_success:
                await response.aread()
                await self._read(response)
            yield response.headers.get("Content-Disposition", ""), self._parts(response)
        finally:
            await response.aclose()

    async def _parts(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.aiter_bytes(READ_BYTES):
                yield chunk
        except httpx.TransportError as error:
            raise self._broken(error) from None

    async def version(self) -> str | None:
        """The server's version; None where that can't be found out."""
        try:
            response = await self._http.get("/openapi.json", timeout=CONNECT_S)
            return str(response.json()["info"]["version"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None

    # --- one request -------------------------------------------------------------------------

    async def _send(
        self,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        *,
        repeatable: bool,
        request: Mapping[str, Any] | None = None,
        content: Callable[[], dict[str, Any]] = dict,
        stream: bool = False,
    ) -> httpx.Response:
        """Send a request until it is answered, within the bounds of the connection's patience.

        A request that may have been carried out is sent again if it is ``repeatable``. ``content``
        makes the arguments that each try needs fresh; with ``stream``, the answer's content isn't
        read.
        """
        await self._renew()
        tries = _Tries(self.name, self.patience_s)
        while True:
            built = self._http.build_request(
                method, f"{BASE}{path}", **(request or {}), **content()
            )
            answer = await self._try(built, stream=stream, repeatable=repeatable)
            if isinstance(answer, str):
                if not await tries.is_another_worth_it(answer):
                    raise UnreachableError(
                        f"{self.name} didn't answer for {self.patience_s:g} seconds ({answer})."
                    )
                continue
            if answer.status_code not in BUSY or not (repeatable or _is_early(answer)):
                return answer
            why, wait_s = f"HTTP {answer.status_code}", _wait_asked(answer)
            if not await tries.is_another_worth_it(why, wait_s):
                return answer
            await answer.aclose()

    async def _try(
        self, request: httpx.Request, *, stream: bool, repeatable: bool
    ) -> httpx.Response | str:
        """The answer, or why there is none where another try may bring one."""
        try:
            answer = await self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            was_sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            # The first contact fails at once: the address is wrong more often than away.
            if not self.has_answered or _is_lasting(error) or (was_sent and not repeatable):
                raise self._broken(error) from None
            return _reason(error)
        self.has_answered = True
        return answer

    async def _renew(self) -> None:
        """Renew the token when half of its time is over.

        The token is good for the other half, so a failure is no reason not to make the request.
        """
        now = asyncio.get_running_loop().time()
        if self._sign_in is None or self.server is None or not self._sign_in.is_due:
            return
        if now < self._next_renewal:
            return
        self._next_renewal = now + RENEWAL_PAUSE_S
        try:
            # On a connection of its own: the request's is not broken by whatever happens here.
            response = await self._http.post(
                f"{BASE}/auth/renew", headers={"Connection": "close"}, timeout=CONNECT_S
            )
            self.has_answered = True
            signed_in = (await self._read(response)).data
            token, seconds = str(signed_in["token"]), float(signed_in["expires_in"])
        except (httpx.TransportError, RollbookError):
            return
        self._sign_in = SignIn.of_session(token, self._sign_in.email, expires_in=seconds)
        self._http.headers["Authorization"] = f"Bearer {token}"
        if self._is_stored:
            try:
                credentials.store(self.server, self._sign_in, make_current=False)
            except RollbookError as error:
                err.print(f"[yellow]{escape(error.message)}[/]", soft_wrap=True)

    # --- one answer --------------------------------------------------------------------------

    async def _read(self, response: httpx.Response) -> Answer:
        """The data of a success.

        Raises:
            SecondFactorNeededError: a sign-in needs a code besides the password.
            NotAuthenticatedError: nobody is signed in, or the sign-in has ended.
            RefusedError: any other failure.
            NotRollbookError: something else answers at this address.
        """
        try:
            body = json.loads(response.content, object_hook=self._object)
            is_ours = isinstance(body, Data) and "success" in body
        except ValueError:
            is_ours = False
        if not is_ours:
            if response.status_code in BUSY:  # of a proxy
                raise UnreachableError(f"{self.name} answers HTTP {response.status_code}.")
            raise NotRollbookError(self._not_rollbook(response))
        if response.is_success:
            return Answer(str(body["message"]), body["data"])
        detail = str(body["detail"])
        kind = str(body.get("type", "")).rpartition(":")[2] or "refused"
        if kind == SecondFactorNeededError.code:
            raise SecondFactorNeededError(detail)
        if response.status_code == httpx.codes.UNAUTHORIZED and self.server is not None:
            raise NotAuthenticatedError(self._sign_in_again(detail))
        if response.status_code == httpx.codes.NOT_FOUND and detail == "Not Found":
            raise OtherVersionError("The server doesn't know this function.", server=self.server)
        raise RefusedError(detail, status=response.status_code, code=kind)

    def _object(self, members: dict[str, Any]) -> Data:
        return Data(members, self.server)

    def _sign_in_again(self, detail: str) -> str:
        if self._is_stored:
            again = f"`rollbook login --server {self.server}`"
            return f"Your sign-in to {self.server} has ended. Sign in again: {again}."
        if "Authorization" in self._http.headers:
            return (
                f"{self.server} doesn't accept the key or token that was given: it has expired, "
                "was revoked, or is another server's."
            )
        return detail  # of a sign-in that was refused

    def _not_rollbook(self, response: httpx.Response) -> str:
        status = response.status_code
        if response.is_redirect:
            to = response.headers.get("Location", "another address").partition("/api/v1")[0]
            return (
                f"{self.name} redirects to {to}. Nothing was sent there; give that address if it "
                "is the server's."
            )
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        return (
            f"{self.name} doesn't answer as Rollbook does (HTTP {status}, {kind}). Check the "
            "server's address."
        )

    def _broken(self, error: httpx.TransportError) -> UnreachableError:
        cause = _tls_failure(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UnreachableError(
                f"The certificate of {self.name} can't be verified ({cause.verify_message}), so "
                "nothing was sent. If your organisation signs certificates itself, name the file "
                "with its own in SSL_CERT_FILE."
            )
        if cause is not None:
            return UnreachableError(
                f"There is no encrypted connection to {self.name} ({cause.reason}). Is the address "
                "to begin with http:// instead?"
            )
        if isinstance(error, httpx.ProxyError):
            return UnreachableError(
                f"The proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY gives no way to {self.name} "
                f"({_reason(error)}). NO_PROXY names servers that are reached without it."
            )
        return UnreachableError(
            f"{self.name} can't be reached ({_reason(error)}). Is the address right, and does the "
            "server run?"
        )


class _Tries:
    """The pauses between the tries of one request, whose sum is bounded."""

    def __init__(self, server: str, patience_s: float) -> None:
        self._server = server
        self._patience_s = patience_s
        self._pause_s = FIRST_PAUSE_S
        self._deadline: float | None = None

    async def is_another_worth_it(self, why: str, wait_s: float = 0.0) -> bool:
        """Pause for ``wait_s`` seconds or longer; False when no time for another try is left."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._patience_s
        wait_s = max(wait_s, self._pause_s)
        if now + wait_s > self._deadline:
            return False
        if self._pause_s == FIRST_PAUSE_S:
            err.print(
                f"[yellow]{escape(self._server)} doesn't answer as it should ({escape(why)}); "
                f"trying again for up to {self._patience_s:g} seconds.[/]",
                soft_wrap=True,
            )
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        await asyncio.sleep(wait_s)
        return True


class _Counted(io.BufferedReader):
    """A file that reports how much of it was read."""

    def __init__(self, file: Path, report: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(file))
        self._report = report

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._report(self.tell())
        return data


def client(server: str, sign_in: SignIn | None) -> httpx.AsyncClient:
    """A client for a server: certificates of the system, proxies of the environment."""
    headers = {"User-Agent": f"rollbook/{__version__} (command line)"}
    if sign_in is not None:
        headers["Authorization"] = f"Bearer {sign_in.token}"
    return httpx.AsyncClient(
        base_url=server,
        headers=headers,
        timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        verify=_certificates(server),
        # No proxy leads to this machine.
        trust_env=not is_this_machine(server),
    )


def _certificates(server: str) -> ssl.SSLContext:
    """Trust what the system trusts (SSL_CERT_FILE and SSL_CERT_DIR count), and certifi's list."""
    if server.startswith("http:") and is_this_machine(server):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # needs none, and reading them takes 40 ms

    import certifi

    context = ssl.create_default_context()
    if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
        context.load_verify_locations(certifi.where())
    return context


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from, down to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tls_failure(error: BaseException) -> ssl.SSLError | None:
    return next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)


def _is_lasting(error: httpx.TransportError) -> bool:
    """Whether another try would fail in the same way."""
    return _tls_failure(error) is not None or isinstance(
        error, httpx.ProxyError | httpx.UnsupportedProtocol
    )


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    of_system = [cause for cause in _causes(error) if isinstance(cause, OSError) and cause.errno]
    if not of_system:
        return str(error) or type(error).__name__
    number, text = of_system[-1].errno or 0, of_system[-1].strerror
    # Those of the look-up of a name are negative, and have a text of their own.
    return os.strerror(number) if number > 0 else str(text)


def _is_early(response: httpx.Response) -> bool:
    """Whether the request was refused before it was carried out."""
    return response.status_code == httpx.codes.TOO_MANY_REQUESTS


def _wait_asked(response: httpx.Response) -> float:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0.0
