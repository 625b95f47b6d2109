"""Asks the roll about everybody who is pending, in each worker process, beside the uploads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import structlog
from bullmq.custom_errors import DelayedError
from psycopg_pool import PoolTimeout

from rollbook import clock
from rollbook.errors import (
    AttemptError,
    BudgetSpentError,
    NoAnswerError,
    QuestionRefusedError,
    RollbookError,
    RollDownError,
    ServiceUnavailableError,
)
from rollbook.queue.bull_worker import OneCallWorker
from rollbook.queue.loop import options, take_jobs
from rollbook.queue.verifications import REPORT, REPORT_TRIES
from rollbook.telemetry import logs
from rollbook.voter_roll.budget import Budget
from rollbook.voter_roll.client import RollClient
from rollbook.voter_roll.record import VerificationRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bullmq import Job
    from redis.asyncio import Redis

    from rollbook.service.system import System
    from rollbook.voter_roll.record import Question, Told

#: The last seconds of a wait. What comes before them the job spends in the queue, delayed; there it
#: is woken up to a second late, which of a small window would be a good part.
SHORT_WAIT_S = 5.0
#: The longest wait, after which a lane looks again by itself.
LONGEST_WAIT_S = 600.0
#: Seconds between two looks of a lane that finds no question, at first and at most.
IDLE_S, LONGEST_IDLE_S = 0.05, 5.0
#: So many failures about one person speak against the roll; further ones say nothing new of it.
TELLING_FAILURES = 3
#: Seconds by which a question stays taken longer than asking it can take.
LEASE_MARGIN_S = 15.0
_AWAY = (ServiceUnavailableError, psycopg.OperationalError, PoolTimeout)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """What came of trying to ask one question."""

    #: Seconds before another can be asked; 0 when one can at once.
    wait_s: float = 0.0
    #: None was due.
    is_idle: bool = False


class VerificationWorker:
    """Takes jobs of the queue ``voter-verification``."""

    def __init__(
        self, system: System, name: str, *, write_report: Callable[[UUID], Awaitable[object]]
    ) -> None:
        self._system = system
        self._settings = system.settings
        #: Writes an upload's report again, once all answers are in.
        self._write_report = write_report
        self._name = name
        self._record = VerificationRecord(system.settings, system.pool)
        self._budget = Budget(system.settings, system.verifications.redis, system.pool)
        self._client = RollClient(system.settings, self._budget)
        self._lease_s = self._client.patience_s + LEASE_MARGIN_S
        self._stop = asyncio.Event()
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; requests that are under way get their answers."""
        async with self._client:
            await take_jobs(self._settings, stop, self._make_worker, self._shut_down)

    async def process(self, job: Job, token: str) -> dict[str, Any]:
        """BullMQ's processor: a lane, or a report to be written again.

        Raises:
            DelayedError: the job was put back, to go on later.
            AttemptError: it failed in a way that nobody foresaw; the reconciler adds it again.
        """
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        upload_id = UUID(job.data["upload_id"])
        structlog.contextvars.bind_contextvars(job_id=str(upload_id))
        try:
            if job.name == REPORT:
                await self._write_report(upload_id)
                wait_s = None
            else:
                wait_s = await self._lane(upload_id)
        except _AWAY as error:
            log.warning("a part is not reachable, asking waits", error=type(error).__name__)
            wait_s = self._settings.backoff_ms / 1000
        except RollbookError as error:
            log.error("verification failed", code=error.code)
            await self._give_up_report(job, upload_id)
            raise AttemptError(error.code) from None
        except Exception as error:  # noqa: BLE001 - its text may quote a number, and BullMQ keeps it
            where = logs.places(error)
            log.error("verification failed", error=type(error).__name__, where=where)
            await self._give_up_report(job, upload_id)
            raise AttemptError("internal") from None
        finally:
            self._running.discard(task)
            structlog.contextvars.unbind_contextvars("job_id")
        if wait_s is not None:
            due = int((clock.now().timestamp() + wait_s) * 1000)
            await job.moveToDelayed(due, token)
            raise DelayedError
        return {"upload_id": str(upload_id)}

    async def _lane(self, upload_id: UUID) -> float | None:
        """Ask until the upload has nobody left; seconds to wait, or None when it is done."""
        idle_s = IDLE_S
        while not self._stop.is_set():
            if not await self._record.pending_of(upload_id):
                return None
            step = await self._step()
            if step.is_idle:
                step = await self._idle(idle_s)
                idle_s = min(idle_s * 2, LONGEST_IDLE_S)
            else:
                idle_s = IDLE_S
            if step.wait_s > SHORT_WAIT_S:
                return min(step.wait_s - SHORT_WAIT_S / 2, LONGEST_WAIT_S)
            if step.wait_s:
                await self._pause(step.wait_s)
        return 0.0

    async def _step(self) -> Step:
        """Ask the next question, if it may be asked now."""
        turn = await self._record.turn(lease_s=self._lease_s)
        if turn.wait_s:
            return Step(turn.wait_s)
        question = await self._record.claim(lease_s=self._lease_s, is_probe=turn.is_probe)
        if turn.is_probe and (question is None or not question.is_wanted or question.is_known):
            await self._record.give_probe_back()
        if question is None:
            return Step(is_idle=True)
        if not question.is_wanted:
            await self._record.drop(question)
        elif question.is_known:
            await self._tell(question)
        else:
            return await self._ask(question, is_probe=turn.is_probe)
        return Step()

    async def _ask(self, question: Question, *, is_probe: bool) -> Step:
        try:
            answer = await self._client.ask(question.id_number)
        except BudgetSpentError as spent:
            await self._record.release(question)
            if is_probe:
                await self._record.give_probe_back()
            return Step(spent.wait_s)
        except QuestionRefusedError as refused:
            log.warning("voter roll refuses a question", reason=refused.message)
            await self._refused(question, refused, is_probe=is_probe)
        except NoAnswerError as failure:
            log.warning("voter roll gave no answer", reason=failure.message)
            await self._record.postpone(question, failure)
            if is_probe or question.failures < TELLING_FAILURES:
                await self._record.note_failure(failure)
        except RollDownError as failure:
            log.warning("voter roll is not usable", reason=failure.message)
            await self._record.release(question)
            await self._record.note_failure(failure)
        else:
            await self._record.keep(question, answer)
            await self._tell(question)
        return Step()

    async def _refused(
        self, question: Question, refused: QuestionRefusedError, *, is_probe: bool
    ) -> None:
        """Believe a refusal when it comes a second time.

        Something in front of the roll may refuse everything. Of each person the first refusal
        counts against the roll: it then is down before anybody is refused twice.
        """
        if question.was_refused and not is_probe:
            await self._tell(question, is_refused=True)
            return
        await self._record.postpone(question, refused)
        await self._record.note_failure(refused)

    async def _idle(self, pause_s: float) -> Step:
        """No question is due: rows that lost theirs get a new one, the others' time will come."""
        if await self._record.reask():
            return Step()
        # Where none is to come, somebody is telling the last answer at this moment. Should the
        # record be wrong in that, the reconciler mends it, and until then nothing spins.
        due_in_s = await self._record.next_due_in_s()
        return Step(max(due_in_s, IDLE_S) if due_in_s else pause_s)

    async def _tell(self, question: Question, *, is_refused: bool = False) -> None:
        for told in await self._record.spread(question, is_refused=is_refused):
            if told.roll_pending == 0:
                await self._finish(told)

    async def _finish(self, upload: Told) -> None:
        """The last answer of an upload is in. Where this gets lost, the reconciler does it."""
        log.info("all answers are in", upload=str(upload.id))
        try:
            if upload.status == "completed":
                await self._system.verifications.write_report(upload.id)
            elif upload.status == "pending" and upload.error_code is None:
                await self._system.queue.retry(upload.id, priority=upload.priority)
        except ServiceUnavailableError:
            log.warning("queue not reachable, the reconciler will go on")

    async def _give_up_report(self, job: Job, upload_id: UUID) -> None:
        """After its last try, let the report be as it is: the answers are in the record."""
        if job.name != REPORT or job.attemptsMade + 1 < REPORT_TRIES:
            return
        try:
            tables_key = await self._record.give_up_report(upload_id)
            log.error("report can't be written again, it stays as it is")
            if tables_key is not None:
                await self._system.store.remove(tables_key)
        except _AWAY as away:  # the reconciler adds the job again
            log.warning("report not given up", error=type(away).__name__)

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping}, timeout=seconds)
        stopping.cancel()

    async def _shut_down(self) -> None:
        """Ask no further question, and put the jobs back."""
        self._stop.set()
        if self._running:
            grace_s = self._settings.shutdown_grace_s
            _, late = await asyncio.wait(set(self._running), timeout=grace_s)
            for task in late:  # its question comes again when the lease is over
                task.cancel()

    def _make_worker(self, client: Redis) -> OneCallWorker:
        settings = self._settings
        return OneCallWorker(
            settings.voter_roll_queue_name,
            self.process,
            options(settings, client, name=self._name, concurrency=settings.voter_roll_lanes),
        )
