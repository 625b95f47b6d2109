"""Connections to PostgreSQL and the named queries of ``sql/``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from rollbook.backends.watched import WatchedConnection, watch, watch_wait
from rollbook.config.bounds import KeepAlive
from rollbook.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from psycopg.abc import PQGen
    from psycopg.abc import QueryNoTemplate as Query

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]
Pool = AsyncConnectionPool[Connection]
#: A connection, whose transaction a statement joins, or a pool, where it gets one of its own.
Where = Pool | Connection
Parameters = Mapping[str, Any] | None
Answer = TypeVar("Answer")

#: The schema revision that this code needs; ``schema.migrate`` upgrades to it.
SCHEMA_REVISION = "0059"
#: Timeout for a connection to PostgreSQL, in seconds.
CONNECT_TIMEOUT_S = 10
#: How long a transaction of a pool may do nothing, as a share of what a statement gets.
IDLE_SHARE = 0.5
#: The same for one that holds an advisory lock over other work, in seconds.
EXCLUSIVE_IDLE_S = 600.0
#: The errors that mean that PostgreSQL, or another part of the service, is unavailable.
UNAVAILABLE = (
    ServiceUnavailableError,
    psycopg.OperationalError,
    psycopg.errors.ReadOnlySqlTransaction,  # a standby, or one that an operator has closed
    psycopg.errors.IdleInTransactionSessionTimeout,  # this process was frozen
    PoolTimeout,
)


@cache
def queries(noun: str) -> Mapping[str, LiteralString]:
    """The queries of ``sql/<noun>.sql`` by name.

    A query begins with a line ``-- name: its_name`` and ends where the next one begins.
    """
    text = files("rollbook").joinpath("sql", f"{noun}.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    # The files are part of the package, so their text is as literal as a string in the code.
    return dict(zip(parts[::2], cast("list[LiteralString]", parts[1::2]), strict=True))


class AnswerTimeoutError(psycopg.OperationalError):
    """PostgreSQL didn't answer within the time that a statement gets."""


class _Bounded(psycopg.AsyncConnection[Row]):
    """A connection of which no statement waits without a bound.

    Keepalives find a machine that is gone. A server that is frozen still acknowledges what it gets,
    so that only a clock of our own ends the wait. A statement that may take as long as it needs is
    looked after instead: see ``watched``.
    """

    #: Seconds that PostgreSQL gets for each exchange; when ``is_unbounded``, between two looks.
    answer_s: float = 60
    is_unbounded = False
    #: Whether PostgreSQL works for this session; None when it can't be asked.
    is_at_work: Callable[[], bool | None] = staticmethod(lambda: None)

    async def wait(self, gen: PQGen[Answer], *args: Any, **more: Any) -> Answer:
        """Wait for an answer.

        Raises:
            AnswerTimeoutError: there was none in time; the statement is cancelled.
            OperationalError: it was lost on its way.
        """
        if self.is_unbounded:
            looks = asyncio.create_task(watch_wait(self, self.is_at_work, self.answer_s))
            try:
                return await super().wait(gen, *args, **more)
            finally:
                looks.cancel()
        try:
            async with asyncio.timeout(self.answer_s):
                return await super().wait(gen, *args, **more)
        except TimeoutError as error:
            raise AnswerTimeoutError(f"no answer within {self.answer_s:g} s") from error

    async def begin(self) -> None:
        """Begin a transaction now instead of with its first statement."""
        async with self.lock:
            await self.wait(self._start_query())


#: Whether what is taken from a pool is for one statement, which needs no transaction around it.
_is_for_one: ContextVar[bool] = ContextVar("is_for_one", default=False)


def unbounded(connection: Connection) -> None:
    """Let the statements of this transaction take as long as they need: they work on whole tables.

    While one does, PostgreSQL is asked over another connection whether it still works on it. A
    connection that the pool gives out is bounded again.
    """
    assert isinstance(connection, _Bounded)
    connection.is_unbounded = True


@asynccontextmanager
async def _cursor(
    where: Where, query: Query, parameters: Parameters
) -> AsyncIterator[psycopg.AsyncCursor[Row]]:
    if isinstance(where, psycopg.AsyncConnection):
        yield await where.execute(query, parameters)
        return
    async with AsyncExitStack() as stack:
        before = _is_for_one.set(True)
        try:
            connection = await stack.enter_async_context(where.connection())
        finally:
            _is_for_one.reset(before)
        yield await connection.execute(query, parameters)


