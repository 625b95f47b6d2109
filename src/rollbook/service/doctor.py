"""Checks of what Rollbook runs on: PostgreSQL, Redis, clocks, file store and folders.

``rollbook doctor`` shows every finding. A process refuses to start with one that makes a promise of
``docs/explanation/guarantees.md`` untrue.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from rollbook import clock
from rollbook.backends.database import (
    CONNECT_TIMEOUT_S,
    POOL_CONNECTIONS,
    SCHEMA_REVISION,
    queries,
    reason,
)
from rollbook.backends.redis import make_client
from rollbook.errors import ConfigurationError
from rollbook.service import clocks
from rollbook.service.doctor_store import store_findings
from rollbook.service.findings import Finding, checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from redis.asyncio import Redis

    from rollbook.backends.database import Row
    from rollbook.config import Settings

#: The oldest versions that Rollbook works with; the first as ``server_version_num`` has it.
OLDEST_POSTGRESQL = 150000
OLDEST_REDIS = (6, 2)
#: Connections of operators and backups.
SPARE_CONNECTIONS = 3
#: Seconds that a server gets for an answer.
ANSWER_S = 10.0

#: What to do where Redis' own users are set up.
REDIS_RIGHTS = (
    "Allow its user the queue's keys and commands: ACL SETUSER rollbook on >password ~bull:* &* "
    "+@all -@admin -@dangerous +info"
)
#: What to do by what libpq, PostgreSQL or a pooler says, by the first pattern that fits. Before a
#: connection is there is no SQLSTATE, only a sentence.
_NO_CONNECTION = {
    r"database .*does not exist|no such database": (
        "Make it (`createdb --owner rollbook rollbook`, then `rollbook migrate`), or correct its "
        "name in DATABASE_URL."
    ),
    r"role .*does not exist|no such user": (
        "Make the role with `createuser --pwprompt rollbook`, or correct it in DATABASE_URL."
    ),
    r"password|SASL|authentication failed": (
        "Correct the password in DATABASE_URL. A character that means something in a URL is "
        "written as % and its code: @ is %40."
    ),
    r"pg_hba\.conf": "The server lets nobody in so: add a line for it to its pg_hba.conf.",
    r"SSL|certificate": "Correct sslmode and sslrootcert in DATABASE_URL.",
    r"too many (?:clients|connections)|connection slots": (
        "Raise its max_connections, or put a pooler by session before it."
    ),
    r"invalid (?:connection option|port|integer|URI)|Servname not supported": (
        "Write DATABASE_URL as postgresql://user:password@host:5432/database."
    ),
    r"resolve host|translate host": (
        "Correct the host in DATABASE_URL, or this machine's name server."
    ),
    r"timeout|timed out": "May this machine connect to it? A firewall drops packets silently.",
    r"starting up|in recovery": "Wait until it has started.",
    "": "Is it started, does it listen at this address, and is DATABASE_URL right?",
}
_NO_REDIS = {
    r"WRONGPASS|invalid username-password|invalid password|NOAUTH|Authentication required": (
        "Correct the user and the password in REDIS_URL (redis://user:password@host:6379/0) or "
        "REDIS_PASSWORD."
    ),
    r"NOPERM|no permissions": REDIS_RIGHTS,
    r"Name or service not known|name resolution|nodename": (
        "Correct the host in REDIS_URL, or this machine's name server."
    ),
    r"SSL|certificate": "Write rediss:// for TLS, redis:// without, and see REDIS_CA_FILE.",
    "": "Is it started, does it listen at this address, and is REDIS_URL right?",
}

_NO_CHANGES = {
    "permission|NOPERM": REDIS_RIGHTS,
    "maxmemory": "Its memory is used up. Raise maxmemory.",
    "MISCONF|disk": "It can't write to its disk, so it takes no changes. Make room on that disk.",
    "": "See what its log says: until it takes changes, uploads wait.",
}
#: A script as those of the queue.
_MAKE_AND_REMOVE = """
redis.call('XADD', KEYS[1], '*', 'rollbook', 'doctor')
return redis.call('DEL', KEYS[1])
"""

_SQL = queries("doctor")
_Connection = psycopg.AsyncConnection[dict[str, Any]]


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
        *await store_findings(settings, await _installation(settings)),
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
                *_server(settings, row),
                *await _schema(connection, row),
                await _pooler(settings),
            ]
    except TimeoutError:
        return [Finding(part, "connection", "error", "no answer in time", "Is it busy?")]
    except psycopg.errors.InsufficientPrivilege as error:
        remedy = "Make Rollbook's role the owner of the database and its tables (REASSIGN OWNED)."
        return [Finding(part, "privileges", "error", reason(error), remedy)]
    except psycopg.Error as error:
        said = reason(error)
        return [Finding(part, "connection", "error", said, _remedy(said, _NO_CONNECTION))]
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


def _server(settings: Settings, row: Row) -> Iterator[Finding]:
    part = "PostgreSQL"
    yield checked(
        (part, "version", row["version_text"]),
        bad=row["version"] < OLDEST_POSTGRESQL,
        remedy=f"Rollbook needs {OLDEST_POSTGRESQL // 10000} or newer.",
        is_fatal=True,
    )
    yield checked(
        (part, "encoding", row["encoding"]),
        bad=row["encoding"] != "UTF8",
        remedy="Names would be lost. Make a database with ENCODING 'UTF8'.",
        is_fatal=True,
    )
    knows_letters = row["knows_letters"] or row["encoding"] != "UTF8"
    yield checked(
        (part, "locale", "all letters" if knows_letters else f"{row['locale']}: only a to z"),
        bad=not knows_letters,
        remedy="It doesn't know that É and é are one letter, so names with accents aren't found. "
        "Make a database with another one: createdb --template=template0 --locale=C.UTF-8.",
    )
    yield checked(
        (part, "changes", "read-only" if row["is_read_only"] else "accepted"),
        bad=row["is_read_only"],
        remedy="This is a standby, or a role that may only read. Name the primary in DATABASE_URL "
        "(target_session_attrs=read-write finds it).",
        is_fatal=True,
    )
    unsafe = [name for name in ("fsync", "full_page_writes") if row[name] == "off"]
    if row["synchronous_commit"] == "off":
        unsafe.append("synchronous_commit")
    yield checked(
        (part, "durability", f"{', '.join(unsafe)} off" if unsafe else "each commit is on disk"),
        bad=bool(unsafe),
        remedy="A power cut can lose what was answered as stored. Switch them on.",
    )
    timeout = row["statement_timeout"]
    yield checked(
        (part, "statement_timeout", "none" if timeout == "0" else timeout),
        bad=timeout != "0",
        level="warning",
        remedy="It ends the merge of a large file. ALTER ROLE ... SET statement_timeout = 0 for "
        "Rollbook's role; Rollbook has limits of its own.",
    )
    of_process = POOL_CONNECTIONS + settings.undo_at_a_time
    of_jobs = settings.concurrency + 1
    yield checked(
        (part, "max_connections", str(row["max_connections"])),
        bad=row["max_connections"] < 2 * of_process + of_jobs + SPARE_CONNECTIONS,
        level="warning",
        remedy=f"With these settings an API or a worker opens up to {of_process} connections, and "
        f"the jobs of a worker {of_jobs} more. Raise max_connections (or the limit of the role or "
        "the database), or lower ROLLBOOK_CONCURRENCY and ROLLBOOK_UNDO_AT_A_TIME.",
    )
    missing = [
        what
        for what, is_there in (
            ("CREATE on its schema", row["may_create"]),
            ("TEMPORARY", row["may_stage"]),
        )
        if not is_there
    ]
    yield checked(
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
        checked(
            (part, check, f"revision {current}"),
            bad=current < SCHEMA_REVISION,
            remedy=f"This version needs {SCHEMA_REVISION}. Run `rollbook migrate`.",
        ),
        checked(
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
        first = await _one(one, "note", mark=mark)
        pids = {first["pid"]}
        met = False
        for _ in range(3):
            seen = await _one(other, "noted")
            pids.add((await _one(one, "noted"))["pid"])
            met = met or seen["mark"] == mark or seen["pid"] in pids
        await one.execute("RESET rollbook.probe")
        is_direct = first["port"] == _own_port(one)
    part, check = "PostgreSQL", "sessions"
    if met or len(pids) > 1:
        remedy = (
            "A pooler shares sessions between clients by transaction or statement, and locks and "
            "settings of a session get lost. Set pool_mode = session for Rollbook's database."
        )
        return Finding(part, check, "error", "shared between clients", remedy, is_fatal=True)
    if is_direct:
        return Finding(part, check, "ok", "its own")
    return Finding(
        part,
        check,
        "ok",
        "its own, through a pooler or a translated address",
        "A pooler must find clients whose machine is gone, or their locks stay: for PgBouncer "
        "tcp_keepidle = 10, tcp_keepintvl = 5, tcp_keepcnt = 3, tcp_user_timeout = 25000.",
    )


def _own_port(connection: _Connection) -> int | None:
    """The port that this end connects from; None for a Unix socket."""
    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        return None if own.family == socket.AF_UNIX else own.getsockname()[1]


def _remedy(said: str, remedies: Mapping[str, str]) -> str:
    return next(text for pattern, text in remedies.items() if re.search(pattern, said))


def _clock(settings: Settings, ahead_s: float) -> Finding:
    side = "ahead of" if ahead_s > 0 else "behind"
    return checked(
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
                found += _redis(await client.info())
            except NoPermissionError:
                remedy = (
                    "Check by hand that maxmemory-policy is noeviction and that it is no Cluster, "
                    "or allow +info."
                )
                said = "its user may not run INFO"
                found.append(Finding(part, "settings", "warning", said, remedy))
            if not any(one.is_fatal for one in found):  # a Cluster or a replica takes no changes
                found.append(await _queue(client, settings.queue_name))
            return found
    except (RedisError, OSError, TimeoutError) as error:
        # Messages of redis-py name hosts and ports, and no passwords.
        said = str(error) or type(error).__name__
        return [Finding(part, "connection", "error", said, _remedy(said, _NO_REDIS))]
    finally:
        await client.aclose()


async def _queue(client: Redis, name: str) -> Finding:
    """Whether the queue's commands may change its keys: a small stream is made and removed."""
    what = ("Redis", "queue")
    try:
        await client.eval(_MAKE_AND_REMOVE, 1, f"bull:{name}:doctor")
    except ResponseError as error:
        said = str(error)
        may_not = re.search(r"permission|NOPERM", said) is not None  # the rest passes
        return Finding(*what, "error", said, _remedy(said, _NO_CHANGES), is_fatal=may_not)
    return Finding(*what, "ok", "takes changes")


