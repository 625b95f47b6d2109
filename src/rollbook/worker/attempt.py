"""One attempt at an upload, from the claim to the answer that the queue gets.

The record is written first and the queue afterwards. After a crash in between the record is
correct, and the next attempt or the reconciler corrects the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from bullmq import Job, UnrecoverableError
from bullmq.custom_errors import DelayedError
from psycopg.types.json import Jsonb
from redis.exceptions import RedisError

from rollbook import clock
from rollbook.accounts import audit
from rollbook.backends import exhaustion
from rollbook.backends.database import UNAVAILABLE, fetch_one, fetch_row, queries
from rollbook.backends.store import SOURCE_GONE
from rollbook.errors import (
    AttemptError,
    FencedError,
    FileProblemError,
    NoResourcesError,
    OutOfMemoryError,
    RollbookError,
    ServerLimitError,
    ServiceUnavailableError,
    SourceGoneError,
    VoterRollPendingError,
)
from rollbook.model import FINAL, OUTCOMES, Progress
from rollbook.notifications import outbox
from rollbook.queue.bull_worker import hand_back, is_let_go
from rollbook.queue.publisher import announce_progress
from rollbook.queue.uploads import LOOK_AGAIN_MS
from rollbook.telemetry import correlation, logs, metrics, traces
from rollbook.uploads import waits
from rollbook.uploads.control import apply_pause, forget_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.backends.database import Row
    from rollbook.service.system import System
    from rollbook.worker.fitness import Fitness
    from rollbook.worker.slots import Slots, StageTimes

#: Seconds between two heartbeats; also how long a cancelled job may still run.
HEARTBEAT_S = 0.5

UNFORESEEN = (
    "Processing the file failed unexpectedly. Nothing of it was merged. The operator's log has the "
    "details under this job id."
)

_SQL = queries("uploads")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _End:
    """How an attempt ended; an unforeseen error is a fault."""

    result: str = "fault"
    error: str | None = None

    def note_failure(self, code: str, *, is_final: bool) -> None:
        """Note a failure with this code, and whether it is the upload's last attempt."""
        self.error = code
        self.result = "failed" if is_final else "retried"
        metrics.FAILURES.labels(code=code).inc()
        if is_final:
            metrics.JOBS.labels(result="failed").inc()
        else:
            metrics.RETRIES.labels(by="queue").inc()


