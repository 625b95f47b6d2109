"""Questions, answers and reports in PostgreSQL, and the state of the circuit breaker.

A claim of a question lasts longer than asking it can take. If the worker dies, another one claims
it after that. An answer is committed before it is applied to members and uploads, so that nobody is
asked about twice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog

from rollbook.backends.database import execute, fetch_all, fetch_one, fetch_row, queries
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
    """A person to be asked about, claimed."""

    id_number: str
    #: How often asking failed.
    failures: int
    #: Did the roll refuse the question the last time?
    was_refused: bool
    #: Does an upload still wait for the answer?
    is_wanted: bool
    #: Is there a recent answer already?
    is_known: bool
    #: Is the roll down, and does this question probe whether it still is?
    is_probe: bool = False

    def __repr__(self) -> str:
        """Without the ID number: a representation ends up in logs."""
        return f"Question(failures={self.failures})"


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a question may be asked now."""

    #: Seconds until one may be asked; 0 when one may be asked now.
    wait_s: float = 0.0
    #: The roll is down, and the one question that may be asked probes whether it still is.
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class AnsweredUpload:
    """An upload that had rows waiting for an answer."""

    id: UUID
    status: str
    priority: int
    #: Rows that still wait for an answer.
    roll_pending: int
    #: Why its last attempt failed; the upload queue then knows the time of the next one.
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """An upload's report that is due to be rewritten with the roll's answers, claimed."""

    upload_id: UUID
    #: Tries that failed before.
    tries: int


