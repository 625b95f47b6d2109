"""`rollbook keys`: keys for programs."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from rollbook import clock
from rollbook.cli.connection import Connection, Data
from rollbook.cli.options import Commands
from rollbook.cli.output import err, moment, out, print_json, say, shown
from rollbook.cli.target import Target
from rollbook.model import KEY_SCOPES, KeyScope, Role, Scope

app = Commands(name="keys", no_args_is_help=True, help="Make and revoke keys for programs.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is for, such as 'nightly import'.")],
    scope: Annotated[
        list[str], typer.Option(help=f"One of {', '.join(KEY_SCOPES)}; give it once for each.")
    ],
    *,
    role: Annotated[
        Role | None, typer.Option(help="At most the maker's; default: of the place, or yours.")
    ] = None,
    province: Annotated[str | None, typer.Option(help="Province code, such as GP.")] = None,
    municipality: Annotated[str | None, typer.Option()] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="Days until it ends; default: ROLLBOOK_KEY_DAYS.")
    ] = None,
    target: Target,
) -> None:
    """Make a key, and print it this once."""
    asked = {
        "name": name,
        "scopes": [_scope(one) for one in scope],
        "role": role and role.value,
        "province": province,
        "municipality": municipality,
        "expires_at": days and (clock.now() + dt.timedelta(days=days)).isoformat(),
    }
    body = {member: value for member, value in asked.items() if value is not None}

    async def make(line: Connection) -> tuple[Data, str]:
        zone = await line.zone()  # before: a key that isn't shown now is lost
        return (await line.post("/keys", body)).data, zone

    made, zone = target.run(make)
    if target.as_json:
        print_json(made)
        return
    last_day = moment(made["expires_at"], zone)[:10]
    out.print(
        f"The key of {shown(made['name'])}, which ends on {last_day}:\n"
        f"[bold]{shown(made['key'])}[/]\n"
        f"It is shown once. Send it as `Authorization: Bearer {shown(made['hint'])}...`.",
        soft_wrap=True,
    )


@app.command("list")
def list_(
    *,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=500)] = 100,
    target: Target,
) -> None:
    """List the keys of your scope, good ones first."""
    answer, zone = target.run(
        lambda line: line.get_with_zone("/keys", page=page, page_size=page_size)
    )
    found: Data = answer.data
    if target.as_json:
        print_json(found)
        return
    table = Table("Id", "Name", "Key", "Scopes", "Role", "Place", "Ends", "Last used", "State")
    for one in found["items"]:
        table.add_row(
            str(one["key_id"]),
            shown(one["name"]),
            f"{shown(one['hint'])}...",
            ", ".join(one["scopes"]),
            one["role"],
            shown(Scope(one["province"], one["municipality"])),
            moment(one["expires_at"], zone)[:10],
            moment(one["last_used_at"], zone) or "never",
            one["state"],
        )
    out.print(table)
    if found["total"] > page * page_size:
        err.print(f"There are {found['total']}; `--page {page + 1}` shows the next.")


@app.command()
def revoke(
    key_id: Annotated[UUID, typer.Argument(help="The key's id, as the list shows it.")],
    *,
    target: Target,
) -> None:
    """End a key at once."""
    row: Data = target.run(lambda line: line.delete(f"/keys/{key_id}")).data
    sentence = f"The key of {shown(row['name'])} ({shown(row['hint'])}...) is revoked."
    say(sentence, row, as_json=target.as_json)


def _scope(given: str) -> KeyScope:
    for known in KEY_SCOPES:
        if given == known:
            return known
    raise typer.BadParameter(f"{given!r} is no scope; the scopes are {', '.join(KEY_SCOPES)}.")
