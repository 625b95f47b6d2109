"""The commands about uploads: send, follow, download, list, cancel, retry, undo."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from rollbook.cli.connection import Answer, Connection, Data, UnreachableError
from rollbook.cli.downloads import ForceOption, download, refuse_existing
from rollbook.cli.failures import UploadFailedError
from rollbook.cli.following import follow
from rollbook.cli.output import (
    err,
    moment,
    out,
    outcome_table,
    print_json,
    roll_table,
    say,
    shown,
    write_bytes,
)
from rollbook.cli.target import Interruption, PatientTarget, Target
from rollbook.errors import InvalidRequestError
from rollbook.model import Existing, Status, UploadKind, Verify

JobArgument = Annotated[UUID, typer.Argument(help="The job's id.")]
#: In seconds: after a day, nobody watches the terminal.
LONGEST_WAIT_S = 24 * 3600.0
PERHAPS_ACCEPTED = "`rollbook history` shows whether the file was accepted."
NOTHING_CHANGED = "This was a dry run: nothing was changed."


@dataclass(frozen=True, slots=True)
class Choices:
    """What the sender of a file chooses: the fields of the form."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything, but change no member.")
    ] = False
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Accept a file that was sent before.")
    ] = False
    existing: Annotated[
        Existing,
        typer.Option(
            help="Members that exist: take the file's values (update), fill empty fields only "
            "(fill), or leave them unchanged (skip)."
        ),
    ] = "update"
    all_or_nothing: Annotated[
        bool,
        typer.Option("--all-or-nothing", help="Refuse the whole file for one refused row."),
    ] = False
    sheet: Annotated[
        str | None,
        typer.Option(
            help="The sheet to read; default: the first visible one with a column of ID numbers. "
            "`*`: all visible sheets with members, as one table."
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            help="A JSON object of header to field for headers that Rollbook does not know; null "
            "leaves a column out. Remembered for your office's next files with these headers."
        ),
    ] = None
    empty_text: Annotated[
        str | None,
        typer.Option(
            help="The text of a cell that empties its field, such as `\\[empty]`; case does not "
            "matter. Without it, no cell ever empties a field. Only with existing=update."
        ),
    ] = None
    verify: Annotated[
        Verify,
        typer.Option(
            help="Ask the voter roll after the merge, with rows pending until it answers, or "
            "merge only when all its answers are in."
        ),
    ] = "after_merge"
    kind: Annotated[
        UploadKind,
        typer.Option(
            help="members: the file's people become members, or are changed. removal: it lists "
            "members by ID number who are removed, or get `new_status`; no other column counts."
        ),
    ] = "members"
    new_status: Annotated[
        str | None,
        typer.Option(
            help="Of a removal: the members stay and get this status. Leave it out to remove them; "
            "blank is refused."
        ),
    ] = None
    reason: Annotated[
        str | None,
        typer.Option(help="Of a removal, which needs one: why. It must not name a person."),
    ] = None


@dataclass(frozen=True, slots=True)
class Following(PatientTarget):
    """Whether and how long the command waits for the job's end."""

    wait: Annotated[bool, typer.Option("--wait", help="Wait until the upload has ended.")] = False
    timeout: Annotated[
        float, typer.Option(min=0, help="With --wait: the longest wait, in seconds.")
    ] = LONGEST_WAIT_S


