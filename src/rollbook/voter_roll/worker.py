"""Asks the roll about everyone who is pending and rewrites reports, in each worker process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from rollbook.backends.database import UNAVAILABLE
from rollbook.errors import (
    BudgetSpentError,
    NoAnswerError,
    QuestionRefusedError,
    RollbookError,
    RollDownError,
    ServiceUnavailableError,
)
from rollbook.service.due import POLL_S, pause_s, work_on_due
from rollbook.service.rounds import every
from rollbook.telemetry import logs
from rollbook.voter_roll.budget import AHEAD_S, Budget
from rollbook.voter_roll.client import RollClient
from rollbook.voter_roll.record import VerificationRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from rollbook.service.system import System
    from rollbook.voter_roll.record import AnsweredUpload, Question, Report

#: A person's first failures count against the roll; further ones say nothing new about it.
COUNTED_FAILURES: Final = 3
#: Seconds by which a claim of a question outlasts asking it.
LEASE_MARGIN_S: Final = 15.0
#: How often rewriting a report is tried. Tries while a part is away don't count.
REPORT_TRIES: Final = 3
#: A claim of a report is renewed so often in the time for which it lasts.
RENEWALS: Final = 3

log = structlog.get_logger(__name__)


class VerificationWorker:
    """Works on due questions and due reports.

    ``write_report`` rewrites an upload's report once all its answers are in.
    """

    def __init__(
        self,
        system: System,
        *,
        write_report: Callable[[UUID], Awaitable[object]],
        report_turn: asyncio.Semaphore | None = None,
    ) -> None:
        self._system = system
        self._settings = system.settings
        self._write_report = write_report
        self._report_turn = report_turn
        self._record = VerificationRecord(system.settings, system.pool)
        self._budget = Budget(system)
        self._client = RollClient(system.settings, self._budget)
        self._lease_s = self._client.patience_s + LEASE_MARGIN_S
        self._report_lease_s = system.settings.lock_duration_ms / 1000

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; requests under way get the grace period for their answers."""
        grace_s = self._settings.shutdown_grace_s
        async with self._client, asyncio.TaskGroup() as loops:
            questions = work_on_due(
                stop,
                self._claim,
                self._process,
                concurrency=self._settings.voter_roll_lanes,
                grace_s=grace_s,
                service="verifications",
            )
            reports = work_on_due(
                stop,
                self._claim_report,
                self._rewrite,
                concurrency=1,
                grace_s=grace_s,
                service="verified reports",
                turn=self._report_turn,
            )
            loops.create_task(questions)
            loops.create_task(reports)

    # --- questions ------------------------------------------------------------------------------

    async def _claim(self) -> Question | float:
        """The next question if one may be asked now, or the seconds until the next look."""
        if (wait_s := (await self._budget.standing()).wait_s) > AHEAD_S:
            return wait_s - AHEAD_S / 2
        turn = await self._record.turn(lease_s=self._lease_s)
        if turn.wait_s:
            return min(turn.wait_s, POLL_S)  # another worker's probe may end it sooner
        question = await self._record.claim(lease_s=self._lease_s, is_probe=turn.is_probe)
        if turn.is_probe and (question is None or not question.is_wanted or question.is_known):
            await self._record.release_probe()
        if question is not None:
            return question
        due_in_s = await self._record.next_due_in_s()
        if due_in_s is None and await self._record.ask_missing():
            due_in_s = 0.0
        return pause_s(due_in_s)

    async def _process(self, question: Question) -> None:
        if not question.is_wanted:
            await self._record.delete(question)
        elif question.is_known:
            await self._settle(question)
        else:
            await self._ask(question)

    async def _ask(self, question: Question) -> None:
        try:
            answer = await self._client.ask(question.id_number)
        except BudgetSpentError:  # by another request since the claim
            await self._record.release(question)
            if question.is_probe:
                await self._record.release_probe()
        except QuestionRefusedError as refused:
            log.warning("voter roll refuses a question", reason=refused.message)
            await self._refused(question, refused)
        except NoAnswerError as failure:
            log.warning("voter roll gave no answer", reason=failure.message)
            await self._record.postpone(question, failure)
            if question.is_probe or question.failures < COUNTED_FAILURES:
                await self._record.note_failure(failure)
        except RollDownError as failure:
            log.warning("voter roll is not usable", reason=failure.message)
            await self._record.release(question)
            await self._record.note_failure(failure)
        else:
            if await self._record.save_answer(question, answer):
                await self._settle(question)
            else:
                log.info("answer not stored, its question is gone")

    async def _refused(self, question: Question, refused: QuestionRefusedError) -> None:
        """Accept a refusal when it comes a second time.

        A gateway in front of the roll may refuse everything. The first refusal of each person
        counts against the roll, so the roll is down before anyone is refused twice.
        """
        if question.was_refused and not question.is_probe:
            await self._settle(question, is_refused=True)
            return
        await self._record.postpone(question, refused)
        await self._record.note_failure(refused)

    async def _settle(self, question: Question, *, is_refused: bool = False) -> None:
        for upload in await self._record.settle(question, is_refused=is_refused):
            if upload.roll_pending == 0:
                await self._finish(upload)

    async def _finish(self, upload: AnsweredUpload) -> None:
        """The last answer of an upload came: wake it if it waits for its merge."""
        log.info("all answers are in", upload=str(upload.id))
        if upload.status != "pending" or upload.error_code is not None:
            return
        try:
            await self._system.queue.retry(upload.id, priority=upload.priority)
        except ServiceUnavailableError:
            log.warning("queue not reachable, the reconciler will wake the upload")

    # --- reports --------------------------------------------------------------------------------

    async def _claim_report(self) -> Report | float:
        return await self._record.claim_report(lease_s=self._report_lease_s) or POLL_S

    async def _rewrite(self, report: Report) -> None:
        """Rewrite a report, and renew its claim meanwhile."""

        async def renew() -> None:
            await self._record.renew_report(report, lease_s=self._report_lease_s)

        with structlog.contextvars.bound_contextvars(job_id=str(report.upload_id)):
            try:
                interval_s = self._report_lease_s / RENEWALS
                async with every(interval_s, renew, service="claim of a report"):
                    await self._write_report(report.upload_id)
            except UNAVAILABLE as error:
                log.warning("report postponed", reason=type(error).__name__)
                wait_s = self._settings.backoff_ms / 1000
                await self._record.postpone_report(report, wait_s=wait_s, is_counted=False)
            except RollbookError as error:
                log.error("report failed", code=error.code)
                await self._report_failed(report)
            except Exception as error:  # noqa: BLE001 - its text may quote an ID number
                log.error("report failed", error=type(error).__name__, where=logs.places(error))
                await self._report_failed(report)

    async def _report_failed(self, report: Report) -> None:
        """Retry later; after the last try, keep the old report: the answers are in the record."""
        tries = report.tries + 1
        if tries < REPORT_TRIES:
            wait_s = self._settings.backoff_ms / 1000 * 2 ** (tries - 1)
            await self._record.postpone_report(report, wait_s=wait_s)
            return
        tables_key = await self._record.give_up_report(report)
        log.error("report given up, the old one is kept", tries=tries)
        if tables_key is not None:
            await self._system.store.remove(tables_key)
