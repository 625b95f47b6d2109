"""Asks the voter roll: OAuth2 password grant, one question a request, each within the budget.

The roll's contract puts the ID number into the path. So no part of a URL is ever logged here, no
redirect is followed, and the raised errors don't identify the person.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import logging
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import structlog

from rollbook import clock
from rollbook.errors import (
    BudgetSpentError,
    NoAnswerError,
    QuestionRefusedError,
    RollDownError,
    VoterRollError,
)
from rollbook.telemetry import metrics
from rollbook.voter_roll.answers import understood
from rollbook.voter_roll.budget import AHEAD_S

if TYPE_CHECKING:
    from typing import Self

    from rollbook.config import Settings
    from rollbook.voter_roll.answers import Answer
    from rollbook.voter_roll.budget import Budget

#: How often one question is tried at once, and the longest pauses in seconds between the tries; the
#: real ones are random, so that workers don't come back all at the same moment.
TRIES = 3
PAUSES_S = (0.25, 1.0)
#: Seconds before its expiry at which a token is renewed.
RENEW_EARLY_S = 300
#: Seconds to wait when the roll wants fewer requests and doesn't say for how long.
DEFAULT_RETRY_AFTER_S = 60.0
#: The longest wait that a ``Retry-After`` can cause: a mistaken one mustn't stop asking for a week.
MAX_RETRY_AFTER_S = 2 * 3600.0
#: The longest answer that is read, far above any real one.
MOST_BYTES = 256 * 1024

_UNAUTHORIZED, _TIMED_OUT, _TOO_MANY = 401, 408, 429
#: With these the roll refuses a question, if it is the roll: its own refusal is a JSON object,
#: while a gateway that doesn't find the roll has a page.
_REFUSALS = frozenset({400, 404, 422})
#: The longest lifetime that is assumed for a token.
LONGEST_TOKEN_S = 86_400.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: httpx.Headers
    body: bytes


class _TryAgainError(Exception):
    """A failure that may be temporary; ``meant`` is the error to raise after the last try."""

    def __init__(self, meant: VoterRollError) -> None:
        super().__init__()
        self.meant = meant


class RollClient:
    """One worker process's client of the roll.

    An asynchronous context manager: its connections live as long as the context.
    """

    def __init__(self, settings: Settings, budget: Budget) -> None:
        assert settings.voter_roll_url is not None
        # Below this, httpx logs every URL, and so every ID number.
        for chatty in ("httpx", "httpcore"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._settings = settings
        self._budget = budget
        self._base = settings.voter_roll_url
        timeout_s = settings.voter_roll_timeout_s
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s),
            limits=httpx.Limits(
                max_connections=settings.voter_roll_lanes + 1,
                max_keepalive_connections=settings.voter_roll_lanes,
            ),
            follow_redirects=False,
            # A proxy from the environment would also see the ID numbers.
            trust_env=False,
            headers={"Accept": "application/json", "User-Agent": "rollbook"},
        )
        self._token: str | None = None
        self._token_good_until = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._renewing = asyncio.Lock()
        #: The longest time that ``ask`` takes, in seconds.
        self.patience_s = (TRIES + 1) * (timeout_s + AHEAD_S) + sum(PAUSES_S)

    async def __aenter__(self) -> Self:
        """Open no connection yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, id_number: str) -> Answer:
        """Ask about one person.

        Raises:
            BudgetSpentError: nothing may be sent now; nothing was, or the roll refused it for that.
            NoAnswerError: the roll failed on this question in every try.
            RollDownError: the roll can't be reached, or refuses the account.
            QuestionRefusedError: the roll refuses this question for good.
        """
        try:
            async with asyncio.timeout(self.patience_s):
                return await self._ask(id_number)
        except TimeoutError:
            raise NoAnswerError("The voter roll took too long to answer.") from None

    async def _ask(self, id_number: str) -> Answer:
        renewed = False
        for pause_s in (*PAUSES_S[: TRIES - 1], None):
            try:
                try:
                    return await self._once(id_number)
                except _RejectedTokenError as rejected:
                    if renewed:
                        raise RollDownError("The voter roll refuses our account.") from None
                    renewed = True
                    self._forget(rejected.token)
                    return await self._once(id_number)
            except _TryAgainError as failure:
                if pause_s is None:
                    raise failure.meant from None
                await asyncio.sleep(random.uniform(pause_s / 4, pause_s))  # noqa: S311
            except _RejectedTokenError:
                raise RollDownError("The voter roll refuses our account.") from None
        raise AssertionError

    async def _once(self, id_number: str) -> Answer:
        token = await self._good_token()
        reply = await self._send(
            "GET",
            f"/api/Voters/IDNumber/{id_number}",
            headers={"Authorization": f"Bearer {token}"},
        )
        if reply.status == _UNAUTHORIZED:
            raise _RejectedTokenError(token)
        if reply.status == httpx.codes.FORBIDDEN:
            raise RollDownError("The voter roll doesn't let our account ask.")
        if reply.status in _REFUSALS and _is_object(reply):
            raise QuestionRefusedError(f"The voter roll refuses the question ({reply.status}).")
        if reply.status != httpx.codes.OK:
            raise NoAnswerError(f"The voter roll answered {reply.status}.")
        return understood(_document(reply), id_number)

    async def _good_token(self) -> str:
        async with self._renewing:
            if self._token is None or clock.now() >= self._token_good_until:
                self._token, lifetime_s = await self._new_token()
                # One that is shorter than the time ahead of its end would be renewed for each use.
                good_for = max(lifetime_s - RENEW_EARLY_S, lifetime_s / 2)
                self._token_good_until = clock.now() + dt.timedelta(seconds=good_for)
            return self._token

    def _forget(self, token: str) -> None:
        """Renew a token that was rejected, unless another request has already renewed it."""
        if self._token == token:
            self._token = None

    async def _new_token(self) -> tuple[str, float]:
        assert self._settings.voter_roll_password is not None
        account = {
            "grant_type": "password",
            "username": self._settings.voter_roll_username,
            "password": self._settings.voter_roll_password.get_secret_value(),
        }
        reply = await self._send("POST", "/token", data=account)
        if 400 <= reply.status < 500 and reply.status != _TIMED_OUT:
            raise RollDownError("The voter roll refuses our account.")
        if reply.status != httpx.codes.OK:
            raise NoAnswerError(f"The voter roll answered {reply.status}.")
        document = _document(reply)
        if not isinstance(document, dict) or not isinstance(document.get("access_token"), str):
            raise NoAnswerError("The voter roll gave no token.")
        try:
            lifetime_s = float(document.get("expires_in", 3600))
        except (TypeError, ValueError, OverflowError):
            lifetime_s = math.nan
        # Python's JSON knows NaN and Infinity.
        if not math.isfinite(lifetime_s):
            raise NoAnswerError("The voter roll gave no token.")
        return document["access_token"], min(max(lifetime_s, 1.0), LONGEST_TOKEN_S)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        data: dict[str, str | None] | None = None,
    ) -> _Reply:
        """Make one request within the budget, and handle the failures common to all requests."""
        async with self._budget.request():
            try:
                async with asyncio.timeout(self._settings.voter_roll_timeout_s):
                    reply = await self._receive(method, path, headers, data)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                metrics.ROLL_REQUESTS.labels(outcome="unreachable").inc()
                raise _TryAgainError(RollDownError("The voter roll can't be reached.")) from None
            except (httpx.TimeoutException, TimeoutError):
                # An immediate retry would most likely take as long.
                metrics.ROLL_REQUESTS.labels(outcome="timed_out").inc()
                raise NoAnswerError("The voter roll took too long to answer.") from None
            except (httpx.TransportError, httpx.DecodingError):
                metrics.ROLL_REQUESTS.labels(outcome="broken_off").inc()
                raise _TryAgainError(NoAnswerError("The voter roll broke off.")) from None
        metrics.ROLL_REQUESTS.labels(outcome=str(reply.status)).inc()
        has_wait = "retry-after" in reply.headers
        is_unavailable = reply.status == httpx.codes.SERVICE_UNAVAILABLE
        if reply.status == _TOO_MANY or (is_unavailable and has_wait):
            wait_s = retry_after_s(reply.headers.get("retry-after"))
            await self._budget.refrain(wait_s)
            raise BudgetSpentError("The voter roll wants no requests for now.", wait_s=wait_s)
        if reply.status >= 500:
            raise _TryAgainError(NoAnswerError(f"The voter roll answered {reply.status}."))
        return reply

    async def _receive(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None,
        data: dict[str, str | None] | None,
    ) -> _Reply:
        request = self._http.stream(method, self._base + path, headers=headers, data=data)
        async with request as response:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise NoAnswerError("The voter roll's answer has no end.")
            return _Reply(response.status_code, response.headers, body)


class _RejectedTokenError(Exception):
    """The roll answered 401 to this token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token


def retry_after_s(value: str | None) -> float:
    """The seconds that a ``Retry-After`` header means (RFC 9110, section 10.2.3)."""
    try:
        seconds = float(value or "")
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value or "")
        except ValueError:
            return DEFAULT_RETRY_AFTER_S
        seconds = (until.replace(tzinfo=until.tzinfo or dt.UTC) - clock.now()).total_seconds()
    if not math.isfinite(seconds):
        return DEFAULT_RETRY_AFTER_S
    return min(max(seconds, 1.0), MAX_RETRY_AFTER_S)


def _is_object(reply: _Reply) -> bool:
    try:
        return isinstance(_document(reply), dict)
    except NoAnswerError:
        return False


def _document(reply: _Reply) -> object:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        raise NoAnswerError("The voter roll's answer is no JSON.") from None