async def execute(where: Where, query: Query, parameters: Parameters = None) -> int:
    """Run a statement and return the number of rows it changed."""
    async with _cursor(where, query, parameters) as cursor:
        return cursor.rowcount


async def fetch_one(where: Where, query: Query, parameters: Parameters = None) -> Row | None:
    """The first row of a query's result; None when it has no rows."""
    async with _cursor(where, query, parameters) as cursor:
        return await cursor.fetchone()


async def fetch_row(where: Where, query: Query, parameters: Parameters = None) -> Row:
    """The first row of a query that has one in any case, such as a count or a locked row."""
    row = await fetch_one(where, query, parameters)
    assert row is not None, "the query has a row in any case"
    return row


async def fetch_all(where: Where, query: Query, parameters: Parameters = None) -> list[Row]:
    """Every row of a query's result."""
    async with _cursor(where, query, parameters) as cursor:
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list is wanted."""

    #: From 1.
    page: int = 1
    page_size: int = 50

    def bounds(self) -> dict[str, int]:
        """The parameters ``limit`` and ``offset`` of a query."""
        return {"limit": self.page_size, "offset": (self.page - 1) * self.page_size}


FIRST_PAGE = Paging()


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list, the newest first."""

    rows: list[Row]
    #: Rows over all pages; an estimate of PostgreSQL's planner where ``is_exact`` is false.
    total: int
    is_exact: bool = True


async def fetch_page(
    where: Where, query: LiteralString, parameters: Mapping[str, Any], paging: Paging
) -> Listed:
    """One page of a query's result, each of whose rows has the total as ``found``."""
    bounds = paging.bounds()
    page = await fetch_all(where, query, {**parameters, **bounds})
    if page or not bounds["offset"]:
        return Listed(page, page[0]["found"] if page else 0)
    # Past the last page no row says the total: the first row does.
    row = await fetch_one(where, query, {**parameters, "limit": 1, "offset": 0})
    return Listed([], row["found"] if row else 0)


async def fetch_listed(
    where: Where,
    sql: Mapping[str, LiteralString],
    name: str,
    parameters: Mapping[str, Any],
    paging: Paging,
    *,
    most: int | None,
    known: int | None = None,
) -> Listed:
    """A page of a list that grows for years: read by an index, and counted up to a bound.

    Args:
        where: a connection or a pool.
        sql: has the query, and one whose rows are those of all pages: ``name`` and ``_counted``.
        name: it takes ``limit``, ``offset``, and where it has pages by key ``after`` (or null).
        parameters: the parameters of both.
        paging: which page.
        most: rows that are counted, at which ``_counted`` ends; the number of more is estimated.
            None: all are counted.
        known: rows over all pages, where the record has their number: none are counted then.
    """
    bounds, count = paging.bounds(), sql[f"{name}_counted"]
    rows = await fetch_all(where, sql[name], {**parameters, **bounds})
    is_first = parameters.get("after") is None and not bounds["offset"]
    if is_first and len(rows) < paging.page_size:
        return Listed(rows, len(rows))
    if known is not None:
        return Listed(rows, known)
    counting = f"SELECT count(*)::int AS found FROM ({count}) AS counted"  # noqa: S608 - our own
    bound = None if most is None else most + 1
    counted = await fetch_row(where, counting, {**parameters, "most": bound})
    if most is None or counted["found"] <= most:
        return Listed(rows, counted["found"])
    explained = await fetch_row(
        where, f"EXPLAIN (FORMAT JSON) {count}", {**parameters, "most": None}
    )
    [plan] = explained["QUERY PLAN"]
    return Listed(rows, max(counted["found"], int(plan["Plan"]["Plan Rows"])), is_exact=False)


async def lock(connection: Connection, name: str, *, is_shared: bool = False) -> None:
    """Wait for the advisory lock of this name, and hold it until the transaction ends."""
    await connection.execute(queries("locks")["share" if is_shared else "wait"], {"name": name})


