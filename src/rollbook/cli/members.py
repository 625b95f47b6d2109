"""`rollbook members`: searches members, shows one, and stores members in files."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer
from rich.table import Table

from rollbook.cli.connection import UnreachableError
from rollbook.cli.downloads import ForceOption, download, refuse_existing
from rollbook.cli.failures import FileNotMadeError, WaitedTooLongError
from rollbook.cli.options import Commands
from rollbook.cli.output import asked, err, moment, out, print_json, shown
from rollbook.cli.target import Interruption, PatientTarget, Target
from rollbook.errors import InvalidRequestError

if TYPE_CHECKING:
    from rollbook.cli.connection import Connection, Data

app = Commands(
    name="members",
    no_args_is_help=True,
    help="Search members, show one, and store members in files.",
)

#: Seconds between two looks at a file that is being made: short at first, as most take a second.
FIRST_LOOK_S, LONGEST_LOOK_S, GROWTH = 0.2, 2.0, 1.2
#: Seconds; an export of millions of members takes minutes, and others may be made before it.
LONGEST_EXPORT_S = 3600.0
#: Seconds that a file waits for a worker before the command says so.
WORKER_S = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The members that a search or an export is about."""

    words: Annotated[
        str | None,
        typer.Argument(
            help="Words of a name, or the beginning of a phone number or of an e-mail address."
        ),
    ] = None
    province: Annotated[str | None, typer.Option(help="A code or a name.")] = None
    municipality: Annotated[str | None, typer.Option(help="A code or a name.")] = None
    ward: Annotated[str | None, typer.Option(help="The ward.")] = None
    status: Annotated[str | None, typer.Option(help="The member's status.")] = None
    roll: Annotated[
        str | None,
        typer.Option(help="What the voter roll says, such as registered or not_asked."),
    ] = None
    expires_before: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Whose membership ends before this day."),
    ] = None
    id_number: Annotated[
        bool,
        typer.Option(
            "--id-number",
            help="Ask for a whole ID number, or read it from standard input: it belongs in no list "
            "of processes and no shell's history.",
        ),
    ] = False
    passport: Annotated[
        bool,
        typer.Option(
            "--passport", help="Ask for a whole passport number instead, in the same way."
        ),
    ] = False

    def filters(self) -> dict[str, Any]:
        """The filters as the API has them; asks for the number by which a person is found.

        Raises:
            InvalidRequestError: both numbers are wanted, or what was given is no such number.
        """
        day = self.expires_before
        filters = {
            "search": self.words,
            "province": self.province,
            "municipality": self.municipality,
            "ward": self.ward,
            "status": self.status,
            "roll": self.roll,
            "expires_before": None if day is None else f"{day:%Y-%m-%d}",
            **_asked_number(id_number=self.id_number, passport=self.passport),
        }
        return {name: value for name, value in filters.items() if value is not None}


@dataclass(frozen=True, slots=True)
class FileTarget(PatientTarget):
    """Where a file of members is stored, and how long the command waits for it."""

    to: Annotated[
        Path | None,
        typer.Option(
            help="The file or folder to write; default: here, by the server's name for it."
        ),
    ] = None
    force: ForceOption = False
    timeout: Annotated[
        float, typer.Option(min=0, help="The longest wait for the file, in seconds.")
    ] = LONGEST_EXPORT_S


MemberArgument = Annotated[UUID, typer.Argument(help="As the search shows it.")]


@app.command()
def search(
    *,
    wanted: Wanted,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=500)] = 50,
    target: Target,
) -> None:
    """Find members of your scope; ID numbers are masked."""
    body = {**wanted.filters(), "page": page, "page_size": page_size}
    answer = target.run(lambda line: line.post("/members/search", body, repeatable=True))
    found: Data = answer.data
    if target.as_json:
        print_json(found)
        return
    table = Table("Member", "ID number", "Name", "Place", "Ward", "Status", "Expires")
    for one in found["items"]:
        place = " / ".join(one[name] for name in ("province", "municipality") if one[name])
        name = " ".join(one[name] for name in ("firstname", "surname") if one[name])
        cells = (one["id_number"], name, place, one["ward"], one["status"], one["expiry_date"])
        table.add_row(
            str(one["member_id"]), *("" if cell is None else shown(cell) for cell in cells)
        )
    out.print(table)
    err.print(shown(answer.message), soft_wrap=True)


@app.command()
def show(member_id: MemberArgument, *, target: Target) -> None:
    """Show a member: all fields, and where each comes from."""
    answer, zone = target.run(lambda line: line.get_with_zone(f"/members/{member_id}"))
    member: Data = answer.data
    if target.as_json:
        print_json(member)
        return
    table = Table("Field", "Value", "From", "At", title=shown(member["id_number"]))
    for field, value in member["fields"].items():
        if value is None:
            continue
        source = member.get("sources", {}).get(field) or {}
        at = moment(source.get("at"), zone)
        table.add_row(field.replace("_", " "), shown(value), shown(source.get("how") or ""), at)
    out.print(table)