def _redis(info: dict[str, Any]) -> Iterator[Finding]:
    part = "Redis"
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
    yield checked(
        (part, "version", version),
        bad=numbers < OLDEST_REDIS,
        remedy="Rollbook needs Redis 6.2 or newer, or Valkey.",
        is_fatal=True,
    )
    is_cluster = bool(info.get("cluster_enabled"))
    yield checked(
        (part, "mode", "cluster" if is_cluster else "one server"),
        bad=is_cluster,
        remedy="Uploads would wait for ever: the queue needs all its keys on one server. Use one "
        "server, or Sentinels.",
        is_fatal=True,
    )
    policy = str(info.get("maxmemory_policy", ""))
    evicts_all = policy.startswith("allkeys")
    yield checked(
        (part, "maxmemory-policy", policy or "unknown"),
        bad=policy != "noeviction",
        level="error" if evicts_all else "warning",
        remedy="It may remove jobs when memory runs short. Set maxmemory-policy noeviction.",
        is_fatal=evicts_all,
    )
    role = info.get("role")
    yield checked(
        (part, "role", str(role)),
        bad=role != "master",
        remedy="It takes no changes. Name the master, or the Sentinels.",
        is_fatal=True,
    )
    yield checked(
        (part, "persistence", "appendonly" if info.get("aof_enabled") else "no append-only file"),
        bad=not info.get("aof_enabled"),
        level="warning",
        remedy="After a restart, waiting uploads are queued again from PostgreSQL, which takes a "
        "while. Set appendonly yes.",
    )


async def _installation(settings: Settings) -> UUID | None:
    """The installation's id, where PostgreSQL has it and the store was marked with it."""
    try:
        async with asyncio.timeout(ANSWER_S), await _connected(settings) as connection:
            found = await (await connection.execute(queries("store")["installation"])).fetchone()
    except (psycopg.Error, TimeoutError):
        return None
    return found["id"] if found is not None and found["is_marked"] else None


# --- this machine ---------------------------------------------------------------------------------


def _folders(settings: Settings) -> Iterator[Finding]:
    part = "this machine"
    folder = settings.data_dir if settings.data_dir.is_dir() else Path.cwd()
    free_mb = shutil.disk_usage(folder).free >> 20
    yield checked(
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
