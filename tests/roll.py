"""A simulated voter roll with a budget, prepared answers and failures, which notes requests."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from rollbook.voter_roll.stand_in import StandIn

if TYPE_CHECKING:
    from starlette.requests import Request

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


class ScriptedRoll(StandIn):
    """A simulated roll: its prepared answers and failures, and the requests that it received."""

    def __init__(
        self,
        *,
        limit: int = 10_000,
        window_s: float = 3600,
        latency_s: float = 0.0,
        token_lifetime_s: int = 3600,
    ) -> None:
        """It allows ``limit`` requests, tokens among them, in any window."""
        super().__init__(latency_s=latency_s, token_lifetime_s=token_lifetime_s)
        self.limit = limit
        self.window_s = window_s
        self.slow_s = 30.0
        #: Each further request about a person is slow after this many.
        self.slow_after = math.inf
        #: Every request that came in, in order.
        self.asked: list[Asked] = []
        #: How many came in over the budget; each was answered with 429.
        self.over_budget = 0
        #: People about whom every request fails, with a 500.
        self.always_fail: set[str] = set()
        #: Answer everything with this status; None answers as usual.
        self.down_with: int | None = None
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._answers: dict[str, dict[str, Any]] = {}
        self._window: deque[float] = deque()
        self._changed = threading.Condition()

    def fail(self, id_number: str, *faults: Fault) -> None:
        """Let the next requests about a person fail, one after the other."""
        self._faults[id_number].extend(faults)

    def fail_no_more(self) -> None:
        """Answer as usual from now on, about each person."""
        self.always_fail.clear()
        self._faults.clear()

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

    async def _token(self, request: Request) -> Response:
        return self._noted(None, self._judged() or await super()._token(request))

    async def _voter(self, request: Request) -> Response:
        id_number = request.path_params["id_number"]
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        refused = self._judged()
        if refused is not None:
            return self._noted(id_number, refused)
        if token not in self._tokens:
            return self._noted(id_number, await super()._voter(request), token)
        faults = self._faults[id_number]
        fault = faults.popleft() if faults else None
        if id_number in self.always_fail:
            fault = "500"
        # Noted before the answer: a request whose connection breaks in between counts as received.
        response = self._noted(id_number, self._response(id_number, fault), token)
        is_slow = fault == "slow" or len(self.about()) > self.slow_after
        await asyncio.sleep(self.slow_s if is_slow else self.latency_s)
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
        return super()._document(id_number)