def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    *,
    choices: Choices,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            help="Of scripts that repeat the whole command: with the same key, the same file is "
            "accepted once."
        ),
    ] = None,
    target: Following,
) -> None:
    """Send a file; a worker runs its job."""
    fields = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in asdict(choices).items()
        if value is not None
    }
    size = file.stat().st_size
    interruption = Interruption(f"Stopped while the file was being sent. {PERHAPS_ACCEPTED}")

    async def work(connection: Connection) -> Answer:
        await connection.get("/auth/me")  # a wrong token ends here, not after a big file
        connection.patience_s = target.patience
        try:
            receipt = await _send(
                connection, file, size, fields, idempotency_key, quiet=target.as_json
            )
        except UnreachableError as error:
            raise UnreachableError(f"{error.message} {PERHAPS_ACCEPTED}") from None
        job_id = str(receipt.data["job_id"])
        if not target.as_json:
            err.print(shown(receipt.message), soft_wrap=True)
        if not target.wait:
            return receipt
        return await _looked_at(connection, job_id, target, interruption)

    answer = target.run(work, interruption)
    status: Data = answer.data
    if target.as_json:
        print_json(status)
    elif target.wait:
        _show_result(answer)
    elif choices.dry_run:
        err.print("It is a dry run: no member will be changed.")
    else:
        err.print(f"Follow it with `rollbook status {status['job_id']} --wait`.", soft_wrap=True)
    if target.wait:
        _fail_if_incomplete(status)


def status(job_id: JobArgument, *, target: Following) -> None:
    """Show how far an upload is, and what became of its rows."""
    interruption = Interruption()
    answer = target.run(
        lambda line: _looked_at(line, str(job_id), target, interruption), interruption
    )
    if target.as_json:
        print_json(answer.data)
    else:
        _show_result(answer)
    if target.wait:
        _fail_if_incomplete(answer.data)


def report(
    job_id: JobArgument,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            help="The file or folder to write; default: here, by the server's name for it; `-`: "
            "standard output."
        ),
    ] = None,
    failed_rows: Annotated[
        bool, typer.Option("--failed-rows", help="Only the refused rows, to correct and send.")
    ] = False,
    force: ForceOption = False,
    target: PatientTarget,
) -> None:
    """Download an upload's report, or its refused rows."""
    path = f"/bulk-upload/{'failed-rows' if failed_rows else 'report'}/{job_id}"
    if to == "-":
        if sys.stdout.isatty():
            raise InvalidRequestError("A workbook is nothing for a terminal: use --to FILE.")

        async def print_it(connection: Connection) -> None:
            async with connection.streamed(path) as (_, chunks):
                async for chunk in chunks:
                    write_bytes(chunk)

        target.run(print_it)
        return

    async def work(connection: Connection) -> Path:
        connection.patience_s = target.patience
        return await download(connection, path, None if to is None else Path(to), force=force)

    stored = target.run(work)
    facts = {"job_id": str(job_id), "file": str(stored), "bytes": stored.stat().st_size}
    say(shown(stored), facts, as_json=target.as_json)


def history(
    *,
    status: Annotated[Status | None, typer.Option(help="Only uploads in this state.")] = None,
    search: Annotated[
        str | None,
        typer.Option(help="A part of the file's name or of the owner's address, or a job id."),
    ] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=500)] = 20,
    target: Target,
) -> None:
    """List uploads, newest first."""
    query = {"status": status, "search": search, "page": page, "page_size": page_size}
    answer, zone = target.run(lambda line: line.get_with_zone("/bulk-upload/history", **query))
    found: Data = answer.data
    if target.as_json:
        print_json(found)
        return
    out.print(uploads_table(found["items"], zone))
    shown = (page - 1) * page_size + len(found["items"])
    if found["total"] > shown:
        err.print(f"{shown} of {found['total']}; `--page {page + 1}` shows the next.")


def cancel(job_id: JobArgument, *, target: Target) -> None:
    """Cancel a waiting or running job; nothing of its file is merged."""
    target.act(f"/bulk-upload/cancel/{job_id}")


def retry(job_id: JobArgument, *, target: Target) -> None:
    """Retry a failed job; its attempts are counted from 1 again."""
    target.act(f"/bulk-upload/queue/retry/{job_id}")


