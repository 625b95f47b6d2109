"""Shared parts of the commands: settings, engines, and the output of results."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import structlog
import typer
from pydantic import SecretStr
from rich.console import Console

from rollbook import config
from rollbook.accounts import audit
from rollbook.backends.database import has_schema
from rollbook.engines import Engines, find_running
from rollbook.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from rollbook.config import Settings
    from rollbook.service.system import System

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: For results; progress and log lines go to standard error. In a file or a pipe, tables have their
#: full width.
out = Console()
if not out.is_terminal:
    out.width = 240
err = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_for(component: str, *, supervised: bool = False, **changes: Any) -> Settings:
    """Load the settings and configure this process's log."""
    settings = config.load(env_file=not supervised).model_copy(update=changes)
    logs.configure(settings, component=component)
    if not supervised:  # the supervisor has said it
        for name, nearest in config.unknown_names().items():
            log.warning("unknown setting ignored", name=name, nearest=nearest)
    return settings


@contextlib.contextmanager
def engines(settings: Settings, *, own: bool = False) -> Iterator[Settings]:
    """Settings with both engines' addresses: the operator's own, running ones, or new ones.

    Args:
        settings: an engine without an address is looked up in the data folder, and started
            there if it isn't running.
        own: refuse a data folder whose engines another process runs.

    Raises:
        EngineError: the engines can't be started.
        DataFolderInUseError: ``own``, and another process runs them.
    """
    named = None if own else named_or_running(settings)
    if named is not None:
        yield named
        return
    with own_engines(settings) as (named, _):
        yield named


def named_or_running(settings: Settings) -> Settings | None:
    """Settings with the engines' addresses that are set, or of engines that run; else None."""
    if None not in (settings.given_database_address, settings.given_redis_address):
        return settings
    found = find_running(settings.data_dir)
    return None if found is None else _with(settings, found.database_url, found.redis_url)


@contextlib.contextmanager
def own_engines(settings: Settings) -> Iterator[tuple[Settings, Engines | None]]:
    """Settings that name both engines, and the engines that this process has started for that.

    Raises:
        EngineError: they can't be started.
        DataFolderInUseError: somebody else runs them.
    """
    postgres, valkey = settings.given_database_address is None, settings.given_redis_address is None
    if not postgres and not valkey:
        yield settings, None
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    started = Engines(settings.data_dir, postgres=postgres, valkey=valkey)
    with started as addresses:
        named = _with(settings, addresses.database_url, addresses.redis_url)
        if postgres:  # the operator's own is migrated by `up` or `migrate`, and may be down now
            bring_schema(named)
        yield named, started


def bring_schema(settings: Settings) -> None:
    """Migrate the database if its schema is too old.

    Raises:
        ServiceUnavailableError: PostgreSQL doesn't answer.
    """
    if not has_schema(settings.database_address):
        from rollbook.backends.schema import migrate  # slow to import, and seldom needed

        migrate(settings.database_address)


def _with(settings: Settings, database_url: str | None, redis_url: str | None) -> Settings:
    changes = {}
    if settings.given_database_address is None and database_url is not None:
        changes["database_url"] = SecretStr(database_url)
    if settings.given_redis_address is None and redis_url is not None:
        changes["redis_url"] = SecretStr(redis_url)
    return settings.model_copy(update=changes)


def run(component: str, work: Callable[[System], Awaitable[T]]) -> T:
    """Open the system for one command, and run it."""
    from rollbook.service.system import open_system  # slow to import, and `up` doesn't need it

    async def opened(settings: Settings) -> T:
        audit.origin.set(audit.Origin.of_command_line())
        async with open_system(settings) as system:
            await system.pool.wait(timeout=10)
            return await work(system)

    with engines(settings_for(component)) as settings:
        return asyncio.run(opened(settings))


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    typer.echo(json.dumps(value, default=str))
