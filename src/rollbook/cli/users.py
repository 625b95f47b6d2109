"""`rollbook users`: the accounts."""

from __future__ import annotations

import contextlib
import csv
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rollbook.accounts import users
from rollbook.backends.database import Row
from rollbook.cli.failures import ExitCode
from rollbook.cli.options import Commands
from rollbook.cli.output import JsonOption, asked, err, out, print_json, say, shown
from rollbook.cli.session import run
from rollbook.cli.target import Target
from rollbook.errors import ConflictError
from rollbook.model import Role, Scope

if TYPE_CHECKING:
    from io import TextIOWrapper

    from rollbook.cli.connection import Connection, Data

app = Commands(name="users", no_args_is_help=True, help="Add and change accounts.")

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
def invite(
    *,
    file: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, readable=True, help="A list of accounts: .xlsx or .csv."
        ),
    ],
    check: Annotated[bool, typer.Option("--check", help="Only check it; invite nobody.")] = False,
    only_right: Annotated[
        bool, typer.Option("--only-right", help="Invite by the right rows although others aren't.")
    ] = False,
    by_mail: Annotated[
        bool | None,
        typer.Option("--mail/--no-mail", help="Mail the links; default: where mail is configured."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Store the result with the links in this .csv file.")
    ] = None,
    target: Target,
) -> None:
    """Invite the people of a list; each chooses a password by a link that is shown once."""
    fields = {"only_right": str(only_right).lower()}
    if by_mail is not None:
        fields["by_mail"] = str(by_mail).lower()

    async def work(connection: Connection) -> tuple[Data, str]:
        found = await connection.upload("/users/invitations/check", file, {})
        if check or (found.data["at_fault"] and not only_right) or not found.data["right"]:
            return found.data, found.message
        # Once more it would find all addresses taken, and the links would be lost.
        made = await connection.upload("/users/invitations", file, fields, repeatable=False)
        return made.data, made.message

    # Before the request: the links of its answer can't be fetched again.
    stored = None if to is None else _opened(to)
    try:
        data, message = target.run(work)
    except BaseException:
        if stored is not None:
            _discard(stored)
        raise
    is_stored = stored is not None and _store(data["rows"], stored)
    if target.as_json:
        print_json(data)
    else:
        _show_list(data, has_links=not is_stored)
        err.print(shown(message), soft_wrap=True)
    if stored is not None and not is_stored:
        raise typer.Exit(ExitCode.FAILED)
    if data["at_fault"] and not (only_right and data["invited"]):
        raise typer.Exit(ExitCode.WRONG)


def _show_list(data: Data, *, has_links: bool) -> None:
    table = Table("Row", "E-mail", "Role", "Place", "Result")
    for row in data["rows"]:
        place = " / ".join(row[name] for name in ("province", "municipality") if row[name])
        said = " ".join(row["faults"]) or row["state"]
        link = row["invitation"]
        if link is not None:
            said = "mailed" if link["is_mailed"] else link["mail_error"] or "invited"
            if has_links:
                said = f"{said}: {link['address']}"
        cells = (row["email"], row["role"] or "", place, said)
        table.add_row(str(row["row_number"]), *map(shown, cells))
    out.print(table)
    for name, what in (("columns_not_read", "Columns"), ("sheets_not_read", "Sheets")):
        if data[name]:
            err.print(f"{what} that were not read: {shown(', '.join(data[name]))}", soft_wrap=True)


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _opened(to: Path) -> TextIOWrapper:
    """A new file for the result; it gets links, so only its owner may read it.

    Raises:
        ConflictError: there is one already, or it can't be made.
    """
    try:
        # Path.open has no opener.
        return open(to, "x", encoding="utf-8", newline="", opener=_for_owner)
    except FileExistsError:
        raise ConflictError(
            f"There is a file {str(to)!r} already; it was not changed, and nobody was invited. "
            "Give another name."
        ) from None
    except OSError as error:
        raise ConflictError(
            f"{str(to)!r} can't be written ({error.strerror}). Nobody was invited."
        ) from None


def _store(rows: list[Data], file: TextIOWrapper) -> bool:
    """Write the result. A file that can't be written is removed and said: False."""
    names = ("row_number", "email", "name", "role", "province", "municipality", "state")
    try:
        with file:
            writer = csv.writer(file)
            writer.writerow((*names, "faults", "link", "link_expires_at", "is_mailed"))
            for row in rows:
                link = row["invitation"] or {}
                cells = [row[name] for name in names]
                cells += [" ".join(row["faults"])]
                cells += [link.get(name, "") for name in ("address", "expires_at", "is_mailed")]
                writer.writerow(map(_as_text, cells))
    except (OSError, ValueError) as error:
        _discard(file)
        why = getattr(error, "strerror", None) or type(error).__name__
        err.print(
            f"[red]{shown(file.name)} can't be written ({why}) and was removed. Keep what is "
            "printed: it has the links, which are shown this once.[/]",
            soft_wrap=True,
        )
        return False
    return True


def _discard(file: TextIOWrapper) -> None:
    """Remove a file that has no whole result."""
    with contextlib.suppress(OSError, ValueError):  # what is still in its buffer can't be written
        file.close()
    with contextlib.suppress(OSError):
        Path(file.name).unlink()


def _as_text(cell: object) -> str:
    """A cell of a CSV file that no spreadsheet program runs as a formula."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


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
    sentence = f"{escape(email)} is {role.value} now, and has to sign in again."
    say(sentence, {"email": email, "role": role.value}, as_json=as_json)


@app.command()
def reset_second_factor(email: EmailArgument, *, as_json: JsonOption = False) -> None:
    """Remove the second factor of a person who has lost it; the password stays."""
    run("users", lambda system: users.reset_second_factor(system.pool, email))
    sentence = f"{escape(email)} signs in with the password only, and can set up another."
    say(sentence, {"email": email, "second_factor": False}, as_json=as_json)


@app.command()
def disable(email: EmailArgument, *, as_json: JsonOption = False) -> None:
    """Close an account; its uploads stay."""
    run("users", lambda system: users.disable(system.pool, email))
    sentence = f"{escape(email)} can no longer sign in."
    say(sentence, {"email": email, "state": "disabled"}, as_json=as_json)


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
        return asked("Password", twice=True)
    source = context.get_parameter_source("password")
    if source is not None and source.name == "COMMANDLINE":
        err.print(
            "[yellow]A password on the command line is in the list of processes and in the shell's "
            "history. Use --ask-password instead.[/]"
        )
    return password


def _show(email: str, password: str, *, given: bool, as_json: bool) -> None:
    sentence = f"{escape(email)} can sign in with the password you gave."
    if not given:
        sentence = (
            f"{escape(email)} can sign in with the password [bold]{escape(password)}[/]\n"
            "It is shown once and stored nowhere."
        )
    say(sentence, {"email": email, "password": None if given else password}, as_json=as_json)


def _state(row: Row) -> str:
    if row["disabled_at"]:
        return "disabled"
    return "system" if row["is_system"] else "active"
