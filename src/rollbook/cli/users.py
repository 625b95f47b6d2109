"""`rollbook users`: the accounts."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rollbook.accounts import users
from rollbook.backends.database import Row
from rollbook.cli.output import JsonOption, err, out, print_json
from rollbook.cli.session import run
from rollbook.model import Role, Scope

app = typer.Typer(name="users", no_args_is_help=True, help="Add and change accounts.")

EmailArgument = Annotated[str, typer.Argument(help="The account's e-mail address.")]
PasswordOption = Annotated[
    str | None,
    typer.Option(
        envvar="ROLLBOOK_NEW_PASSWORD",
        help="Generated and shown once when not given. On the command line others can read it: "
        "prefer --ask-password.",
    ),
]
AskOption = Annotated[
    bool,
    typer.Option(
        "--ask-password", help="Ask for the password, or read it from standard input in a script."
    ),
]


@app.command()
def add(
    context: typer.Context,
    *,
    email: EmailArgument,
    role: Annotated[Role, typer.Option(help="What the person may do.")],
    province: Annotated[str | None, typer.Option(help="Province code, such as GP.")] = None,
    municipality: Annotated[str | None, typer.Option()] = None,
    name: Annotated[str, typer.Option()] = "",
    password: PasswordOption = None,
    ask_password: AskOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create an account."""
    given = _given(context, password, ask=ask_password)
    chosen = given or secrets.token_urlsafe(15)
    scope = Scope(province, municipality)
    run(
        "users",
        lambda system: users.add(
            system.pool,
            email=email,
            password=chosen,
            role=role,
            scope=scope,
            name=name,
            strength=system.settings.password_strength,
        ),
        make=True,  # the first account may be made before the first start
    )
    _show(email, chosen, given=given is not None, as_json=as_json)


@app.command()
def password(
    context: typer.Context,
    *,
    email: EmailArgument,
    password: PasswordOption = None,
    ask_password: AskOption = False,
    as_json: JsonOption = False,
) -> None:
    """Set a new password: the person is signed out everywhere, and may sign in at once."""
    given = _given(context, password, ask=ask_password)
    chosen = given or secrets.token_urlsafe(15)
    run(
        "users",
        lambda system: users.set_password(
            system.pool, email, chosen, strength=system.settings.password_strength
        ),
    )
    _show(email, chosen, given=given is not None, as_json=as_json)


@app.command()
def role(
    email: EmailArgument,
    role: Annotated[Role, typer.Option(help="What the person may do from now on.")],
    province: Annotated[str | None, typer.Option(help="Province code, such as GP.")] = None,
    municipality: Annotated[str | None, typer.Option()] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Set another role or place; the person is signed out everywhere."""
    scope = Scope(province, municipality)
    run("users", lambda system: users.set_role(system.pool, email, role, scope))
    if as_json:
        print_json({"email": email, "role": role.value})
    else:
        out.print(f"{escape(email)} is {role.value} now, and has to sign in again.")


@app.command()
def reset_second_factor(email: EmailArgument, *, as_json: JsonOption = False) -> None:
    """Remove the second factor of a person who has lost it; the password stays."""
    run("users", lambda system: users.reset_second_factor(system.pool, email))
    if as_json:
        print_json({"email": email, "second_factor": False})
    else:
        out.print(f"{escape(email)} signs in with the password only, and can set up another.")


@app.command()
def disable(email: EmailArgument, *, as_json: JsonOption = False) -> None:
    """Close an account; its uploads stay."""
    run("users", lambda system: users.disable(system.pool, email))
    if as_json:
        print_json({"email": email, "state": "disabled"})
    else:
        out.print(f"{escape(email)} can no longer sign in.")


@app.command("list")
def list_(*, as_json: JsonOption = False) -> None:
    """List the accounts."""
    rows = run("users", lambda system: users.listed(system.pool))
    if as_json:
        print_json(rows)
        return
    table = Table("E-mail", "Name", "Role", "Province", "Municipality", "Since", "State")
    for row in rows:
        table.add_row(
            row["email"],
            row["name"],
            row["role"],
            row["province"] or "",
            row["municipality"] or "",
            f"{row['created_at']:%Y-%m-%d}",
            _state(row),
        )
    out.print(table)


def _given(context: typer.Context, password: str | None, *, ask: bool) -> str | None:
    """The password that was given, from the option, a prompt or standard input."""
    if ask:
        if sys.stdin.isatty():
            return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
        return sys.stdin.readline().rstrip("\r\n")
    source = context.get_parameter_source("password")
    if source is not None and source.name == "COMMANDLINE":
        err.print(
            "[yellow]A password on the command line is in the list of processes and in the shell's "
            "history. Use --ask-password instead.[/]"
        )
    return password


def _show(email: str, password: str, *, given: bool, as_json: bool) -> None:
    if as_json:
        print_json({"email": email, "password": None if given else password})
    elif given:
        out.print(f"{escape(email)} can sign in with the password you gave.")
    else:
        out.print(
            f"{escape(email)} can sign in with the password [bold]{escape(password)}[/]\n"
            "It is shown once and stored nowhere."
        )


def _state(row: Row) -> str:
    if row["disabled_at"]:
        return "disabled"
    return "system" if row["is_system"] else "active"
