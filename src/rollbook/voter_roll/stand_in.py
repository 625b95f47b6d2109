"""A simulated voter roll: the commission's contract over real HTTP, with made-up answers.

For ``rollbook demo --voter-roll``, where it is labelled as simulated, and for tests, which add a
budget and failures (``tests/roll.py``). It computes an answer from the ID number's digits; no
answer is about a real person.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request

USERNAME = "stand-in"
PASSWORD = "not a secret"  # noqa: S105 - it guards nothing
#: The name of every voting station here, which can't be mistaken for a real one.
STATION = "Simulated voting station"
WARD = "79800001"
#: Time limit for the server to start or to stop, in seconds.
PATIENCE_S = 10.0


class StandIn:
    """A simulated roll."""

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        token_lifetime_s: int = 3600,
        ward_of: Callable[[str], str | None] | None = None,
    ) -> None:
        """Prepare a roll that doesn't serve yet.

        ``ward_of`` is the ward of a registered voter, where it isn't to be ``WARD``.
        """
        self.latency_s = latency_s
        self.token_lifetime_s = token_lifetime_s
        self._ward_of = ward_of or (lambda _: WARD)
        self._tokens: set[str] = set()

    @contextlib.contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """Serve on the loopback interface only, in a thread of its own; yields the base URL."""
        app = Starlette(
            routes=[
                Route("/token", self._token, methods=["POST"]),
                Route("/api/Voters/IDNumber/{id_number}", self._voter),
            ]
        )
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_config=None,
            # Every line of an access log would contain a person's ID number.
            log_level="warning",
            access_log=False,
            lifespan="off",
        )
        # The standard loop: the answers' pace is not what is measured, and uvloop wants the main
        # thread for itself.
        server = uvicorn.Server(config)
        socket = config.bind_socket()

        async def serve() -> None:
            await server.serve(sockets=[socket])
            for connection in list(server.server_state.connections):
                connection.transport.abort()  # its answer isn't waited for

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        try:
            # The socket listens already: who connects before the server is up waits in its queue.
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            # Requests that wait for a slow answer must not delay the end.
            server.force_exit = True
            thread.join(PATIENCE_S)
            socket.close()

    async def _token(self, request: Request) -> Response:
        fields = parse_qs((await request.body()).decode())
        account = (USERNAME, PASSWORD)
        is_good = fields.get("grant_type") == ["password"] and account == (
            fields.get("username", [""])[0],
            fields.get("password", [""])[0],
        )
        if not is_good:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = str(uuid4())
        self._tokens.add(token)
        said = {"access_token": token, "token_type": "bearer", "expires_in": self.token_lifetime_s}
        return JSONResponse(said)

    async def _voter(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return JSONResponse({"Message": "denied"}, 401)
        await asyncio.sleep(self.latency_s)
        return JSONResponse(self._document(request.path_params["id_number"]))

    def _document(self, id_number: str) -> dict[str, Any]:
        # Of twenty, one is of each of the other kinds.
        kind = int(id_number[6:10]) % 20
        district = f"{10_000_000 + int(id_number[4:10]) % 80_000_000}"
        words, is_registered, number = {
            0: ("Not registered", False, None),
            1: ("Deceased", False, None),
            2: ("Registered", True, None),
            3: ("Registered International", True, None),
        }.get(kind, ("Registered", True, district))
        place = {
            "ProvinceID": 3,
            "Province": "Simulated",
            "MunicipalityID": 1,
            "Municipality": "Simulated",
            "WardID": self._ward_of(id_number) if number else None,
            "VDNumber": number,
        }
        station = {"Name": STATION, "Delimitation": place, "Location": {"Town": "Simulated"}}
        return {
            "Id": id_number,
            "VoterStatus": words,
            "VoterStatusID": 1 if is_registered else 0,
            "bRegistered": is_registered,
            "VoterId": 1,
            "VotingStation": station if is_registered else None,
        }
