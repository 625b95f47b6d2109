"""The commands about files and jobs: `sample`, `upload` and `queue ...`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rollbook.accounts import audit, users
from rollbook.cli.session import JsonOption, err, out, print_json, run
from rollbook.contract import Undoing, UploadStatus
from rollbook.errors import ConflictError, NotAllowedError, RollbookError
from rollbook.model import FINAL, Existing, Verify
from rollbook.uploads import control, lookup, receive, undo
from rollbook.uploads.options import Choices, Options
from rollbook.voter_roll.outlook import look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rollbook.model import User
    from rollbook.service.system import System
    from rollbook.voter_roll.outlook import Outlook

POLL_S = 0.2
READ_BYTES = 1024 * 1024

queue_app = typer.Typer(name="queue", no_args_is_help=True, help="Show and control the queue.")

JobArgument = Annotated[UUID, typer.Argument(help="The job's id.")]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", help="Act as this account (its e-mail address); default: the first super_admin."
    ),
]


def _choice(name: str) -> Any:
    """The option of the command for one of a sender's choices."""
    return typer.Option(help=Choices.model_fields[name].description)


class UploadFailedError(RollbookError, code="upload_failed"):
    """The upload that the command waited for didn't complete."""


def sample(
    target: Annotated[Path, typer.Argument(help="An .xlsx or .csv file to write.")],
    rows: Annotated[int, typer.Option(min=0, help="How many rows.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same file.")] = 1,
) -> None:
    """Write a synthetic members' file with typical flaws."""
    from rollbook.cli.sample_file import write_sample

    if target.exists():
        # The usual name of a file of real members.
        raise ConflictError(
            f"There is a file {str(target)!r} already; it was not changed. Give another name, "
            "or remove it first."
        )
    facts = write_sample(target, rows, seed=seed)
    out.print(
        f"{escape(str(target))}: {facts.rows} rows, of them {facts.invalid} invalid and "
        f"{facts.duplicates} duplicates."
    )


def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    *,
    dry_run: Annotated[bool, _choice("dry_run")] = False,
    allow_duplicate: Annotated[bool, _choice("allow_duplicate")] = False,
    existing: Annotated[Existing, _choice("existing")] = "update",
    all_or_nothing: Annotated[bool, _choice("all_or_nothing")] = False,
    sheet: Annotated[str | None, _choice("sheet")] = None,
    columns: Annotated[str | None, _choice("columns")] = None,
    verify: Annotated[Verify, _choice("verify")] = "after_merge",
    wait: Annotated[bool, typer.Option(help="Wait until the upload has ended.")] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a file; a worker runs its job (`rollbook up`)."""
    options = Options.of(
        dry_run=dry_run,
        allow_duplicate=allow_duplicate,
        existing=existing,
        all_or_nothing=all_or_nothing,
        sheet=sheet,
        columns=columns,
        verify=verify,
    )

    async def work(system: System) -> UploadStatus:
        user = await users.acting(system.pool, acting)
        async with audit.refusals(system.pool, "upload", who=user):
            stored = await receive.store_file(system, file.name, _chunks(file))
            recorded = await receive.record(system, user, stored, options)
        if not as_json:
            queued = await lookup.is_queued(system, recorded)
            said = "Queued" if queued else "The queue doesn't answer; recorded, and queued later,"
            err.print(f"{said} as job {recorded['id']}.")
        if wait:
            return await _followed(system, user, recorded["id"], quiet=as_json)
        return await _status(system, user, recorded["id"])

    status = run("upload", work)
    if as_json:
        print_json(status.model_dump(mode="json"))
    elif status.status == "completed":
        out.print(outcome_table(status.outcomes))
        if status.verification.state != "off":
            out.print(roll_table(status.verification.results, title="Voter roll"))
    if wait and status.status != "completed":
        raise UploadFailedError(status.error or f"The upload was {status.status}.")


def undo_upload(
    job_id: JobArgument,
    *,
    for_real: Annotated[
        bool, typer.Option("--for-real", help="Do it; without this, it is only counted.")
    ] = False,
    kept: Annotated[
        Path | None,
        typer.Option(help="A CSV file to write: the members that are kept, or would be."),
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore members to what they were before an upload; those changed since stay unchanged."""

    async def work(system: System) -> tuple[Undoing, bytes | None]:
        user = await users.acting(system.pool, acting)
        if not user.role.is_operator:
            raise NotAllowedError("Only national administrators can undo an upload.")
        async with audit.refusals(system.pool, "undo", who=user, job_id=job_id):
            done = await undo.undo(system, user, job_id, dry_run=not for_real)
        content = None if kept is None else await undo.kept_csv(system, user, job_id)
        return Undoing.of(done), content

    done, content = run("undo", work)
    if kept is not None and content is not None:
        kept.touch(mode=0o600)  # it names people: only the owner may read it
        kept.write_bytes(content)
    if as_json:
        print_json(done.model_dump(mode="json"))
        return
    table = Table("Members", "Number", title="Undone" if for_real else "Dry run")
    table.columns[1].justify = "right"
    for name, number in (
        ("removed", done.removed),
        ("restored", done.restored),
        ("kept: a later upload changed or holds them", done.kept_because["later_upload"]),
        ("kept: edited by hand", done.kept_because["edited"]),
        ("gone already", done.gone),
    ):
        table.add_row(name, str(number))
    out.print(table)
    if not for_real:
        out.print("Nothing was changed. `rollbook undo --for-real` does it.")


