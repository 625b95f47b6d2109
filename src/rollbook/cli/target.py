"""Which installation a command works on, and how it reaches it (docs/decisions/0048)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape

from rollbook import __version__
from rollbook.cli import credentials
from rollbook.cli.addresses import server_address
from rollbook.cli.connection import Connection, RefusedError, client
from rollbook.cli.credentials import SignIn
from rollbook.cli.failures import ExitCode, NoInstallationError
from rollbook.cli.output import JsonOption, err, say, shown
from rollbook.errors import ConfigurationError, NotAuthenticatedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings

T = TypeVar("T")

SERVER = "ROLLBOOK_SERVER"
TOKEN = "ROLLBOOK_TOKEN"  # noqa: S105 - the name of the variable, not a token


@dataclass(slots=True)
class Interruption:
    """What Ctrl-C means for the work of a command, in a sentence; empty: nothing to say."""

    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The options of every command that makes requests: where they go, and how it prints."""

    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar=SERVER,
            show_envvar=True,
            help="The server's address; default: the installation on this machine, then the server "
            "that you signed in to last.",
        ),
    ] = None
    acting: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Act as this account (its e-mail address) of the installation on this machine; "
            "default: the first super_admin.",
        ),
    ] = None
    as_json: JsonOption = False

    def run(
        self,
        work: Callable[[Connection], Awaitable[T]],
        interruption: Interruption | None = None,
    ) -> T:
        """Run a command's work on the installation that it is for.

        Raises:
            NoInstallationError: there is neither a server nor an installation.
            NotAuthenticatedError: there is a server, but no sign-in to it.
            ConfigurationError: the options contradict each other or the environment.
        """
        try:
            if self.server is None and (settings := _local()) is not None:
                return _run_here(work, settings, self.acting)
            address, sign_in, is_stored = _remote(self.server)
            if self.acting is not None:
                raise ConfigurationError(
                    "--as is for the installation on this machine. At a server, sign in as that "
                    "account: `rollbook login`."
                )
            return asyncio.run(_run_there(work, address, sign_in, is_stored=is_stored))
        except (KeyboardInterrupt, asyncio.CancelledError):
            if interruption is not None and interruption.sentence:
                err.print(escape(interruption.sentence), soft_wrap=True)
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    def act(self, path: str, body: dict[str, Any] | None = None) -> None:
        """Make a change, and print the server's sentence about it, or its data as JSON."""
        answer = self.run(lambda line: line.post(path, body))
        say(shown(answer.message), answer.data, as_json=self.as_json)


@dataclass(frozen=True, slots=True)
class PatientTarget(Target):
    """Those of a command that may take long."""

    patience: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="ROLLBOOK_PATIENCE_S",
            show_envvar=True,
            help="For how many seconds a server that stops answering is tried again.",
        ),
    ] = 120.0


def _local() -> Settings | None:
    """The settings of the installation on this machine, if there is one to use."""
    if given_token() is not None:
        raise ConfigurationError(
            f"{TOKEN} is set, but no server: a key or token is only sent to the server that you "
            f"name. Set {SERVER} too, or use --server."
        )
    from rollbook.cli.session import check_installation, quiet_settings_for

    settings = quiet_settings_for("command")
    try:
        check_installation(settings)
    except NoInstallationError:
        if credentials.read().current is None:
            raise
        return None
    return settings


def _run_here(
    work: Callable[[Connection], Awaitable[T]], settings: Settings, acting: str | None
) -> T:
    from rollbook.api.in_process import client_of
    from rollbook.cli.session import engines

    async def opened(named: Settings) -> T:
        async with client_of(named, email=acting) as http:
            return await work(Connection(http, server=None, sign_in=None))

    with engines(settings) as named:
        return asyncio.run(opened(named))


def given_token() -> str | None:
    """The key or token of the environment: its text, or the file that holds it.

    Raises:
        ConfigurationError: the file can't be read.
    """
    token, file = os.environ.get(TOKEN), os.environ.get(f"{TOKEN}_FILE")
    if token or not file:
        return token or None
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{TOKEN}_FILE names {file!r}, which can't be read.") from error


def _remote(server: str | None) -> tuple[str, SignIn, bool]:
    """The address, the sign-in, and whether that is in the user's file."""
    if server is not None and (token := given_token()) is not None:
        return server_address(server), SignIn.given(token), False
    known = credentials.read()
    address = known.current if server is None else server_address(server)
    assert address is not None
    sign_in = known.servers.get(address)
    if sign_in is None:
        raise NotAuthenticatedError(
            f"You are not signed in to {address}. Sign in with `rollbook login --server "
            f"{address}`, or give a key in {TOKEN}."
        )
    return address, sign_in, True


async def _run_there(
    work: Callable[[Connection], Awaitable[T]], server: str, sign_in: SignIn, *, is_stored: bool
) -> T:
    async with connected(server, sign_in, is_stored=is_stored) as connection:
        return await work(connection)


@contextlib.asynccontextmanager
async def connected(
    server: str, sign_in: SignIn | None, *, is_stored: bool = False
) -> AsyncIterator[Connection]:
    """A connection to a server; names both versions where they may be why a request is refused."""
    async with client(server, sign_in) as http:
        connection = Connection(http, server=server, sign_in=sign_in, is_stored=is_stored)
        try:
            yield connection
        except RefusedError as error:
            if error.status != 422 or (note := await other_version(connection)) is None:
                raise
            raise RefusedError(
                f"{error.message} {note}", status=error.status, code=error.code
            ) from None


def versions(server: str) -> str:
    """The versions of a server and of this command, in a sentence."""

    async def asked() -> str | None:
        async with connected(server, None) as connection:
            return await connection.version()

    found = asyncio.run(asked()) or "unknown"
    return f"The server's version is {found}, this command's {__version__}."


async def other_version(connection: Connection) -> str | None:
    """Both versions in a sentence, if they differ in more than a correction."""
    found = await connection.version()
    if found is None or found.split(".")[:2] == __version__.split(".")[:2]:
        return None
    return f"The server's version is {found}, this command's {__version__}."
