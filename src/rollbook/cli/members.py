"""`rollbook members`: searches members."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from rollbook.cli.connection import Data
from rollbook.cli.output import JsonOption, err, out, print_json, shown
from rollbook.cli.target import AsOption, ServerOption, run
from rollbook.errors import InvalidRequestError

app = typer.Typer(name="members", no_args_is_help=True, help="Search members.")

SearchArgument = Annotated[
    str | None,
    typer.Argument(
        help="Words of a name, or the beginning of a phone number or of an e-mail address."
    ),
]
ProvinceOption = Annotated[str | None, typer.Option(help="A code or a name.")]
MunicipalityOption = Annotated[str | None, typer.Option(help="A code or a name.")]
WardOption = Annotated[str | None, typer.Option(help="The ward.")]
StatusOption = Annotated[str | None, typer.Option(help="The member's status.")]
RollOption = Annotated[
    str | None, typer.Option(help="What the voter roll says, such as registered or not_asked.")
]
ExpiresOption = Annotated[
    dt.datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Whose membership ends before this day."),
]
IdNumberOption = Annotated[
    bool,
    typer.Option(
        "--id-number",
        help="Ask for a whole ID number, or read it from standard input: it belongs in no list of "
        "processes and no shell's history.",
    ),
]


@app.command()
def search(
    words: SearchArgument = None,
    *,
    province: ProvinceOption = None,
    municipality: MunicipalityOption = None,
    ward: WardOption = None,
    status: StatusOption = None,
    roll: RollOption = None,
    expires_before: ExpiresOption = None,
    id_number: IdNumberOption = False,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=500)] = 50,
    server: ServerOption = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find members of your scope; ID numbers are masked."""
    body = {
        **_filters(words, province, municipality, ward, status, roll, expires_before),
        **_asked_id_number(wanted=id_number),
        "page": page,
        "page_size": page_size,
    }
    answer = run(
        lambda line: line.post("/members/search", body, repeatable=True),
        server=server,
        acting=acting,
    )
    found: Data = answer.data
    if as_json:
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
def show(
    member_id: Annotated[UUID, typer.Argument(help="As the search shows it.")],
    *,
    server: ServerOption = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a member: all fields, and where each comes from."""
    answer = run(lambda line: line.get(f"/members/{member_id}"), server=server, acting=acting)
    member: Data = answer.data
    if as_json:
        print_json(member)
        return
    table = Table("Field", "Value", "From", "At (UTC)", title=shown(member["id_number"]))
    for field, value in member["fields"].items():
        if value is None:
            continue
        source = member.get("sources", {}).get(field) or {}
        at = str(source.get("at") or "")[:16].replace("T", " ")
        table.add_row(field.replace("_", " "), shown(value), shown(source.get("how") or ""), at)
    out.print(table)


def _filters(
    words: str | None,
    province: str | None,
    municipality: str | None,
    ward: str | None,
    status: str | None,
    roll: str | None,
    expires_before: dt.datetime | None,
) -> dict[str, Any]:
    filters = {
        "search": words,
        "province": province,
        "municipality": municipality,
        "ward": ward,
        "status": status,
        "roll": roll,
        "expires_before": None if expires_before is None else f"{expires_before:%Y-%m-%d}",
    }
    return {name: value for name, value in filters.items() if value is not None}


def _asked_id_number(*, wanted: bool) -> dict[str, str]:
    if not wanted:
        return {}
    if sys.stdin.isatty():
        given = str(typer.prompt("ID number", hide_input=True, err=True)).strip()
    else:
        given = sys.stdin.readline().strip()
    if len(given) != 13 or not given.isdecimal():
        raise InvalidRequestError("An ID number has 13 digits.")
    return {"id_number": given}
