"""The program of a child process: it runs attempts, one after the other, for one worker slot.

A spreadsheet that hangs or kills its process kills this one and nothing else; the worker can stop
it at any moment and start another. The two talk in JSON lines: a task comes in on standard input,
progress and one result or error go out on what was standard output.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import signal
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO
from uuid import UUID

import psycopg
import structlog

from rollbook import config
from rollbook.accounts import tokens
from rollbook.backends import exhaustion, file_errors, files
from rollbook.backends.database import connect, queries
from rollbook.backends.database_errors import explained
from rollbook.backends.files import FileStore
from rollbook.errors import (
    AttemptError,
    BusyError,
    NoResourcesError,
    NoRoomError,
    NotFoundError,
    RollbookError,
    ScratchGoneError,
    ServiceUnavailableError,
)
from rollbook.languages import speaking
from rollbook.members import erase_files, export_file
from rollbook.model import Scope
from rollbook.pipeline import account_list, fix, report_again, run
from rollbook.pipeline.aliases import aliases_of
from rollbook.pipeline.columns import check_own
from rollbook.pipeline.erased import Erased
from rollbook.pipeline.preview import preview
from rollbook.pipeline.read import Wanted
from rollbook.spreadsheets.inspect.archive import Limits
from rollbook.telemetry import logs

if TYPE_CHECKING:
    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.model import Progress
    from rollbook.pipeline.stages import Stages

log = structlog.get_logger(__name__)


def main() -> None:
    """Work until the worker closes our standard input."""
    # The worker answers a signal to the whole group (Ctrl-C, systemd); this process ignores it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Only protocol lines may reach the worker: stray prints go to the log.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    settings = config.load(env_file=False)
    check_own()
    logs.configure(settings, component="child")
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    _send(answers, type="ready")
    while True:
        _attempt(settings, tasks.get(), answers)


def _listen(tasks: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Read tasks; a closed input means that the worker is gone, so this process exits at once.

    Work without a supervisor is not finished: its transaction rolls back, and the next attempt
    repeats all of it.
    """
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)


def _attempt(settings: Settings, task: dict[str, Any], answers: TextIO) -> None:
    own = {"job_id": task["upload_id"], "attempt": task["attempt"], **task["bound"]}
    structlog.contextvars.bind_contextvars(**own)
    log.debug("work started", work=task["work"])
    try:
        # Other work speaks the language of its upload.
        with speaking((task["payload"] or {}).get("language")):
            result = _run(settings, task, answers)
        _send(answers, type="result", **result)
    except BaseException as error:
        if not isinstance(error, Exception) and not exhaustion.is_one(error):
            raise  # the worker hears of it by the end of this process
        meant = _meant(settings, error)
        if meant is None:
            # The text of a foreign error may quote a cell: the log gets its place, not its words.
            log.error("attempt failed", error=type(error).__name__, where=logs.places(error))
            meant = AttemptError(
                f"Processing the file failed unexpectedly ({type(error).__name__}). Nothing of it "
                "was merged. The operator's log has the details under this job id."
            )
        _send(answers, type="error", kind=type(meant).__name__, message=meant.message)
    finally:
        structlog.contextvars.unbind_contextvars(*own)


def _meant(settings: Settings, error: BaseException) -> RollbookError | None:
    """The upload's error for an error of a part; None for a fault of this code."""
    is_final = isinstance(error, RollbookError) and not isinstance(error, ServiceUnavailableError)
    if not is_final and (exhaustion.is_one(error) or exhaustion.is_met()):
        log.warning("attempt ended by a limit of the machine", error=type(error).__name__)
        return NoResourcesError(
            "The worker's machine has no more open files, threads or processes for it. Nothing of "
            "the file was merged; it will be tried again."
        )
    if isinstance(error, RollbookError):
        return error
    if isinstance(error, psycopg.Error):
        return _of_postgresql(settings, error)  # its disk may be full as well
    return _of_scratch(error)


