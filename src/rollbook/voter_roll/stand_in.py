"""A simulated voter roll: the commission's contract over real HTTP, with made-up answers.

For tests and for ``rollbook demo --voter-roll``, where it is labelled as simulated. It computes an
answer from the ID number's digits; no answer is about a real person. It enforces a budget as the
roll does, and can simulate each kind of failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
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

#: How a request may fail. ``slow`` holds it for ``slow_s``, ``somebody_else`` answers about
#: another person, ``redirect`` sends the client elsewhere, ``refused`` is a 400.
Fault = Literal[
    "401", "403", "429", "500", "503", "slow", "garbage", "somebody_else", "redirect", "refused"
]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came in."""

    #: Seconds of a clock that never goes back.
    at: float
    #: Whom it was about; None for a token.
    id_number: str | None
    status: int
    #: The token that it came with: each worker has its own.
    token: str | None = None


class StandIn:
    """A simulated roll: its prepared answers and failures, and the requests that it received."""

    def __init__(
        self,
        *,
        limit: int = 10_000,
        window_s: float = 3600,
        latency_s: float = 0.0,
        token_lifetime_s: int = 3600,
        ward_of: Callable[[str], str | None] | None = None,
    ) -> None:
        """Prepare a roll that doesn't serve yet.

        It allows ``limit`` requests, tokens among them, in any window. ``ward_of`` is the ward of a
        registered voter, where it isn't to be ``WARD``.
        """
        self.limit = limit
        self.window_s = window_s
        self.latency_s = latency_s
        self.slow_s = 30.0
        self.token_lifetime_s = token_lifetime_s
        #: Every request that came in, in order.
        self.asked: list[Asked] = []
        #: How many came in over the budget; each was answered with 429.
        self.over_budget = 0
        #: People about whom every request fails, with a 500.
        self.always_fail: set[str] = set()
        #: Answer everything with this status; None answers as usual.
        self.down_with: int | None = None
        self._ward_of = ward_of or (lambda _: WARD)
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._answers: dict[str, dict[str, Any]] = {}
        self._tokens: dict[str, float] = {}
        self._window: deque[float] = deque()
        self._changed = threading.Condition()

    # --- for tests: prepare answers, read the requests -------------------------------------------

    def fail(self, id_number: str, *faults: Fault) -> None:
        """Let the next requests about a person fail, one after the other."""
        self._faults[id_number].extend(faults)

    def answer(self, id_number: str, document: dict[str, Any]) -> None:
        """Give exactly this answer about a person."""
        self._answers[id_number] = document

    def revoke_tokens(self) -> None:
        """Revoke every token that was issued."""
        self._tokens.clear()

    def about(self, id_number: str | None = None) -> list[Asked]:
        """The requests about one person, or about anybody."""
        return [
            asked
            for asked in list(self.asked)
            if asked.id_number is not None and id_number in {None, asked.id_number}
        ]

    def wait_until_asked(self, requests: int, patience_s: float = 60.0) -> None:
        """Return when so many requests about people have come in.

        Raises:
            TimeoutError: they haven't within the patience.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.about()) >= requests, patience_s):
                raise TimeoutError(f"{len(self.about())} requests came in, not {requests}")

    # --- the server -----------------------------------------------------------------------------

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
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[socket])), daemon=True
        )
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
        refused = self._judged()
        if refused is None and not is_good:
            refused = JSONResponse({"error": "invalid_grant"}, 400)
        if refused is not None:
            return self._noted(None, refused)
        token = str(uuid4())
        self._tokens[token] = time.monotonic() + self.token_lifetime_s
        return self._noted(
            None,
            JSONResponse(
                {
                    "access_token": token,
                    "token_type": "bearer",
                    "expires_in": self.token_lifetime_s,
                }
            ),
        )

    async def _voter(self, request: Request) -> Response:
        id_number = request.path_params["id_number"]
        refused = self._judged()
        if refused is not None:
            return self._noted(id_number, refused)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0) < time.monotonic():
            return self._noted(id_number, JSONResponse({"Message": "denied"}, 401), token)
        faults = self._faults[id_number]
        fault = faults.popleft() if faults else None
        if id_number in self.always_fail:
            fault = "500"
        # Noted before the answer: a request whose connection breaks in between counts as received.
        response = self._noted(id_number, self._response(id_number, fault), token)
        await asyncio.sleep(self.slow_s if fault == "slow" else self.latency_s)
        return response

    def _judged(self) -> Response | None:
        """Count a request in the window; returns the refusal of one over the budget, else None."""
        now = time.monotonic()
        while self._window and self._window[0] <= now - self.window_s:
            self._window.popleft()
        if len(self._window) >= self.limit:
            self.over_budget += 1
            wait_s = self._window[0] + self.window_s - now
            return PlainTextResponse(
                "Too many requests", 429, headers={"Retry-After": str(int(wait_s) + 1)}
            )
        self._window.append(now)
        return None if self.down_with is None else PlainTextResponse("down", self.down_with)

    def _noted(
        self, id_number: str | None, response: Response, token: str | None = None
    ) -> Response:
        with self._changed:
            self.asked.append(Asked(time.monotonic(), id_number, response.status_code, token))
            self._changed.notify_all()
        return response

    def _response(self, id_number: str, fault: Fault | None) -> Response:
        if fault is None or fault == "slow":
            return JSONResponse(self._document(id_number))
        failures: dict[str, Response] = {
            "garbage": PlainTextResponse("<html>Service temporarily</html>"),
            "somebody_else": JSONResponse(self._document("0000000000000")),
            "redirect": RedirectResponse("http://127.0.0.1:9/elsewhere"),
            "refused": JSONResponse({"Message": "The request is invalid."}, 400),
            "429": PlainTextResponse("Too many requests", 429, headers={"Retry-After": "1"}),
        }
        return failures.get(fault) or PlainTextResponse("failed", int(fault))

    def _document(self, id_number: str) -> dict[str, Any]:
        if id_number in self._answers:
            return self._answers[id_number]
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
