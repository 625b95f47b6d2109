"""Questions and answers in PostgreSQL, and the state of the circuit breaker.

A question is taken for as long as asking it can take at most. Whoever dies in between leaves it to
whoever comes after that; an answer is committed by itself before anybody is told of it, so that it
is never asked for twice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog

from rollbook.backends.database import queries
from rollbook.errors import QuestionRefusedError

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.backends.database import Pool, Row
    from rollbook.config import Settings
    from rollbook.errors import VoterRollError
    from rollbook.voter_roll.answers import Answer

_SQL = queries("voter_roll")
_VERIFICATIONS = queries("verifications")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody to be asked about."""

    id_number: str
    #: How often asking failed.
    failures: int
    #: Was the last of these that the roll refused the question?
    was_refused: bool
    #: Does an upload still want to know?
    is_wanted: bool
    #: Is there an answer that is good already?
    is_known: bool

    def __repr__(self) -> str:
        """Nothing of the person: a representation ends up in logs."""
        return f"Question(failures={self.failures})"


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a question may be asked now."""

    #: Seconds for which none may; 0 when one may.
    wait_s: float = 0.0
    #: The roll is down, and this one question shows whether it still is.
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """An upload that an answer was for."""

    id: UUID
    status: str
    priority: int
    #: Rows that still wait for an answer.
    roll_pending: int
    #: Why its last attempt failed; the queue then has a time for the next one.
    error_code: str | None


class VerificationRecord:
    """What the workers of all processes know together."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def claim(self, *, lease_s: float, is_probe: bool = False) -> Question | None:
        """Take the next question for so many seconds; None when none is due."""
        parameters = {
            "lease_s": lease_s,
            "is_probe": is_probe,
            "cache_days": self._settings.voter_roll_cache_days,
            "refused_code": QuestionRefusedError.code,
        }
        found = await self._one("claim", parameters)
        return None if found is None else Question(**found)

    async def release(self, question: Question) -> None:
        """It wasn't asked: somebody else may, at once."""
        await self._write("release", {"id_number": question.id_number})

    async def drop(self, question: Question) -> None:
        """Nobody wants to know any more."""
        await self._write("drop", {"id_number": question.id_number})

    async def postpone(self, question: Question, error: VoterRollError) -> None:
        """Asking failed: again later."""
        await self._write(
            "postpone",
            {
                "id_number": question.id_number,
                "error_code": error.code,
                "retry_s": self._settings.voter_roll_retry_s,
            },
        )

    async def keep(self, question: Question, answer: Answer) -> None:
        """Commit an answer, and that the roll answers."""
        async with self._pool.connection() as connection:
            parameters = {"id_number": question.id_number, **asdict(answer)}
            await connection.execute(_SQL["keep_answer"], parameters)
            await connection.execute(_SQL["note_answer"])

    async def spread(self, question: Question, *, is_refused: bool = False) -> list[Told]:
        """Give the answer to the member and to every row that waits for it, and count it.

        Args:
            question: whose answer was kept before.
            is_refused: there is none, because the roll refuses the question.

        Returns:
            The uploads that had such rows.
        """
        parameters = {"id_number": question.id_number, "is_refused": is_refused}
        async with self._pool.connection() as connection:
            if not is_refused:
                await connection.execute(_SQL["tell_member"], parameters)
            await connection.execute(_SQL["lock_uploads"], parameters)
            await connection.execute(_SQL["drop"], parameters)
            cursor = await connection.execute(_SQL["tell_uploads"], parameters)
            return [Told(**row) for row in await cursor.fetchall()]

    async def next_due_in_s(self) -> float | None:
        """Seconds until the next question is due; None when there is none."""
        found = await self._one("next_due", {})
        return None if found is None else found["due_in_s"]

    async def pending_of(self, upload_id: UUID) -> int:
        """Rows of an upload that still wait for an answer, and are waited for."""
        found = await self._one("pending_of", {"id": upload_id})
        return found["roll_pending"] if found else 0

    async def reask(self) -> int:
        """Ask again for whatever waits without a question; how many there were."""
        async with self._pool.connection() as connection:
            return (await connection.execute(_VERIFICATIONS["reask"])).rowcount

    async def recount(self) -> int:
        """Mend the counts of uploads that wait for rows which no longer wait; how many uploads."""
        async with self._pool.connection() as connection:
            locked = await connection.execute(_VERIFICATIONS["lock_miscounted"])
            ids = [row["id"] for row in await locked.fetchall()]
            # A statement of its own: it sees what was committed until the uploads were locked.
            await connection.execute(_VERIFICATIONS["recount"], {"ids": ids})
        return len(ids)

    async def give_up_report(self, upload_id: UUID) -> str | None:
        """Let an upload be verified with the report that it has.

        Returns:
            Where the store has what the report was to be written from.
        """
        async with self._pool.connection() as connection:
            query = _VERIFICATIONS["report_given_up"]
            row = await (await connection.execute(query, {"id": upload_id})).fetchone()
        return None if row is None else row["report_tables_key"]

    async def give_up(self) -> None:
        """Forget what only uploads that ended without a merge wanted to know."""
        async with self._pool.connection() as connection:
            await connection.execute(_VERIFICATIONS["give_up"])

    async def unverified(self) -> list[Row]:
        """The uploads that wait for answers or for their report, in order."""
        async with self._pool.connection() as connection:
            return await (await connection.execute(_VERIFICATIONS["unverified"])).fetchall()

    # --- the circuit breaker --------------------------------------------------------------------

    async def turn(self, *, lease_s: float) -> Turn:
        """May the caller ask now? While the roll is down, one does after each pause: the probe."""
        state = await self.state()
        if state["down_since"] is None:
            return Turn()
        if state["probe_in_s"] <= 0 and await self._one("probe", {"lease_s": lease_s}):
            return Turn(is_probe=True)
        return Turn(wait_s=max(float(state["probe_in_s"]), 1.0))

    async def give_probe_back(self) -> None:
        """The probe asked nobody: it is still to be made."""
        await self._write("probe_back", {})

    async def state(self) -> Row:
        """The row of ``voter_roll_state``, with ``probe_in_s``."""
        found = await self._one("state", {})
        assert found is not None
        return found

    async def note_failure(self, error: VoterRollError) -> None:
        """Count a failure that speaks against the roll."""
        parameters = {
            "error_code": error.code,
            "error": error.message,
            "down_after": self._settings.voter_roll_down_after,
            "probe_s": self._settings.voter_roll_probe_s,
        }
        state = await self._one("note_failure", parameters)
        assert state is not None
        if state["down_since"] is not None:
            log.error("voter roll is down", code=error.code, probes=state["probes"])

    # --------------------------------------------------------------------------------------------

    async def forget_requests(self) -> None:
        """Forget requests that no window counts any more."""
        await self._write("forget_requests", {"window_s": self._settings.voter_roll_window_s})

    async def ahead(self, ordinal: int | None) -> tuple[int, int]:
        """People to be asked about: in all, and up to an upload's last row."""
        found = await self._one("ahead", {"ordinal": ordinal})
        assert found is not None
        return found["questions"], found["up_to"]

    async def failing(self) -> int:
        """People whom asking about has failed."""
        found = await self._one("failing", {})
        assert found is not None
        return int(found["questions"])

    async def _one(self, query: str, parameters: dict[str, Any]) -> Row | None:
        async with self._pool.connection() as connection:
            return await (await connection.execute(_SQL[query], parameters)).fetchone()

    async def _write(self, query: str, parameters: dict[str, Any]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(_SQL[query], parameters)