def _of_scratch(error: BaseException) -> RollbookError | None:
    """The upload's error for one of the folder in which this process works."""
    if file_errors.is_full(error):
        return NoRoomError(
            "The disk of the worker's scratch folder is full. Nothing of the file was merged; it "
            "will be tried again."
        )
    is_read_only = isinstance(error, OSError) and error.errno == errno.EROFS
    if is_read_only or not Path(tempfile.gettempdir()).is_dir():
        return ScratchGoneError(
            "The worker's scratch folder was removed or takes no files. Nothing of the file was "
            "merged; it will be tried again."
        )
    return None


def _of_postgresql(settings: Settings, error: psycopg.Error) -> RollbookError | None:
    """The upload's error for one of PostgreSQL."""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return BusyError(
            f"The merge waited {settings.lock_wait_s:g} seconds for members that are locked"
            f"{_by_whom(settings)}. Nothing of the file was merged; it will be tried again."
        )
    if (meant := explained(error)) is None:
        return None
    log.warning(
        "attempt ended by PostgreSQL",
        error=type(error).__name__,
        code=meant.code,
        sqlstate=getattr(error, "sqlstate", None),
    )
    if type(meant) is ServiceUnavailableError:
        return ServiceUnavailableError(
            "The connection to the database was lost. Nothing of the file was merged; it will be "
            "tried again."
        )
    return meant


def _by_whom(settings: Settings) -> str:
    """Which process holds the locks, if it can still be found."""
    try:
        with connect(settings.database_address, keepalive=settings.keepalive) as connection:
            found = connection.execute(queries("uploads")["holders_of_members"]).fetchone()
    except (psycopg.Error, ServiceUnavailableError):
        return ""
    if found is None:
        return ""
    name = found["name"] or "a program without a name"
    if name.startswith("rollbook-child "):  # the office may not be allowed to see which
        return f" by another upload of the same members (for {found['seconds']} seconds)"
    return f" by {name} (session {found['pid']}, for {found['seconds']} seconds)"


def _run(settings: Settings, task: dict[str, Any], answers: TextIO) -> dict[str, Any]:

    def report(progress: Progress) -> None:
        _send(answers, type="progress", **asdict(progress))

    def report_stages(stages: Stages) -> None:
        _send(answers, type="stages", seconds=stages.seconds, spans=stages.spans)

    store = FileStore.of(settings)
    upload_id = UUID(task["upload_id"])
    # The next attempt finds the session by this name, if this attempt is cut off.
    name = f"rollbook-child {upload_id} {task['attempt']}"
    with connect(
        settings.database_address,
        name=name,
        keepalive=settings.keepalive,
        lock_timeout_s=settings.lock_wait_s,
        answer_s=settings.database_answer_s,
    ) as connection:
        _expect_store(connection, store)
        if task["work"] == "erase":
            return erase_files.process(
                connection, store, erasure_id=upload_id, seconds=settings.job_timeout_s / 2
            )
        if task["work"] == "members_file":
            return export_file.process(
                connection,
                store,
                file_id=upload_id,
                attempt=task["attempt"],
                hours=settings.export_hours,
                report_progress=report,
            )
        if task["work"] in _FOR_THE_API:
            return _FOR_THE_API[task["work"]](
                settings, connection, store, upload_id, task["payload"]
            )
        if task["work"] == "report":
            return report_again.process(connection, store, settings, upload_id=upload_id)
        return run.process(
            connection,
            store,
            settings,
            upload_id=upload_id,
            attempt=task["attempt"],
            report_progress=report,
            report_stages=report_stages,
        )