@asynccontextmanager
async def exclusive(
    pool: Pool, lock: int | str, *, idle_s: float = EXCLUSIVE_IDLE_S
) -> AsyncIterator[Connection | None]:
    """A transaction that holds an advisory lock; None when another process holds that lock.

    PostgreSQL frees the lock when the holder does something else for ``idle_s`` seconds.
    """
    query = queries("locks")["exclusive_number" if isinstance(lock, int) else "exclusive_name"]
    async with pool.connection() as connection:
        parameters = {"lock": lock, "idle_ms": str(round(idle_s * 1000))}
        row = await fetch_one(connection, query, parameters)
        yield connection if row and row["locked"] else None


@contextmanager
def holding(connection: psycopg.Connection[Row], name: str, *, waits: bool) -> Iterator[bool]:
    """Hold an advisory lock over several transactions of a connection of its own.

    What isn't committed at the end is rolled back. PostgreSQL frees the lock when the connection
    ends.

    Yields:
        Whether it is held: without ``waits`` not where another connection holds it.

    Raises:
        psycopg.errors.LockNotAvailable: another one held it for longer than the connection waits.
    """
    locks, named = queries("locks"), {"name": name}
    row = connection.execute(locks["hold" if waits else "try_to_hold"], named).fetchone()
    connection.commit()
    is_held = row is not None and bool(row["locked"])
    try:
        yield is_held
    finally:
        if is_held:
            with suppress(psycopg.OperationalError):  # the connection is lost, and so is the lock
                connection.rollback()
                connection.execute(locks["let_go"], named)
                connection.commit()


#: Seconds that a connection of the pool gets to show that it is alive.
CHECK_S = 5.0
#: The most connections of a process, besides those for undoing.
POOL_CONNECTIONS = 10


def make_pool(
    address: str,
    *,
    min_size: int = 1,
    max_size: int = POOL_CONNECTIONS,
    keepalive: KeepAlive = KeepAlive(),  # noqa: B008 - frozen
    answer_s: float = 60,
    statement_timeout_s: float | None = None,
    lock_timeout_s: float | None = None,
) -> Pool:
    """A pool that isn't open yet; its connections commit by block and return dicts.

    A statement gets ``answer_s`` seconds. PostgreSQL itself ends one after ``statement_timeout_s``,
    or when it has waited for a lock for ``lock_timeout_s``.
    """
    settings = server_settings(
        keepalive,
        statement_timeout=statement_timeout_s,
        lock_timeout=lock_timeout_s,
        # A process that is frozen in a transaction, or whose connection has died behind a proxy,
        # gives its locks back while others still wait for them.
        idle_in_transaction_session_timeout=answer_s * IDLE_SHARE,
    )

    async def configure(connection: Connection) -> None:
        assert isinstance(connection, _Bounded)
        row = await fetch_row(connection, settings)
        connection.answer_s = answer_s
        connection.is_at_work = partial(_is_at_work, address, row["pid"])

    async def check(connection: Connection) -> None:
        assert isinstance(connection, _Bounded)
        connection.is_unbounded = False
        connection.answer_s = CHECK_S
        is_for_one = _is_for_one.get()
        try:
            if connection.autocommit != is_for_one:
                await connection.set_autocommit(is_for_one)
            # A statement commits by itself, in one exchange instead of three. A transaction's
            # begin says as much as an empty statement.
            await (connection.execute("") if is_for_one else connection.begin())
        finally:
            connection.answer_s = answer_s

    return AsyncConnectionPool(
        address,
        connection_class=_Bounded,
        kwargs={
            "row_factory": dict_row,
            "autocommit": True,  # until ``check``
            "application_name": "rollbook",
            # psycopg's own is 130 s, and the pool connects three at a time: after a server that
            # was frozen, or a network that swallowed packets, it would wait for so long.
            "connect_timeout": CONNECT_TIMEOUT_S,
            **client_settings(keepalive),
        },
        min_size=min_size,
        max_size=max_size,
        timeout=10,
        reconnect_timeout=60,
        configure=configure,
        check=check,
        open=False,
    )