class Attempts:
    """Runs the jobs that the queue hands to one worker process."""

    def __init__(self, system: System, slots: Slots, worker: str, fitness: Fitness) -> None:
        self._system = system
        self._fitness = fitness
        #: Jobs in a row that were put back before their attempt was in the record.
        self._unclaimed = 0
        self._slots = slots
        self._worker = worker
        #: By upload and attempt: a job whose lock ran out may come back to this very worker while
        #: the attempt that lost it still ends.
        self._running: dict[tuple[UUID, int], asyncio.Task[dict[str, Any]]] = {}
        #: Rows per second of each.
        self._pace: dict[tuple[UUID, int], float] = {}
        self._shutting_down = False
        metrics.ROWS_PER_SECOND.set_function(lambda: sum(self._pace.values()))

    @property
    def running(self) -> list[UUID]:
        """The uploads that are being worked on."""
        return list(dict.fromkeys(upload_id for upload_id, _ in self._running))

    async def process(self, job: Job, token: str) -> dict[str, Any]:
        """BullMQ's processor: run one attempt of the job.

        Returns:
            Ids and counts, nothing of a member: BullMQ copies it into its event stream.

        Raises:
            UnrecoverableError: the upload has ended without a result.
            DelayedError: the job was put back without having cost an attempt.
            AttemptError: the attempt failed and the queue decides on the next one.
        """
        upload_id = UUID(job.data["upload_id"])
        structlog.contextvars.bind_contextvars(job_id=str(upload_id))
        try:
            if not self._fitness.is_fit():  # the job came after the last check
                await self._let_go(job, token)
                raise DelayedError
            upload = await self._claim(upload_id)
            self._unclaimed = 0
            if upload is None:
                return await self._not_claimed(job, token, upload_id)
            structlog.contextvars.bind_contextvars(attempt=upload["attempt"])
            if self._shutting_down:  # the job came after shutdown began
                await self._hand_back(job, token, upload)
                raise DelayedError
            with correlation.bound(upload["request_id"]), _measured(upload) as ended:
                log.info(
                    "attempt started", file_kind=upload["file_kind"], bytes=upload["file_bytes"]
                )
                return await self._attempt(job, token, upload, ended)
        except UNAVAILABLE as error:  # says nothing about the file, and costs it no attempt
            log.warning("part not reachable, job postponed", error=type(error).__name__)
            await self._put_back(job, token, delay_ms=self._pause_ms())
            raise DelayedError from None
        except (DelayedError, UnrecoverableError, AttemptError):
            raise
        except Exception as error:  # noqa: BLE001 - BullMQ would write its words to Redis
            _log_unforeseen(error)
            if exhaustion.is_one(error):
                await self._put_back(job, token, delay_ms=self._pause_ms())
                raise DelayedError from None
            raise AttemptError(AttemptError.code) from None
        finally:
            structlog.contextvars.unbind_contextvars("job_id", "attempt")

    def _pause_ms(self) -> int:
        """The pause of a job whose attempt isn't recorded; it doubles up to a bound."""
        settings = self._system.settings
        self._unclaimed = min(self._unclaimed + 1, 30)
        doubled: float = settings.backoff_ms * 2 ** (self._unclaimed - 1)
        return round(min(doubled, settings.longest_backoff_s * 1000))

    async def shut_down(self, grace_s: float) -> None:
        """Let running attempts finish within the grace period, then hand back the others."""
        self._shutting_down = True
        tasks = set(self._running.values())
        if tasks:
            log.info("waiting for running jobs", jobs=len(tasks), grace_s=grace_s)
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()

    # --- the parts of an attempt --------------------------------------------------------------

    async def _claim(self, upload_id: UUID) -> Row | None:
        parameters = {"id": upload_id, "worker": self._worker}
        async with self._system.pool.connection() as connection:
            claimed = await fetch_one(connection, _SQL["claim"], parameters)
            if claimed is not None:
                await connection.execute(*audit.of_attempt("start", claimed))
        if claimed is not None and claimed["attempt"] > 1:
            # After the commit: an older attempt may have to end before it gives its locks back.
            await self._end_older(claimed)
        return claimed

    async def _end_older(self, upload: Row) -> None:
        own = {"id": str(upload["id"]), "attempt": str(upload["attempt"])}
        row = await fetch_one(self._system.pool, _SQL["end_older_attempts"], own)
        if row is not None and row["ended"]:
            log.warning("sessions of an older attempt ended", sessions=row["ended"])

    async def _not_claimed(self, job: Job, token: str, upload_id: UUID) -> dict[str, Any]:
        """The job came although the queue is paused, or its upload has ended or may not run.

        For an ended upload, return the lost answer; the reconciler ends one that may not run.
        """
        upload = await fetch_one(self._system.pool, _SQL["by_id"], {"id": upload_id})
        if upload is None:
            raise UnrecoverableError("There is no upload of this id in the record.")
        queue = await fetch_one(self._system.pool, _SQL["queue_state"])
        if upload["status"] not in FINAL and queue is not None and queue["is_paused"]:
            await apply_pause(self._system)
            await self._let_go(job, token)
            raise DelayedError
        log.info("upload can't be claimed", status=upload["status"])
        return await self._final_answer(job, upload)

    async def _final_answer(self, job: Job, upload: Row) -> dict[str, Any]:
        """The queue's answer for an upload that has ended or that another attempt has claimed."""
        if upload["status"] in FINAL:  # its end may not have been announced, after a crash
            await self._system.queue.announce_end(upload)
        if upload["status"] == "completed":
            await self._forget_source(upload)
            return _result(upload)
        if upload["status"] == "cancelled":
            _remove_when_failed(job)
        raise UnrecoverableError(upload["error_code"] or upload["status"])

    async def _forget_source(self, upload: Row) -> None:
        if not upload["dry_run"]:  # a dry run's file stays, to be run for real
            await forget_source(self._system, upload)

    async def _attempt(self, job: Job, token: str, upload: Row, ended: _End) -> dict[str, Any]:
        own: tuple[UUID, int] = (upload["id"], upload["attempt"])
        work = asyncio.create_task(self._supervise(job, upload))
        self._running[own] = work
        try:
            await work
        except asyncio.CancelledError:
            if not self._shutting_down:
                raise
            ended.result = "handed_back"
            await self._hand_back(job, token, upload)
            raise DelayedError from None
        except FencedError as error:
            ended.result = "fenced"
            log.debug("fenced", reason=error.message)
            return await self._fenced(job, upload)
        except VoterRollPendingError:
            ended.result = "waits_for_voter_roll"
            await self._wait_for_answers(job, token, upload)
            raise DelayedError from None
        except ServiceUnavailableError as error:
            ended.result = "unavailable"
            await self._postpone(job, token, upload, error)
            raise DelayedError from None
        except RollbookError as error:
            return await self._failed(job, upload, error, ended)
        except UNAVAILABLE:
            ended.result = "unavailable"
            raise
        except Exception as error:  # noqa: BLE001 - a fault of this code costs the attempt, no more
            return await self._fault(job, token, upload, error, ended)
        finally:
            del self._running[own]
            self._pace.pop(own, None)
        ended.result = "completed"
        done = await self._by_id(upload["id"])
        await self._system.queue.announce_end(done)
        await self._forget_source(upload)
        metrics.JOBS.labels(result="completed").inc()
        for name in OUTCOMES:
            metrics.ROWS.labels(outcome=name).inc(done[name])
        log.info("attempt completed", rows=done["rows_total"], seconds=done["stage_seconds"])
        return _result(done)

    async def _fault(
        self, job: Job, token: str, upload: Row, error: Exception, ended: _End
    ) -> dict[str, Any]:
        """An error that nobody foresaw; a limit of the machine costs no attempt."""
        _log_unforeseen(error)
        if exhaustion.is_one(error):
            ended.result = "unavailable"
            await self._postpone(job, token, upload, NoResourcesError(exhaustion.SENTENCE))
            raise DelayedError from None
        return await self._failed(job, upload, AttemptError(UNFORESEEN), ended)

    async def _supervise(self, job: Job, upload: Row) -> dict[str, Any]:
        """Run the pipeline in a child, with a heartbeat beside it that can end it."""
        if upload["source_key"] is None or not await self._system.store.has(upload["source_key"]):
            await self._fitness.doubt_store()
            raise SourceGoneError(SOURCE_GONE)
        latest = Progress()

        def on_progress(progress: Progress) -> None:
            nonlocal latest
            latest = progress
            self._pace[upload["id"], upload["attempt"]] = progress.rows_per_second or 0.0

        bound = {"request_id": upload["request_id"]} if upload["request_id"] else {}
        work = asyncio.create_task(
            self._slots.run(
                upload["id"], upload["attempt"], on_progress, bound=bound, on_stages=_note_stages
            )
        )
        announced: tuple[Progress, waits.Wait | None] | None = None
        wait: waits.Wait | None = None
        try:
            while not work.done():
                # A merge that waits shows no progress, so one that does isn't asked about. One that
                # has begun to wait is: what it said before may come in late.
                stands_still = announced is not None and _is_as_far(announced[0], latest)
                is_asked = stands_still or wait is not None
                wait = await self._wait(upload, wait) if is_asked else None
                if not await self._beat(upload, latest, wait):
                    raise FencedError("The upload was cancelled, or another attempt has it now.")
                if (latest, wait) != announced:
                    announced = latest, wait
                    said = None if wait is None else wait.as_json(upload["attempt"])
                    await announce_progress(job, upload["attempt"], latest, said)
                await asyncio.wait({work}, timeout=HEARTBEAT_S)
            if work.exception() is not None and (latest, None) != announced:
                await self._beat(upload, latest)  # the stage in which it broke off
            return work.result()
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if self._slots.stuck is not None:
                # Its process may not end for long, and would hold the merge's locks.
                with contextlib.suppress(*UNAVAILABLE):
                    await self._end_older({**upload, "attempt": upload["attempt"] + 1})

    async def _wait(self, upload: Row, before: waits.Wait | None) -> waits.Wait | None:
        """For which other change of the same members the attempt's merge waits."""
        wait = await waits.look(self._system.pool, upload, before)
        if wait is not None and before is None:
            metrics.MERGE_WAITS.inc()
            log.info("merge waits for locked members", for_upload=str(wait.upload_id or ""))
        return wait

    async def _beat(self, upload: Row, progress: Progress, wait: waits.Wait | None = None) -> bool:
        """Write heartbeat and progress; False when the attempt may not continue."""
        parameters = {
            "id": upload["id"],
            "attempt": upload["attempt"],
            "stage": progress.stage,
            "progress": min(progress.percent, 99),  # 100 belongs to the merge's transaction
            "rows_done": progress.rows_done,
            "rows_total": progress.rows_total,
            "waits": None if wait is None else Jsonb(wait.as_json(upload["attempt"])),
        }
        async with self._system.pool.connection() as connection:
            cursor = await connection.execute(_SQL["beat"], parameters)
            if await cursor.fetchone() is not None:
                return True
            # The child's own last write ends the attempt too, and that is no fence.
            found = await fetch_one(connection, _SQL["by_id"], parameters)
        return (
            found is not None
            and found["status"] == "completed"
            and found["attempt"] == upload["attempt"]
        )

    async def _fenced(self, job: Job, upload: Row) -> dict[str, Any]:
        latest = await self._by_id(upload["id"])
        log.info("attempt stopped", status=latest["status"], now_at_attempt=latest["attempt"])
        return await self._final_answer(job, latest)

    async def _failed(
        self, job: Job, upload: Row, error: RollbookError, ended: _End
    ) -> dict[str, Any]:
        """Record a failed attempt and raise for BullMQ; an attempt that ended otherwise returns."""
        hopeless = isinstance(error, FileProblemError | OutOfMemoryError | ServerLimitError)
        last = job.attemptsMade + 1 >= int(job.opts.get("attempts", 1))
        query = "fail" if hopeless or last else "hand_back"
        values = {"error_code": error.code, "error": error.message}
        if not await self._record(query, upload, **values, uncounted=0):
            # Its child died right after its commit, or the upload was cancelled at this moment.
            ended.result = "fenced"
            log.info("attempt failed after its end", code=error.code)
            return await self._fenced(job, upload)
        log.warning("attempt failed", code=error.code, final=query == "fail")
        ended.note_failure(error.code, is_final=query == "fail")
        if query == "fail":
            await self._system.queue.announce_end(await self._by_id(upload["id"]))
        # Only the code: the sentence may quote the file, and Redis holds no member's data.
        raise (UnrecoverableError if hopeless else AttemptError)(error.code)

    async def _hand_back(self, job: Job, token: str, upload: Row) -> None:
        """Hand the job to another worker without counting this attempt."""
        await self._record("hand_back", upload, error_code=None, error=None, uncounted=1)
        log.info("job handed back, the worker is stopping")
        await self._let_go(job, token)

    async def _let_go(self, job: Job, token: str) -> None:
        """Put the job back to the front of its priority for any worker."""
        with _letting_go():
            await hand_back(job, token)

    async def _postpone(
        self, job: Job, token: str, upload: Row, error: ServiceUnavailableError
    ) -> None:
        """Postpone the upload while a part is unreachable, full or locked; it costs no attempt."""
        settings = self._system.settings
        values = {
            "id": upload["id"],
            "attempt": upload["attempt"],
            "error_code": error.code,
            "error": error.message,
            "first_s": settings.backoff_ms / 1000,
            "longest_s": settings.longest_backoff_s,
        }
        row = await fetch_one(self._system.pool, _SQL["postpone"], values)
        if row is None:  # another attempt has it, or it has ended
            await self._let_go(job, token)
            return
        log.warning(
            "attempt postponed",
            code=error.code,
            reason=error.message,
            in_a_row=row["hand_backs"],
            pause_s=round(row["wait_s"], 1),
        )
        await self._put_back(job, token, delay_ms=round(row["wait_s"] * 1000))

    async def _wait_for_answers(self, job: Job, token: str, upload: Row) -> None:
        """Let the upload wait for the voter roll, as its options ask; the last answer wakes it."""
        await self._record("hand_back", upload, error_code=None, error=None, uncounted=1)
        await self._put_back(job, token, delay_ms=LOOK_AGAIN_MS)

    async def _record(self, query: str, upload: Row, **values: Any) -> bool:
        parameters = {"id": upload["id"], "attempt": upload["attempt"], **values}
        async with self._system.pool.connection() as connection:
            cursor = await connection.execute(_SQL[query], parameters)
            if cursor.rowcount != 1:
                return False
            if query == "fail":
                code = values["error_code"]
                await connection.execute(*audit.of_attempt("end", upload, failed=code))
                channels = self._system.settings.notification_channels
                await connection.execute(*outbox.entry(upload["id"], "failed", channels))
            return True

    async def _by_id(self, upload_id: UUID) -> Row:
        return await fetch_row(self._system.pool, _SQL["by_id"], {"id": upload_id})

    async def _put_back(self, job: Job, token: str, *, delay_ms: int) -> None:
        """Give the job back to the queue for later, without counting the attempt."""
        due = int(clock.now().timestamp() * 1000) + delay_ms
        with _letting_go():
            await job.moveToDelayed(due, token)