def _check(
    settings: Settings,
    connection: psycopg.Connection[Row],
    store: FileStore,
    check_id: UUID,
    _: dict[str, Any],
) -> dict[str, Any]:
    """How a checked file would be read; see ``preview``."""
    found = connection.execute(queries("file_checks")["by_id"], {"id": check_id}).fetchone()
    if found is None:
        raise NotFoundError("The check was removed meanwhile. Check the file again.")
    scope = Scope(found["province"], found["municipality"])
    remembered, day = run.remembered(connection, scope), run.today(connection)
    aliases = aliases_of(connection, scope)
    with tempfile.TemporaryDirectory(prefix="rollbook-check-") as folder:
        path = Path(folder) / f"source.{found['file_kind']}"
        store.fetch(files.source_key(check_id, found["file_kind"]), path)
        return preview(
            path,
            found["file_kind"],
            Wanted(
                found["sheet"],
                found["columns"],
                remembered,
                settings.accepts_passports,
                file_name=found["file_name"],
                office=scope,
            ),
            scope=scope,
            today=day,
            limits=Limits.of(settings),
            accepts_passports=settings.accepts_passports,
            aliases=aliases,
            empty_text=found["empty_text"],
        )


def _check_rows(
    settings: Settings,
    connection: psycopg.Connection[Row],
    _: FileStore,
    upload_id: UUID,
    payload: dict[str, Any],
) -> dict[str, Any]:
    """The problems of edited rows; see ``fix.check``."""
    rows = fix.check(
        connection,
        _with_grid(connection, upload_id),
        payload["rows"],
        today=run.today(connection),
        erased=Erased.read(connection, tokens.erasure_keys(settings)),
        accepts_passports=settings.accepts_passports,
    )
    return {"rows": rows}


def _write_rows(
    _: Settings,
    connection: psycopg.Connection[Row],
    store: FileStore,
    upload_id: UUID,
    payload: dict[str, Any],
) -> dict[str, Any]:
    """The file of a follow-up, and the aliases that are to be remembered; see ``fix``."""
    upload = _with_grid(connection, upload_id)
    kept = fix.check_aliases(upload, payload["values"])
    with tempfile.TemporaryDirectory(prefix="rollbook-fix-") as folder:
        written = fix.write(
            connection,
            store,
            Path(folder),
            upload,
            edited=payload["rows"],
            values=payload["values"],
            leave=payload["leave"],
            earlier=payload["earlier"] and UUID(payload["earlier"]),
        )
    return {**written, "aliases": kept}


def _read_accounts(
    settings: Settings,
    _: psycopg.Connection[Row],
    store: FileStore,
    file_id: UUID,
    payload: dict[str, Any],
) -> dict[str, Any]:
    """The rows of a list of accounts; see ``account_list.read``."""
    kind = payload["kind"]
    with tempfile.TemporaryDirectory(prefix="rollbook-accounts-") as folder:
        path = Path(folder) / f"source.{kind}"
        store.fetch(files.source_key(file_id, kind), path)
        most = settings.invitations_most
        return account_list.read(path, kind, limits=Limits.of(settings), most=most)


#: What the API's children do, by the name of the work.
_FOR_THE_API: Final = {
    "check": _check,
    "check_rows": _check_rows,
    "write_rows": _write_rows,
    "read_accounts": _read_accounts,
}


def _with_grid(connection: psycopg.Connection[Row], upload_id: UUID) -> Row:
    found = connection.execute(queries("fixes")["by_upload"], {"id": upload_id}).fetchone()
    if found is None or found["grid"] is None:
        raise NotFoundError("The rows of this upload were removed meanwhile. Nothing was changed.")
    return found


def _expect_store(connection: psycopg.Connection[Row], store: FileStore) -> None:
    """Refuse a store other than the one that the worker has checked."""
    row = connection.execute(queries("store")["installation"]).fetchone()
    connection.commit()
    if row is not None and row["is_marked"]:
        store.expect(row["id"])


def _send(answers: TextIO, **message: Any) -> None:
    try:
        answers.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(0)  # as in ``_listen``: the worker is gone


if __name__ == "__main__":
    main()