def connect(
    address: str,
    *,
    name: str = "rollbook-child",
    keepalive: KeepAlive = KeepAlive(),  # noqa: B008 - frozen
    lock_timeout_s: float | None = None,
    answer_s: float | None = None,
) -> psycopg.Connection[Row]:
    """One blocking connection, for the child process and the command line.

    ``pg_stat_activity`` shows it by its name. PostgreSQL ends a statement that has waited for a
    lock for ``lock_timeout_s``. After ``answer_s`` seconds without an answer, PostgreSQL is asked
    over another connection whether it still works on the statement; None asks never.

    Raises:
        ServiceUnavailableError: PostgreSQL doesn't answer.
    """
    settings = server_settings(
        keepalive,
        # The server notices within a second that a killed child is gone, and frees its locks.
        client_connection_check_interval=1.0,
        lock_timeout=lock_timeout_s,
    )
    try:
        connection = WatchedConnection.connect(
            address,
            row_factory=dict_row,
            autocommit=True,
            application_name=name,
            connect_timeout=CONNECT_TIMEOUT_S,
            **client_settings(keepalive),
        )
        # By statements: a pooler refuses a connection that asks for settings as it begins.
        row = connection.execute(settings).fetchone()
        connection.autocommit = False
        if answer_s is not None and row is not None:
            watch(connection, partial(_is_at_work, address, row["pid"]), answer_s)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            f"PostgreSQL doesn't answer: {reason(error)}. Nothing was changed; try again when it "
            "is back."
        ) from error
    return connection


def _is_at_work(address: str, pid: int) -> bool | None:
    """Whether a session works on a statement; None when PostgreSQL can't be asked now."""
    try:
        with WatchedConnection.connect(
            address,
            row_factory=dict_row,
            application_name="rollbook-watch",
            connect_timeout=CONNECT_TIMEOUT_S,
        ) as asking:
            # Its own answers may be lost too: nothing looks after them but a clock.
            watch(asking, lambda: False, CHECK_S)
            row = asking.execute(queries("sessions")["is_at_work"], {"pid": pid}).fetchone()
    except psycopg.Error:
        return None
    return row is not None and bool(row["is_at_work"])


def client_settings(keepalive: KeepAlive) -> dict[str, Any]:
    """How this end notices that the server is gone."""
    return {
        "keepalives": 1,
        "keepalives_idle": keepalive.idle_s,
        "keepalives_interval": keepalive.interval_s,
        "keepalives_count": keepalive.count,
        "tcp_user_timeout": keepalive.user_timeout_s * 1000,
    }


@cache
def server_settings(keepalive: KeepAlive, **limits: float | None) -> bytes:
    """How the server notices that we are gone, which frees what we have locked; and its limits."""
    values = {
        "tcp_keepalives_idle": keepalive.idle_s,
        "tcp_keepalives_interval": keepalive.interval_s,
        "tcp_keepalives_count": keepalive.count,
        "tcp_user_timeout": keepalive.user_timeout_s * 1000,
        # A child computes within its transaction. What we hold ends by limits of our own.
        "idle_in_transaction_session_timeout": 0,
        # No day or interval depends on how the server is set up, or on summer time.
        "TimeZone": "UTC",
        # A plan for any scope reads all uploads, where one for a small office uses its index.
        "plan_cache_mode": "force_custom_plan",
        **{name: round(value * 1000) for name, value in limits.items() if value is not None},
    }
    each = [
        sql.SQL("set_config({}, {}, false)").format(name, str(value))
        for name, value in values.items()
    ]
    # A pooler gives its clients process ids of its own.
    return sql.SQL("SELECT {}, pg_backend_pid() AS pid").format(sql.SQL(", ").join(each)).as_bytes()


def reason(error: psycopg.Error) -> str:
    """What PostgreSQL or libpq gave as the reason, in one line with the SQLSTATE."""
    said = error.diag.message_primary or str(error) or type(error).__name__
    line = said.strip().partition("\n")[0]  # the next ones are hints, or repeat it
    return f"{line} (SQLSTATE {error.sqlstate})" if error.sqlstate else line


def has_schema(address: str) -> bool:
    """Does the database have the schema that this code needs, or a newer one?

    Quick, whereas importing ``schema.migrate`` takes a second.

    Raises:
        ServiceUnavailableError: PostgreSQL doesn't answer.
    """
    with connect(address) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except psycopg.errors.UndefinedTable:
            return False
    return row is not None and row["version_num"] >= SCHEMA_REVISION
