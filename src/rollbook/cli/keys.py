"""`rollbook keys`: keys for programs."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from rollbook import clock
from rollbook.accounts import keys, users
from rollbook.cli.session import JsonOption, out, print_json, run
from rollbook.model import KEY_SCOPES, KeyScope, Role, Scope

if TYPE_CHECKING:
    from rollbook.backends.database import Row
    from rollbook.service.system import System

app = typer.Typer(name="keys", no_args_is_help=True, help="Make and revoke keys for programs.")

#: All keys fit on a page of the list.
_MOST = 10_000

AsOption = Annotated[
    str | None,
    typer.Option("--as", help="The account in whose name; default: the first super_admin."),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is for, such as 'nightly import'.")],
    scope: Annotated[
        list[str], typer.Option(help=f"One of {', '.join(KEY_SCOPES)}; give it once for each.")
    ],
    *,
    role: Annotated[
        Role | None, typer.Option(help="At most the maker's, which is the default.")
    ] = None,
    province: Annotated[str | None, typer.Option(help="Province code, such as GP.")] = None,
    municipality: Annotated[str | None, typer.Option()] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="Days until it ends; default: ROLLBOOK_KEY_DAYS.")
    ] = None,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and print it this once."""
    scopes = [_scope(one) for one in scope]

    async def make(system: System) -> tuple[Row, str]:
        maker = await users.acting(system.pool, by)
        return await keys.make(
            system.pool,
            system.settings,
            maker,
            name=name,
            scopes=scopes,
            role=role,
            place=Scope(province, municipality),
            expires_at=None if days is None else clock.now() + dt.timedelta(days=days),
        )

    made, key = run("keys", make)
    if as_json:
        print_json({**made, "key": key})
        return
    out.print(
        f"The key of {escape(name)}, which ends on {made['expires_at']:%Y-%m-%d}:\n"
        f"[bold]{escape(key)}[/]\n"
        f"It is shown once. Send it as `Authorization: Bearer {made['hint']}...`."
    )


@app.command("list")
def list_(*, by: AsOption = None, as_json: JsonOption = False) -> None:
    """List the keys."""

    async def listed(system: System) -> list[Row]:
        reader = await users.acting(system.pool, by)
        rows, _ = await keys.listed(system.pool, reader, page_size=_MOST)
        return rows

    rows = run("keys", listed)
    if as_json:
        print_json(rows)
        return
    table = Table("Id", "Name", "Key", "Scopes", "Role", "Place", "Ends", "Last used", "State")
    for row in rows:
        last = row["last_used_at"]
        table.add_row(
            str(row["key_id"]),
            escape(row["name"]),
            f"{row['hint']}...",
            ", ".join(row["scopes"]),
            row["role"],
            str(Scope(row["province"], row["municipality"])),
            f"{row['expires_at']:%Y-%m-%d}",
            f"{last:%Y-%m-%d %H:%M}" if last else "never",
            row["state"],
        )
    out.print(table)


@app.command()
def revoke(
    key_id: Annotated[UUID, typer.Argument(help="The key's id, as the list shows it.")],
    *,
    by: AsOption = None,
) -> None:
    """End a key at once."""

    async def end(system: System) -> Row:
        return await keys.revoke(system.pool, await users.acting(system.pool, by), key_id)

    row = run("keys", end)
    out.print(f"The key of {escape(row['name'])} ({row['hint']}...) is revoked.")


def _scope(given: str) -> KeyScope:
    for known in KEY_SCOPES:
        if given == known:
            return known
    raise typer.BadParameter(f"{given!r} is no scope; the scopes are {', '.join(KEY_SCOPES)}.")
