"""Checks of what Rollbook runs on: PostgreSQL, Redis, clocks, file store and folders.

``rollbook doctor`` shows every finding. A process refuses to start with one that makes a promise of
``docs/explanation/guarantees.md`` untrue.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg.rows import dict_row
from redis.exceptions import NoPermissionError, RedisError

from rollbook import clock
from rollbook.backends.database import CONNECT_TIMEOUT_S, SCHEMA_REVISION, queries, reason
from rollbook.backends.files import FileStore
from rollbook.backends.redis import make_client
from rollbook.errors import ConfigurationError, RollbookError
from rollbook.service import clocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.backends.database import Row
    from rollbook.config import Settings

Level = Literal["ok", "warning", "error"]

#: The oldest versions that Rollbook works with; the first as ``server_version_num`` has it.
OLDEST_POSTGRESQL = 150000
OLDEST_REDIS = (6, 2)
#: Fewer connections than one API, one worker and an operator need.
FEW_CONNECTIONS = 30
#: Seconds that a server gets for an answer.
ANSWER_S = 10.0

_SQL = queries("doctor")
_Connection = psycopg.AsyncConnection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    part: str
    check: str
    level: Level
    found: str
    #: What to do; empty where there is nothing to do.
    remedy: str = ""
    #: Whether it makes a promise untrue, so that no process starts with it.
    is_fatal: bool = False


async def refuse_unsafe(settings: Settings, *, uses_redis: bool = True) -> None:
    """Refuse servers on which the promises don't hold. One that doesn't answer is not refused.

    A migration has no use for Redis.

    Raises:
        ConfigurationError: it names each of them and what to do.
    """
    if settings.given_database_address is None or settings.given_redis_address is None:
        return  # the embedded engines, which are started with what we need
    found = [*await postgresql(settings), *(await redis(settings) if uses_redis else ())]
    lines = [
        f"  {one.part}, {one.check}: {one.found} {one.remedy}" for one in found if one.is_fatal
    ]
    if lines:
        raise ConfigurationError(
            "Rollbook doesn't start, because its promises don't hold on these servers:\n"
            + "\n".join(lines)
        )


async def examine(settings: Settings) -> list[Finding]:
    """The findings about servers, clocks, file store and folders, as this machine sees them."""
    return [
        *await postgresql(settings),
        *await redis(settings),
        *await _store(settings),
        *_folders(settings),
    ]


# --- PostgreSQL -----------------------------------------------------------------------------------


async def postgresql(settings: Settings) -> list[Finding]:
    """The findings about PostgreSQL, and this machine's clock beside it."""
    part = "PostgreSQL"
    try:
        async with asyncio.timeout(3 * ANSWER_S), await _connected(settings) as connection:
            before = clock.now()
            row = await _one(connection, "server")
            difference_s = clocks.ahead_s(before, row["now"], clock.now())
            found = [
                Finding(part, "connection", "ok", "it answers"),
                *_server(row),
                *await _schema(connection, row),
                await _pooler(settings),
            ]
    except TimeoutError:
        return [Finding(part, "connection", "error", "no answer in time", "Is it busy?")]
    except psycopg.errors.InsufficientPrivilege as error:
        remedy = "Make Rollbook's role the owner of the database and its tables (REASSIGN OWNED)."
        return [Finding(part, "privileges", "error", reason(error), remedy)]
    except psycopg.Error as error:
        remedy = (
            "Is it started, and is DATABASE_URL right? A database that isn't there is made with "
            "`createdb --owner rollbook rollbook`."
        )
        return [Finding(part, "connection", "error", reason(error), remedy)]
    return [*found, _clock(settings, difference_s)]


async def _connected(settings: Settings) -> _Connection:
    """A connection in which every statement is a transaction of its own."""
    return await psycopg.AsyncConnection.connect(
        settings.database_address,
        row_factory=dict_row,
        autocommit=True,
        prepare_threshold=None,
        application_name="rollbook-doctor",
        # Without it a database in SQL_ASCII answers with bytes.
        client_encoding="utf8",
        connect_timeout=CONNECT_TIMEOUT_S,
    )


async def _one(connection: _Connection, query: str, **parameters: Any) -> Row:
    row = await (await connection.execute(_SQL[query], parameters)).fetchone()
    assert row is not None
    return row