@app.command()
def export(
    *,
    wanted: Wanted,
    file_format: Annotated[
        Literal["xlsx", "csv"], typer.Option("--format", help="The kind of file.")
    ] = "xlsx",
    target: FileTarget,
) -> None:
    """Store members of your scope in a file to edit and send back, with whole ID numbers."""
    _store_file("/members/export", {**wanted.filters(), "format": file_format}, target)


@app.command()
def access(
    member_id: MemberArgument,
    *,
    file_format: Annotated[
        Literal["xlsx", "json"], typer.Option("--format", help="The kind of file.")
    ] = "xlsx",
    target: FileTarget,
) -> None:
    """Store everything that is held about a person in a file, for the person's own request."""
    _store_file(f"/members/{member_id}/access", {"format": file_format}, target)


@app.command("download")
def download_file(
    file_id: Annotated[UUID, typer.Argument(help="As `export` and `access` name it.")],
    *,
    target: FileTarget,
) -> None:
    """Download a file that you have asked for, where the command that asked was stopped."""
    _store_file(file_id, {}, target)


def _store_file(asked: str | UUID, body: dict[str, Any], target: FileTarget) -> None:
    """Ask for a file of members, wait until it is made, and store it.

    ``asked`` is the route that asks for it, or the id of a file that was asked for.
    """
    if target.to is not None and not target.to.is_dir() and not target.force:
        refuse_existing(target.to)  # before anything is made
    interruption = Interruption("Stopped. The file may have been asked for.")

    async def work(connection: Connection) -> tuple[Data, Path]:
        if isinstance(asked, UUID):
            file_id = str(asked)
        else:
            file_id = str((await connection.post(asked, body)).data["job_id"])
        place = "" if connection.server is None else f" --server {connection.server}"
        again = f"rollbook members download {file_id}{place}"
        interruption.sentence = f"Stopped. The file will still be made; get it with `{again}`."
        connection.patience_s = target.patience
        try:
            made = await _made(connection, file_id, target.timeout, again)
            path = f"/members/files/{file_id}/content"
            return made, await download(connection, path, target.to, force=target.force)
        except UnreachableError as error:
            raise UnreachableError(f"{error.message} Get the file with `{again}`.") from None

    made, stored = target.run(work, interruption)
    if target.as_json:
        print_json({**made, "file": str(stored), "bytes": stored.stat().st_size})
        return
    if made["kind"] == "export":
        number = made["rows_done"]
        err.print(f"{number} member{'' if number == 1 else 's'}.")
    out.print(shown(str(stored)), soft_wrap=True)
    err.print(
        "The file holds personal data, so only your account on this machine can read it. Remove it "
        "when you no longer need it.",
        soft_wrap=True,
    )


async def _made(connection: Connection, file_id: str, timeout_s: float, again: str) -> Data:
    """Wait until a file is made.

    Raises:
        FileNotMadeError: making it failed, or it was removed since.
        WaitedTooLongError: it isn't made in time.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    pause, has_warned = FIRST_LOOK_S, False
    while True:
        found: Data = (await connection.get(f"/members/files/{file_id}")).data
        if found["status"] == "completed":
            return found
        if found["status"] != "pending":
            raise FileNotMadeError(found["error"] or f"The file was {found['status']}.")
        waited_s = loop.time() - began
        if not has_warned and waited_s >= WORKER_S and found["rows_total"] is None:
            has_warned = True
            err.print(
                "[yellow]No worker has begun with the file yet: none runs, or all are making "
                "others.[/]",
                soft_wrap=True,
            )
        if waited_s + pause > timeout_s:
            raise WaitedTooLongError(
                f"The file is not made after {timeout_s:g} seconds. Get it later with `{again}`."
            )
        await asyncio.sleep(pause)
        pause = min(pause * GROWTH, LONGEST_LOOK_S)


def _asked_number(*, id_number: bool, passport: bool) -> dict[str, str]:
    """The number by which a person is found, where one is wanted.

    Raises:
        InvalidRequestError: both are wanted, or what was given is no such number.
    """
    if id_number and passport:
        raise InvalidRequestError("Choose one of --id-number and --passport.")
    if not (id_number or passport):
        return {}
    given = asked("ID number" if id_number else "Passport number").strip()
    if passport:
        # The server knows how passports are written.
        return {"passport_number": given}
    if len(given) != 13 or not given.isdecimal():
        raise InvalidRequestError("An ID number has 13 digits.")
    return {"id_number": given}