def _is_as_far(one: Progress, other: Progress) -> bool:
    """Whether both say the same but for the rate, which sinks while nothing is done."""
    return replace(one, rows_per_second=None) == replace(other, rows_per_second=None)


@contextlib.contextmanager
def _measured(upload: Row) -> Iterator[_End]:
    """Count and time an attempt, within the trace of the request that sent its upload."""
    parent, claimed, waiting = upload["traceparent"], time.time_ns(), upload["waiting_since"]
    metrics.WAIT_SECONDS.observe(max((upload["started_at"] - waiting).total_seconds(), 0))
    traces.note("wait in queue", int(waiting.timestamp() * 1e9), claimed, parent=parent)
    ended, began = _End(), time.perf_counter()
    with traces.span(
        "attempt",
        kind=traces.CONSUMER,
        parent=parent,
        rollbook__upload_id=str(upload["id"]),
        rollbook__attempt=upload["attempt"],
        rollbook__request_id=upload["request_id"] or "",
    ) as own:
        try:
            yield ended
        finally:
            metrics.ATTEMPTS.labels(result=ended.result).inc()
            taken = time.perf_counter() - began
            metrics.ATTEMPT_SECONDS.labels(result=ended.result).observe(taken)
            if own is not None:
                own.attributes["rollbook.result"] = ended.result
                own.error = ended.error or ""  # a postponed attempt is no error