def _server(row: Row) -> Iterator[Finding]:
    part = "PostgreSQL"
    yield _checked(
        (part, "version", row["version_text"]),
        bad=row["version"] < OLDEST_POSTGRESQL,
        remedy=f"Rollbook needs {OLDEST_POSTGRESQL // 10000} or newer.",
        is_fatal=True,
    )
    yield _checked(
        (part, "encoding", row["encoding"]),
        bad=row["encoding"] != "UTF8",
        remedy="Names would be lost. Make a database with ENCODING 'UTF8'.",
        is_fatal=True,
    )
    knows_letters = row["knows_letters"] or row["encoding"] != "UTF8"
    yield _checked(
        (part, "locale", "all letters" if knows_letters else f"{row['locale']}: only a to z"),
        bad=not knows_letters,
        remedy="It doesn't know that É and é are one letter, so names with accents aren't found. "
        "Make a database with another one: createdb --template=template0 --locale=C.UTF-8.",
    )
    yield _checked(
        (part, "changes", "read-only" if row["is_read_only"] else "accepted"),
        bad=row["is_read_only"],
        remedy="This is a standby, or a role that may only read. Name the primary in DATABASE_URL "
        "(target_session_attrs=read-write finds it).",
        is_fatal=True,
    )
    unsafe = [name for name in ("fsync", "full_page_writes") if row[name] == "off"]
    if row["synchronous_commit"] == "off":
        unsafe.append("synchronous_commit")
    yield _checked(
        (part, "durability", f"{', '.join(unsafe)} off" if unsafe else "each commit is on disk"),
        bad=bool(unsafe),
        remedy="A power cut can lose what was answered as stored. Switch them on.",
    )
    timeout = row["statement_timeout"]
    yield _checked(
        (part, "statement_timeout", "none" if timeout == "0" else timeout),
        bad=timeout != "0",
        level="warning",
        remedy="It ends the merge of a large file. ALTER ROLE ... SET statement_timeout = 0 for "
        "Rollbook's role; Rollbook has limits of its own.",
    )
    yield _checked(
        (part, "max_connections", str(row["max_connections"])),
        bad=row["max_connections"] < FEW_CONNECTIONS,
        level="warning",
        remedy="Each process uses up to 10 connections, and each running job one more.",
    )
    missing = [
        what
        for what, is_there in (
            ("CREATE on its schema", row["may_create"]),
            ("TEMPORARY", row["may_stage"]),
        )
        if not is_there
    ]
    yield _checked(
        (part, "privileges", f"without {' and '.join(missing)}" if missing else "sufficient"),
        bad=bool(missing),
        remedy="Make Rollbook's role the owner of the database.",
    )


async def _schema(connection: _Connection, server: Row) -> list[Finding]:
    part, check = "PostgreSQL", "schema"
    if not server["is_migrated"]:
        return [Finding(part, check, "error", "none yet", "Run `rollbook migrate`.")]
    current = (await _one(connection, "revision"))["version_num"]
    foreign = (await _one(connection, "foreign_tables"))["tables"]
    return [
        _checked(
            (part, check, f"revision {current}"),
            bad=current < SCHEMA_REVISION,
            remedy=f"This version needs {SCHEMA_REVISION}. Run `rollbook migrate`.",
        ),
        _checked(
            (part, "owner", f"{foreign} tables of another role" if foreign else "its own tables"),
            bad=foreign > 0,
            level="warning",
            remedy="The next migration would fail. Let Rollbook's role own them (REASSIGN OWNED).",
        ),
    ]


async def _pooler(settings: Settings) -> Finding:
    """Whether a connection is one session of the server, or each transaction is in any.

    Two clients that take turns meet in one session of the server where a pooler gives sessions out
    by transaction: one then finds the other's mark.
    """
    mark = secrets.token_hex(8)
    async with await _connected(settings) as one, await _connected(settings) as other:
        pids = {(await _one(one, "note", mark=mark))["pid"]}
        met = False
        for _ in range(3):
            seen = await _one(other, "noted")
            pids.add((await _one(one, "noted"))["pid"])
            met = met or seen["mark"] == mark or seen["pid"] in pids
        await one.execute("RESET rollbook.probe")
    return _checked(
        ("PostgreSQL", "sessions", "shared between clients" if met or len(pids) > 1 else "its own"),
        bad=met or len(pids) > 1,
        remedy="A pooler shares sessions between clients by transaction or statement, and locks "
        "and settings of a session get lost. Set pool_mode = session for Rollbook's database.",
        is_fatal=True,
    )


def _clock(settings: Settings, ahead_s: float) -> Finding:
    side = "ahead of" if ahead_s > 0 else "behind"
    return _checked(
        (
            "this machine",
            "clock",
            f"{abs(ahead_s):.0f} s {side} PostgreSQL's" if abs(ahead_s) > 1 else "as PostgreSQL's",
        ),
        bad=abs(ahead_s) > settings.clock_tolerance_s,
        remedy="Set both clocks (NTP does it). Until then nothing is removed by age.",
    )


# --- Redis ----------------------------------------------------------------------------------------


async def redis(settings: Settings) -> list[Finding]:
    """The findings about Redis."""
    part = "Redis"
    client = make_client(settings.redis_address, answer_s=ANSWER_S)
    try:
        async with asyncio.timeout(ANSWER_S):
            await client.ping()
            found = [Finding(part, "connection", "ok", "it answers")]
            try:
                return [*found, *_redis(await client.info())]
            except NoPermissionError:
                return [
                    *found,
                    Finding(
                        part,
                        "settings",
                        "warning",
                        "its user may not run INFO",
                        "Check by hand that maxmemory-policy is noeviction and that it is no "
                        "Cluster, or allow +info.",
                    ),
                ]
    except (RedisError, OSError, TimeoutError) as error:
        # Messages of redis-py name hosts and ports, and no passwords.
        said = str(error) or type(error).__name__
        remedy = "Is it started, and is REDIS_URL right?"
        return [Finding(part, "connection", "error", said, remedy)]
    finally:
        await client.aclose()


