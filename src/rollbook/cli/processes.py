"""The commands of long-running processes, and the one that migrates the database.

Slow imports that only one command needs are inside that command: a worker needs no web server, and
starts a second earlier without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from rich.markup import escape

from rollbook.backends.database import UNAVAILABLE, make_pool
from rollbook.cli import engine_watch, supervisor
from rollbook.cli.output import JsonOption, out, print_last, say
from rollbook.cli.session import bring_schema, engines, own_engines, settings_for
from rollbook.service.signals import stop_on_signals

if TYPE_CHECKING:
    from rollbook.config import Settings
    from rollbook.engines import Engines

#: Seconds before an unavailable part is tried again.
RETRY_S = 2.0

log = structlog.get_logger(__name__)

Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]
#: A listening socket of the supervisor.
ListenerFd = Annotated[int | None, typer.Option("--listener-fd", hidden=True)]


def up() -> None:
    """Run everything: engines (unless you have your own), API, worker and folder watcher."""
    settings = settings_for("up")
    processes = supervisor.Processes(settings)
    with processes.waiting(), own_engines(settings) as (named, started):
        asyncio.run(_up(named, processes, started))


async def _up(settings: Settings, processes: supervisor.Processes, started: Engines | None) -> None:
    """Run until a signal asks us to stop, or until an engine can't be kept running.

    Raises:
        EngineError: an engine can't; the process ends with an exit code, so that systemd acts.
    """
    # The engines end with this process, see ``own_engines``.
    stop = stop_on_signals(before_exit=supervisor.kill)
    if started is None:
        await _run(settings, processes, stop)
        return
    keeping = asyncio.create_task(
        engine_watch.keep_running(started, restarts=settings.engine_restarts)
    )
    keeping.add_done_callback(lambda _: stop.set())
    try:
        await _run(settings, processes, stop)
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def _run(settings: Settings, processes: supervisor.Processes, stop: asyncio.Event) -> None:
    first = None
    while not stop.is_set():
        try:
            first = await _prepared(settings)
            break
        except UNAVAILABLE as error:
            log.warning("waiting for a part", error=type(error).__name__, reason=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RETRY_S)
    async with processes.running(settings, stop) as url:
        if stop.is_set():
            return
        out.print(f"[bold]Rollbook is ready at {url}[/]  (API description: {url}/docs)")
        if first is not None:
            _introduce(*first)
        out.print("Stop it with Ctrl-C.")
        await stop.wait()
        print_last("Stopping; waiting for running jobs ...")


async def _prepared(settings: Settings) -> tuple[str, str | None] | None:
    """Migrate the schema and create the first account; returns its address and password.

    Raises:
        ConfigurationError: the promises don't hold on these servers.
    """
    from rollbook.accounts import audit, users
    from rollbook.service.doctor import refuse_unsafe

    await refuse_unsafe(settings)

    await asyncio.to_thread(bring_schema, settings)
    audit.origin.set(audit.Origin.of_command_line())
    async with make_pool(settings.database_address) as pool:
        return await users.add_first(pool, settings)


def _introduce(email: str, password: str | None) -> None:
    if password is None:
        out.print(f"First account: {escape(email)}, with the password from the settings.")
    else:
        out.print(
            f"First account: {escape(email)}  password: [bold]{escape(password)}[/]\n"
            "This password is shown once and stored nowhere; note it now."
        )


def serve(*, supervised: Supervised = False, listener_fd: ListenerFd = None) -> None:
    """Run only the API (add workers with `rollbook worker`)."""
    from rollbook.api.server import Server

    settings = settings_for("api", supervised=supervised)
    if supervised:
        settings = supervisor.receive_addresses(settings)
    with engines(settings, make=True) as named:
        _refuse_unsafe(named, supervised=supervised)
        listener = _listener(listener_fd) or supervisor.bound(named)
        server = Server(named)
        server.run([listener])
    if not server.started:  # uvicorn has said why
        raise typer.Exit(3)


def worker(*, supervised: Supervised = False, listener_fd: ListenerFd = None) -> None:
    """Run only a worker; start as many as you like, on any number of machines."""
    import uvloop

    from rollbook.worker import process

    settings = settings_for("worker", supervised=supervised)
    if supervised:
        settings = supervisor.receive_addresses(settings)
    with engines(settings, make=True) as named:
        _refuse_unsafe(named, supervised=supervised)
        # uvloop makes the worker's own work for a job a fifth cheaper.
        uvloop.run(process.serve(named, _listener(listener_fd)))


def watch(
    folder: Annotated[
        str | None, typer.Argument(help="The folder; default: ROLLBOOK_WATCH_DIR.")
    ] = None,
    *,
    supervised: Supervised = False,
    listener_fd: ListenerFd = None,
) -> None:
    """Watch a folder and take the files from it."""
    from rollbook.folder import watcher

    settings = settings_for("watch", supervised=supervised)
    if supervised:
        settings = supervisor.receive_addresses(settings)
    if folder is not None:
        # Not resolved, nor a path to Typer: both ask a share, which may hang.
        settings = settings.model_copy(update={"watch_dir": Path(folder).absolute()})
    with engines(settings) as named:
        _refuse_unsafe(named, supervised=supervised)
        asyncio.run(watcher.serve(named, _listener(listener_fd)))


def _refuse_unsafe(settings: Settings, *, supervised: bool) -> None:
    """Refuse servers on which the promises don't hold; the supervisor has done it for its own."""
    from rollbook.service.doctor import refuse_unsafe

    if not supervised:
        asyncio.run(refuse_unsafe(settings))


def _listener(fd: int | None) -> socket.socket | None:
    return None if fd is None else socket.socket(fileno=fd)


def migrate(*, as_json: JsonOption = False) -> None:
    """Migrate the database's schema to the newest revision."""
    from rollbook.backends import schema
    from rollbook.service.doctor import refuse_unsafe

    settings = settings_for("migrate")
    with engines(settings, make=True) as named:
        if settings.given_database_address is not None:
            asyncio.run(refuse_unsafe(named, uses_redis=False))
        revision = schema.migrate(named.database_address, waits=True)
    say(f"The schema is at revision {revision}.", {"revision": revision}, as_json=as_json)