class VerificationRecord:
    """What all workers share.

    Raises:
        psycopg.OperationalError, psycopg_pool.PoolTimeout: from every method, when PostgreSQL
            doesn't answer.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    # --- questions ------------------------------------------------------------------------------

    async def claim(self, *, lease_s: float, is_probe: bool = False) -> Question | None:
        """Claim the next question for ``lease_s`` seconds; None when none is due."""
        parameters = {
            "lease_s": lease_s,
            "is_probe": is_probe,
            "cache_days": self._settings.voter_roll_cache_days,
            "refused_code": QuestionRefusedError.code,
        }
        found = await fetch_one(self._pool, _SQL["claim"], parameters)
        return None if found is None else Question(**found, is_probe=is_probe)

    async def next_due_in_s(self) -> float | None:
        """Seconds until the next question becomes due; None when none does."""
        found = await fetch_one(self._pool, _SQL["next_due"])
        return None if found is None else found["due_in_s"]

    async def release(self, question: Question) -> None:
        """End a claim without having asked; the question is due at once."""
        await execute(self._pool, _SQL["release"], {"id_number": question.id_number})

    async def delete(self, question: Question) -> None:
        """Delete a question that no upload waits for."""
        await execute(self._pool, _SQL["delete_question"], {"id_number": question.id_number})

    async def postpone(self, question: Question, error: VoterRollError) -> None:
        """Record a failed try; the question is due again after a pause."""
        parameters = {
            "id_number": question.id_number,
            "error_code": error.code,
            "retry_s": self._settings.voter_roll_retry_s,
        }
        await execute(self._pool, _SQL["postpone"], parameters)

    async def save_answer(self, question: Question, answer: Answer) -> bool:
        """Commit an answer, and that the roll answers.

        Returns:
            Whether the question was still there; otherwise the answer isn't stored.
        """
        async with self._pool.connection() as connection:
            parameters = {"id_number": question.id_number, **asdict(answer)}
            saved = await connection.execute(_SQL["save_answer"], parameters)
            await connection.execute(_SQL["note_answer"])
        return saved.rowcount == 1

    async def settle(self, question: Question, *, is_refused: bool = False) -> list[AnsweredUpload]:
        """Apply a saved answer to the member and to all rows that wait for it; returns the uploads.

        ``is_refused``: there is no answer, because the roll refuses the question.
        """
        parameters = {"id_number": question.id_number, "is_refused": is_refused}
        async with self._pool.connection() as connection:
            if not is_refused:
                member = await fetch_one(connection, _SQL["update_member"], parameters)
                refuses = self._settings.deceased == "refuse"
                if refuses and member is not None and member["is_deceased"]:
                    await connection.execute(_SQL["end_member"], parameters)
            await connection.execute(_SQL["lock_uploads"], parameters)
            await connection.execute(_SQL["delete_question"], parameters)
            rows = await fetch_all(connection, _SQL["settle_rows"], parameters)
        return [AnsweredUpload(**row) for row in rows]

    async def ahead(self, ordinal: int | None) -> tuple[int, int]:
        """Questions in all, and up to the last row of the upload with this ordinal."""
        found = await fetch_row(self._pool, _SQL["ahead"], {"ordinal": ordinal})
        return found["questions"], found["up_to"]

    async def failing(self) -> int:
        """Questions on which the roll has failed."""
        return int((await fetch_row(self._pool, _SQL["failing"]))["questions"])

    # --- reports --------------------------------------------------------------------------------

    async def claim_report(self, *, lease_s: float) -> Report | None:
        """Claim the oldest upload whose report is due to be rewritten; None when there is none."""
        found = await fetch_one(self._pool, _VERIFICATIONS["claim_report"], {"lease_s": lease_s})
        return None if found is None else Report(found["id"], found["report_tries"])

    async def renew_report(self, report: Report, *, lease_s: float) -> None:
        """Extend a claim while the report is written."""
        parameters = {"id": report.upload_id, "lease_s": lease_s}
        await execute(self._pool, _VERIFICATIONS["renew_report"], parameters)

    async def postpone_report(
        self, report: Report, *, wait_s: float, is_counted: bool = True
    ) -> None:
        """Record that writing failed; the report is due again after ``wait_s`` seconds.

        ``is_counted`` is False if the report isn't to blame, as when a part was away.
        """
        parameters = {"id": report.upload_id, "tries": int(is_counted), "wait_s": wait_s}
        await execute(self._pool, _VERIFICATIONS["postpone_report"], parameters)

    async def give_up_report(self, report: Report) -> str | None:
        """Complete the verification with the report that the upload has.

        Returns:
            The store's key of the tables that the new report would have been written from.
        """
        found = await fetch_one(
            self._pool, _VERIFICATIONS["report_given_up"], {"id": report.upload_id}
        )
        return None if found is None else found["report_tables_key"]

    # --- what the reconciler corrects -----------------------------------------------------------

    async def ask_missing(self) -> int:
        """Add questions for pending rows that have none; how many were added."""
        return await execute(self._pool, _VERIFICATIONS["ask_missing"])

    async def recount(self) -> int:
        """Correct the counts of uploads that wait for rows which don't wait; how many uploads."""
        async with self._pool.connection() as connection:
            locked = await fetch_all(connection, _VERIFICATIONS["lock_miscounted"])
            ids = [row["id"] for row in locked]
            # A second statement sees what was committed until the uploads were locked.
            await connection.execute(_VERIFICATIONS["recount"], {"ids": ids})
        return len(ids)

    async def give_up(self) -> None:
        """Delete the questions of uploads that ended without a merge."""
        await execute(self._pool, _VERIFICATIONS["give_up"])

    async def ready_to_merge(self) -> list[Row]:
        """Uploads that waited for their answers before the merge and have them all."""
        return await fetch_all(self._pool, _VERIFICATIONS["ready_to_merge"])

    # --- the circuit breaker --------------------------------------------------------------------

    async def turn(self, *, lease_s: float) -> Turn:
        """Whether the caller may ask now. While the roll is down, one caller probes per pause."""
        state = await self.state()
        if state["down_since"] is None:
            return Turn()
        if state["probe_in_s"] <= 0 and await fetch_one(
            self._pool, _SQL["claim_probe"], {"lease_s": lease_s}
        ):
            return Turn(is_probe=True)
        return Turn(wait_s=max(float(state["probe_in_s"]), 1.0))

    async def release_probe(self) -> None:
        """End a probe that asked nothing; the next due question is the probe."""
        await execute(self._pool, _SQL["release_probe"])

    async def state(self) -> Row:
        """The row of ``voter_roll_state``, with ``probe_in_s``."""
        return await fetch_row(self._pool, _SQL["state"])

    async def note_failure(self, error: VoterRollError) -> None:
        """Count a failure of the roll itself."""
        parameters = {
            "error_code": error.code,
            "error": error.message,
            "down_after": self._settings.voter_roll_down_after,
            "probe_s": self._settings.voter_roll_probe_s,
        }
        state = await fetch_row(self._pool, _SQL["note_failure"], parameters)
        if state["down_since"] is not None:
            log.error("voter roll is down", code=error.code, probes=state["probes"])
