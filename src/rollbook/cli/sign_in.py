"""`rollbook login` and `rollbook logout`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

import typer
from rich.markup import escape

from rollbook.cli import addresses, credentials
from rollbook.cli.addresses import is_this_machine, server_address
from rollbook.cli.connection import Connection, UnreachableError
from rollbook.cli.credentials import SignIn
from rollbook.cli.output import JsonOption, asked, err, out, print_json
from rollbook.cli.target import SERVER, TOKEN, connected, given_token, other_version
from rollbook.errors import (
    ConfigurationError,
    NotAuthenticatedError,
    RollbookError,
    SecondFactorNeededError,
)

SERVER_HELP = "The server's address."


def login(
    *,
    server: Annotated[
        str, typer.Option("--server", envvar=SERVER, show_envvar=True, help=SERVER_HELP)
    ] = addresses.DEFAULT,
    email: Annotated[
        str | None, typer.Option(help="Your e-mail address; asked for if not given.")
    ] = None,
    key: Annotated[
        bool,
        typer.Option(
            "--key",
            help=f"Sign in with a key (rbk_...) or a token, from {TOKEN} or asked for, instead of "
            "a password.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign in to a server; secrets are asked for or read from standard input."""
    address = server_address(server)
    if key and email is not None:
        raise ConfigurationError("A key has its account: give --key or --email, not both.")
    if address.startswith("http://") and not is_this_machine(address):
        err.print(
            f"[yellow]{escape(address)} is not encrypted: others on the network can read what you "
            "send, your password too. Use https:// where the server has it.[/]",
            soft_wrap=True,
        )
    if key:
        given = SignIn.given(given_token() or asked("Key or token"))
        found = asyncio.run(_check(address, given))
    else:
        email = email or asked("E-mail", hidden=False)
        password = asked("Password")
        try:
            found = asyncio.run(_sign_in(address, email, password))
        except SecondFactorNeededError:
            # Not asked in a thread of the loop, which would wait for the answer after Ctrl-C too.
            code = asked("Code of your authenticator app", hidden=False)
            found = asyncio.run(_sign_in(address, email, password, code))
    credentials.store(address, found)
    if as_json:
        print_json({"server": address, "email": found.email, "expires_at": found.expires_at})
        return
    out.print(f"Signed in to {escape(address)} as {escape(found.email)}.", soft_wrap=True)


async def _sign_in(server: str, email: str, password: str, code: str | None = None) -> SignIn:
    async with connected(server, None) as connection:
        found = await signed_in(connection, email, password, code)
        if (note := await other_version(connection)) is not None:
            err.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
        return found


async def signed_in(
    connection: Connection, email: str, password: str, code: str | None = None
) -> SignIn:
    """Begin a session.

    Raises:
        SecondFactorNeededError: the account needs a code besides.
    """
    body = {"email": email, "password": password, **({} if code is None else {"code": code})}
    begun = (await connection.post("/auth/login", body)).data
    account = str(begun["user"]["email"])
    return SignIn.of_session(begun["token"], account, expires_in=begun["expires_in"])


async def _check(server: str, given: SignIn) -> SignIn:
    async with connected(server, given) as connection:
        who = (await connection.get("/auth/me")).data
        return replace(given, email=str(who["email"]))


def logout(
    *,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar=SERVER,
            show_envvar=True,
            help="The server's address; default: the one that you signed in to last.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """End the session at the server, and remove it from this machine."""
    known = credentials.read()
    address = known.current if server is None else server_address(server)
    if address is None or (sign_in := known.servers.get(address)) is None:
        place = address or "any server"
        raise NotAuthenticatedError(f"You are not signed in to {place}; nothing was changed.")
    ended = False
    try:
        if sign_in.kind == "session":
            ended = asyncio.run(_end(address, sign_in))
    except RollbookError as error:
        until = f" at {sign_in.expires_at[:16]} UTC" if sign_in.expires_at else ""
        raise UnreachableError(
            f"{error.message} Your sign-in was removed from this machine. At the server it was not "
            f"ended, and ends by itself{until}."
        ) from None
    finally:
        credentials.forget(address)
    if as_json:
        print_json({"server": address, "session_ended": ended})
    elif sign_in.kind == "given":
        out.print(
            f"The key for {escape(address)} is removed from this machine. It is still valid: only "
            "revoking it ends it.",
            soft_wrap=True,
        )
    else:
        out.print(f"Signed out of {escape(address)}.", soft_wrap=True)


async def _end(server: str, sign_in: SignIn) -> bool:
    async with connected(server, sign_in) as connection:
        try:
            await connection.post("/auth/logout")
        except NotAuthenticatedError:
            return False  # it had ended already
        return True