def _note_stages(times: StageTimes) -> None:
    """Add the child's stage durations to metrics and trace."""
    parent = traces.carried()
    for stage, seconds in times.seconds.items():
        metrics.STAGE_SECONDS.labels(stage=stage).observe(seconds)
        traces.note(stage, *times.spans[stage], parent=parent, rollbook__busy_seconds=seconds)


@contextlib.contextmanager
def _letting_go() -> Iterator[None]:
    """Log a failed release of a job; another worker takes the job when its lock expires."""
    try:
        yield
    except (RedisError, OSError) as error:
        log.warning("job not released, its lock will expire", error=type(error).__name__)
    except TypeError as error:
        if not is_let_go(error):
            raise
        log.info("job already released by the queue", reason=str(error))


def _log_unforeseen(error: Exception) -> None:
    # The error's text may quote a cell, so only its place is logged.
    log.error("attempt failed unexpectedly", error=type(error).__name__, where=logs.places(error))


def _remove_when_failed(job: Job) -> None:
    """Let BullMQ remove a cancelled job; it reads this option after the processor returns."""
    job.opts["removeOnFail"] = True


def _result(upload: Row) -> dict[str, Any]:
    return {
        "upload_id": str(upload["id"]),
        "attempt": upload["attempt"],
        "rows_total": upload["rows_total"],
        "outcomes": {name: upload[name] for name in OUTCOMES},
    }