@queue_app.command("stats")
def queue_stats(*, as_json: JsonOption = False) -> None:
    """Count the jobs by state."""

    async def work(system: System) -> tuple[dict[str, int | bool], Outlook]:
        counts = await lookup.queue_stats(system, await users.acting(system.pool, None))
        return counts, await look(system)

    counts, roll = run("queue", work)
    if as_json:
        print_json({**counts, "voter_roll": asdict(roll)})
        return
    table = Table("State", "Jobs")
    for state, number in counts.items():
        if state != "is_paused":
            table.add_row(state, str(number))
    out.print(table)
    if counts["is_paused"]:
        out.print("The queue is paused: no further job starts.")
    if roll.roll == "down":
        out.print(f"The voter roll is down since {roll.roll_down_since:%Y-%m-%d %H:%M} UTC: "
                  f"{roll.roll_error} {roll.pending} people wait to be asked about.")  # fmt: skip
    elif roll.roll == "up":
        out.print(
            f"Voter roll: {roll.remaining} of {roll.limit} requests left, {roll.pending} people to "
            "be asked about."
        )


@queue_app.command("jobs")
def queue_jobs(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the most recent jobs, newest first."""

    async def work(system: System) -> list[UploadStatus]:
        user = await users.acting(system.pool, acting)
        recent, _ = await lookup.history(system, user, page_size=limit)
        return [UploadStatus.of(upload) for upload in recent]

    found = run("queue", work)
    if as_json:
        print_json([status.model_dump(mode="json") for status in found])
        return
    table = Table("Job", "File", "Status", "Stage", "%", "Rows", "Attempts", "Sent (UTC)")
    for status in found:
        table.add_row(
            str(status.job_id),
            escape(status.file_name),
            status.status,
            status.stage or "",
            str(status.progress),
            "" if status.rows_total is None else str(status.rows_total),
            str(status.attempts),
            f"{status.created_at:%Y-%m-%d %H:%M}",
        )
    out.print(table)


@queue_app.command("retry")
def queue_retry(job_id: JobArgument, acting: AsOption = None) -> None:
    """Retry a failed job; its attempts are counted from 1 again."""
    _steer("retry", control.retry, job_id, acting)
    out.print(f"Job {job_id} waits for another run.")


@queue_app.command("cancel")
def queue_cancel(job_id: JobArgument, acting: AsOption = None) -> None:
    """Cancel a waiting or running job; nothing of its file is merged."""
    _steer("cancel", control.cancel, job_id, acting)
    out.print(f"Job {job_id} is cancelled. No member was changed by it.")


def _steer(
    act: audit.Act,
    steer: Callable[[System, User, UUID], Awaitable[object]],
    job_id: UUID,
    acting: str | None,
) -> None:
    async def work(system: System) -> None:
        user = await users.acting(system.pool, acting)
        async with audit.refusals(system.pool, act, who=user, job_id=job_id):
            await steer(system, user, job_id)

    run("queue", work)


@queue_app.command("clean")
def queue_clean(
    grace_period_hours: Annotated[
        float, typer.Option(min=0, help="Keep jobs that ended later than this.")
    ] = 24,
) -> None:
    """Remove ended jobs from the queue; the history keeps the uploads."""

    async def work(system: System) -> dict[str, int]:
        about = f"jobs that ended more than {grace_period_hours:g} hours ago"
        async with audit.noting(system.pool, "clean", who=None, about=about):
            return await system.queue.clean(grace_period_h=grace_period_hours)

    removed = run("queue", work)
    out.print(f"Forgotten: {removed['completed']} completed and {removed['failed']} failed jobs.")


@queue_app.command("pause")
def queue_pause() -> None:
    """Pause the queue; running jobs continue."""
    _switch("pause", lambda system: control.pause(system, by=None))
    out.print("The queue is paused. `rollbook queue resume` lets it run again.")


@queue_app.command("resume")
def queue_resume() -> None:
    """Resume the queue."""
    _switch("resume", lambda system: control.resume(system, by=None))
    out.print("The queue runs.")


def _switch(act: audit.Act, switch: Callable[[System], Awaitable[object]]) -> None:
    async def work(system: System) -> None:
        async with audit.noting(system.pool, act, who=None):
            await switch(system)

    run("queue", work)


def outcome_table(outcomes: dict[Any, int]) -> Table:
    """The outcomes with their sum, the number of rows read."""
    table = Table("Outcome", "Rows", show_footer=True)
    table.columns[0].footer = "all rows"
    table.columns[1].footer = str(sum(outcomes.values()))
    table.columns[1].justify = "right"
    for name, number in outcomes.items():
        table.add_row(name.replace("_", " "), str(number))
    return table


def roll_table(results: dict[Any, int], *, title: str) -> Table:
    """The results of the voter roll; those without rows are left out."""
    table = Table("Voter roll", "Rows", title=title)
    table.columns[1].justify = "right"
    for name, number in results.items():
        if number:
            table.add_row(name.replace("_", " "), str(number))
    return table


async def _status(system: System, user: User, job_id: UUID) -> UploadStatus:
    return UploadStatus.of(await lookup.get(system, user, job_id))


async def _followed(system: System, user: User, job_id: UUID, *, quiet: bool) -> UploadStatus:
    """Wait for a job's end, with a progress bar."""
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet) as bar:
        task = bar.add_task("waiting", total=100)
        while (status := await _status(system, user, job_id)).status not in FINAL:
            bar.update(task, completed=status.progress, description=status.stage or status.status)
            await asyncio.sleep(POLL_S)
        bar.update(task, completed=100, description=status.status)
    return status


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while chunk := await asyncio.to_thread(source.read, READ_BYTES):
            yield chunk