def _redis(info: dict[str, Any]) -> Iterator[Finding]:
    part = "Redis"
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
    yield _checked(
        (part, "version", version),
        bad=numbers < OLDEST_REDIS,
        remedy="Rollbook needs Redis 6.2 or newer, or Valkey.",
        is_fatal=True,
    )
    is_cluster = bool(info.get("cluster_enabled"))
    yield _checked(
        (part, "mode", "cluster" if is_cluster else "one server"),
        bad=is_cluster,
        remedy="Uploads would wait for ever: the queue needs all its keys on one server. Use one "
        "server, or Sentinels.",
        is_fatal=True,
    )
    policy = str(info.get("maxmemory_policy", ""))
    evicts_all = policy.startswith("allkeys")
    yield _checked(
        (part, "maxmemory-policy", policy or "unknown"),
        bad=policy != "noeviction",
        level="error" if evicts_all else "warning",
        remedy="It may remove jobs when memory runs short. Set maxmemory-policy noeviction.",
        is_fatal=evicts_all,
    )
    role = info.get("role")
    yield _checked(
        (part, "role", str(role)),
        bad=role != "master",
        remedy="It takes no changes. Name the master, or the Sentinels.",
        is_fatal=True,
    )
    yield _checked(
        (part, "persistence", "appendonly" if info.get("aof_enabled") else "no append-only file"),
        bad=not info.get("aof_enabled"),
        level="warning",
        remedy="After a restart, waiting uploads are queued again from PostgreSQL, which takes a "
        "while. Set appendonly yes.",
    )


# --- file store and folders -----------------------------------------------------------------------


async def _store(settings: Settings) -> list[Finding]:
    part = "file store"
    try:
        store = FileStore.of(settings)
        await asyncio.to_thread(_write_and_read, store)
        found = [Finding(part, "write and read", "ok", store.url)]
    except RollbookError as error:
        remedy = "Is ROLLBOOK_STORE_URL right, is it mounted, and may this user write there?"
        return [Finding(part, "write and read", "error", error.message, remedy)]
    installation = await _installation(settings)
    if installation is not None:
        is_ours = await store.is_of(installation)
        found.append(
            _checked(
                (part, "installation", "this one" if is_ours else "another one, or an empty store"),
                bad=not is_ours,
                remedy="Is it mounted, and is ROLLBOOK_STORE_URL the same on all machines?",
            )
        )
    return found


def _write_and_read(store: FileStore) -> None:
    # The second folder holds the installation's mark, and the file that tells the store's time.
    for folder in ("doctor", "installations"):
        _write_and_read_in(store, f"{folder}/doctor-{secrets.token_hex(8)}")


def _write_and_read_in(store: FileStore, key: str) -> None:
    content = secrets.token_bytes(1024)
    with tempfile.TemporaryDirectory(prefix="rollbook-doctor-") as folder:
        source, target = Path(folder) / "written", Path(folder) / "read"
        source.write_bytes(content)
        store.put(key, source)
        try:
            store.fetch(key, target)
        finally:
            store.discard(key)
        if target.read_bytes() != content:
            raise ConfigurationError("The file store gave back other bytes than were written.")


async def _installation(settings: Settings) -> Any:
    """The installation's id, where PostgreSQL has it and the store was marked with it."""
    try:
        async with await _connected(settings) as connection:
            found = await (await connection.execute(queries("store")["installation"])).fetchone()
    except psycopg.Error:
        return None
    return found["id"] if found is not None and found["is_marked"] else None


def _folders(settings: Settings) -> Iterator[Finding]:
    part = "this machine"
    folder = settings.data_dir if settings.data_dir.is_dir() else Path.cwd()
    free_mb = shutil.disk_usage(folder).free >> 20
    yield _checked(
        (part, "scratch folder", f"{free_mb} MB free"),
        bad=free_mb < settings.scratch_free_mb,
        remedy="A worker takes no job with less than ROLLBOOK_SCRATCH_FREE_MB.",
    )
    if settings.secret_key is None and settings.given_database_address is not None:
        yield Finding(
            part,
            "secret key",
            "warning",
            "made by this machine",
            "With several machines set ROLLBOOK_SECRET_KEY to the same on all of them, or each "
            "refuses the others' sign-ins.",
        )


def _checked(
    what: tuple[str, str, str],
    *,
    bad: bool,
    remedy: str,
    level: Level = "error",
    is_fatal: bool = False,
) -> Finding:
    """A finding that is ``ok``, or ``level`` where it is bad."""
    part, check, found = what
    if not bad:
        return Finding(part, check, "ok", found)
    return Finding(part, check, level, found, remedy, is_fatal)
