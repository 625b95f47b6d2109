"""The installation that a command works on directly: settings, engines and the opened system."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from pydantic import SecretStr

from rollbook import config
from rollbook.accounts import audit
from rollbook.backends.database import has_schema
from rollbook.cli.failures import NoInstallationError
from rollbook.engines import Engines, find_running, has_data
from rollbook.errors import ServiceUnavailableError
from rollbook.pipeline.columns import check_own
from rollbook.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.service.system import System

T = TypeVar("T")

log = structlog.get_logger(__name__)


def settings_for(component: str, *, supervised: bool = False, **changes: Any) -> Settings:
    """Load the settings and configure this process's log.

    Raises:
        ServiceUnavailableError: the data folder hangs.
    """
    settings = config.load(env_file=not supervised).model_copy(update=changes)
    check_own()
    logs.configure(settings, component=component)
    if not supervised:  # the supervisor has said it
        _warn_of_unknown()
        _expect_answer(settings.data_dir, settings.store_answer_s)
    return settings


def quiet_settings_for(component: str) -> Settings:
    """Settings of a short command, which logs warnings only if not set otherwise.

    Raises:
        ServiceUnavailableError: the data folder hangs.
    """
    settings = config.load()
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})
    logs.configure(settings, component=component)
    _warn_of_unknown()
    _expect_answer(settings.data_dir, settings.store_answer_s)
    return settings


def _expect_answer(folder: Path, answer_s: float) -> None:
    """Refuse a data folder on a share that hangs: what comes next would wait for it in silence."""

    def look() -> None:
        with contextlib.suppress(OSError):  # whether it is there is asked later
            folder.stat()

    # A daemon: the end of the process doesn't wait for a share.
    looking = threading.Thread(target=look, daemon=True)
    with contextlib.suppress(RuntimeError):  # the machine gives no thread now, as is said later
        looking.start()
        looking.join(answer_s)
    if looking.is_alive():
        raise ServiceUnavailableError(
            f"The data folder {folder.absolute()} doesn't answer within {answer_s:g} seconds "
            "(ROLLBOOK_STORE_ANSWER_S). Nothing was changed. Where it is on a share that hangs, "
            "mount it again."
        )


def _warn_of_unknown() -> None:
    for name, nearest in config.unknown_names().items():
        log.warning("unknown setting ignored", name=name, nearest=nearest)


def check_installation(settings: Settings) -> None:
    """Refuse to work where no installation is, instead of making one there.

    A command in the wrong folder would otherwise build databases of 47 MB that nobody asked for,
    and answer from them.

    Raises:
        NoInstallationError: the data folder isn't there, or has none of the engines' data.
    """
    folder = settings.data_dir.resolve()
    postgres, valkey = settings.given_database_address is None, settings.given_redis_address is None
    try:
        if has_data(folder, postgres=postgres, valkey=valkey) and (
            folder.is_dir() or not settings.is_default_store
        ):
            return
    except PermissionError:
        raise NoInstallationError(
            f"The data folder {folder} can't be read by this user. Run the command as the user "
            "that runs Rollbook, or set ROLLBOOK_DATA_DIR to another folder."
        ) from None
    if postgres or valkey:
        raise NoInstallationError(
            f"There is no Rollbook installation in {folder}, and this command makes none. Run it "
            "in the folder where `rollbook up` was started, or set ROLLBOOK_DATA_DIR to the data "
            "folder of the installation. For a server, use --server or `rollbook login`. "
            "`rollbook up` makes a new installation."
        )
    raise NoInstallationError(
        f"There is no data folder {folder}, where the files of the installation would be, and this "
        "command makes none. Set ROLLBOOK_DATA_DIR or ROLLBOOK_STORE_URL as for `rollbook serve`. "
        "For a server, use --server or `rollbook login`."
    )


@contextlib.contextmanager
def engines(settings: Settings, *, own: bool = False, make: bool = False) -> Iterator[Settings]:
    """Settings with both engines' addresses: the operator's own, running ones, or new ones.

    An engine without an address is looked up in the data folder, and started there if it isn't
    running. ``own`` refuses a data folder whose engines another process runs. ``make`` makes the
    data folder where there is none; without it, that is refused (``check_installation``).

    Raises:
        EngineError: the engines can't be started.
        DataFolderInUseError: ``own``, and another process runs them.
        NoInstallationError: there is no installation, and ``make`` isn't set.
    """
    if not make:
        check_installation(settings)
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


def run(component: str, work: Callable[[System], Awaitable[T]], *, make: bool = False) -> T:
    """Open the system of an installation for one command, and run it; ``make`` as in ``engines``.

    Raises:
        NoInstallationError: there is no installation, and ``make`` isn't set.
    """
    from rollbook.service.system import open_system  # slow to import, and `up` doesn't need it

    async def opened(settings: Settings) -> T:
        audit.origin.set(audit.Origin.of_command_line())
        async with open_system(settings) as system:
            await system.pool.wait(timeout=10)
            return await work(system)

    with engines(quiet_settings_for(component), make=make) as settings:
        return asyncio.run(opened(settings))