def undo(
    job_id: JobArgument,
    *,
    for_real: Annotated[
        bool, typer.Option("--for-real", help="Do it; without this, it is only counted.")
    ] = False,
    kept: Annotated[
        Path | None,
        typer.Option(help="A CSV file to write: the members that are kept, or would be."),
    ] = None,
    force: ForceOption = False,
    target: Target,
) -> None:
    """Restore members to what they were before an upload; those changed since stay unchanged."""

    async def work(connection: Connection) -> Data:
        path = f"/bulk-upload/undo/{job_id}"
        done: Data = (await connection.post(path, {"dry_run": not for_real})).data
        if kept is not None:
            await download(connection, f"{path}/kept.csv", kept, force=force)
        return done

    if kept is not None and not kept.is_dir() and not force:
        refuse_existing(kept)  # before anything is undone
    done = target.run(work)
    if target.as_json:
        print_json(done)
        return
    table = Table("Members", "Number", title="Undone" if for_real else "Dry run")
    table.columns[1].justify = "right"
    for name, number in (
        ("removed", done["removed"]),
        ("restored", done["restored"]),
        ("kept: a later upload changed or holds them", done["kept_because"]["later_upload"]),
        ("kept: edited by hand", done["kept_because"]["edited"]),
        ("kept: another member was joined to them", done["kept_because"]["joined"]),
        ("kept removed: their creation is undone", done["kept_because"]["creation_undone"]),
        ("gone already", done["gone"]),
    ):
        table.add_row(name, str(number))
    out.print(table)
    if not for_real:
        out.print("Nothing was changed. `rollbook undo --for-real` does it.")


def uploads_table(items: list[Data], zone: str) -> Table:
    """Uploads, one a line, with times of the named zone."""
    table = Table("Job", "File", "Status", "Stage", "%", "Rows", "Attempts", "Sent")
    for one in items:
        table.add_row(
            str(one["job_id"]),
            shown(one["file_name"]),
            one["status"] + (", dry run" if one["dry_run"] else ""),
            one["stage"] or "",
            str(one["progress"]),
            "" if one["rows_total"] is None else str(one["rows_total"]),
            str(one["attempts"]),
            moment(one["created_at"], zone),
        )
    return table


async def _send(
    connection: Connection,
    file: Path,
    size: int,
    fields: dict[str, str],
    key: str | None,
    *,
    quiet: bool,
) -> Answer:
    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(
        *columns, console=err, disable=quiet or not err.is_terminal, transient=True
    ) as bar:
        task = bar.add_task("sending", total=size)
        return await connection.upload(
            "/bulk-upload/process",
            file,
            fields,
            key=key,
            sent=lambda number: bar.update(task, completed=number),
        )


async def _looked_at(
    connection: Connection, job_id: str, target: Following, interruption: Interruption
) -> Answer:
    """The job's status, at its end if the command waits for that."""
    if target.wait:
        connection.patience_s = target.patience
        server = "" if connection.server is None else f" --server {connection.server}"
        again = f"rollbook status {job_id} --wait{server}"
        interruption.sentence = f"Job {job_id} continues. Follow it with `{again}`."
        await follow(
            connection, job_id, quiet=target.as_json, timeout_s=target.timeout, again=again
        )
    return await connection.get(f"/bulk-upload/status/{job_id}")


def _show_result(answer: Answer) -> None:
    status: Data = answer.data
    out.print(f"{shown(status['file_name'])}: {shown(answer.message)}", soft_wrap=True)
    if status["status"] == "completed":
        out.print(outcome_table(status["outcomes"]))
        if status["verification"]["state"] != "off":
            out.print(roll_table(status["verification"]["results"], title="Voter roll"))
        _show_notes(status)
    if status["dry_run"]:
        out.print(NOTHING_CHANGED)


def _show_notes(status: Data) -> None:
    """What the sender should look at; on standard error, as it is advice and no result."""
    doubtful = status.get("rows_with_warnings")
    if doubtful:
        err.print(f"{doubtful} rows have warnings; the report names them.")
    if status["failed_rows_available"]:
        err.print(
            f"Rows were refused. `rollbook report {status['job_id']} --failed-rows` downloads "
            "them, to correct and send again.",
            soft_wrap=True,
        )


def _fail_if_incomplete(status: dict[str, Any]) -> None:
    if status["status"] != "completed":
        raise UploadFailedError(status["error"] or f"The upload was {status['status']}.")
