"""Cut-offs come from PostgreSQL's clock, not from a machine's own."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from psycopg import sql

from rollbook import clock
from rollbook.accounts import sessions, users
from rollbook.backends.database import connect
from rollbook.errors import ClockDiffersError, NotAuthenticatedError, TooManySignInsError
from rollbook.model import Role, Scope
from rollbook.service import clocks
from rollbook.service.system import open_system
from rollbook.telemetry import metrics
from rollbook.uploads import reconciler, retention, undo
from tests.conftest import PASSWORD
from tests.files import csv_file, member
from tests.integration.folder.watching import until, watching
from tests.integration.worker.test_worker import ended, grow_old, sent, working
from tests.listening import Site, quick
from tests.pipeline_run import open_site

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


def move(monkeypatch: pytest.MonkeyPatch, **ahead: float) -> None:
    """Set this machine's clock wrong."""
    true_now, by = clock.now, dt.timedelta(**ahead)
    monkeypatch.setattr(clock, "now", lambda: true_now() + by)


@pytest.mark.parametrize("days", [400, -400])
async def test_a_wrong_clock_of_a_worker_purges_nothing_and_is_said(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch,
    days: int,
) -> None:  # fmt: skip
    user = await make_user()
    async with working(system):
        upload_id = await sent(system, user, csv_file(3))
        before = await ended(system, user, upload_id)
    move(monkeypatch, days=days)
    for dry_run in (False, True):
        with pytest.raises(ClockDiffersError, match=r"34(559|560)\d\d\d seconds"):
            await retention.run_once(system, dry_run=dry_run)
    with pytest.raises(ClockDiffersError):
        await retention.clean_up(system, user, older_than_days=7, dry_run=False)
    assert await system.store.has(before["report_key"])
    with connect(settings.database_address) as connection:
        rows = connection.execute("SELECT count(*) AS rows FROM audit_entries").fetchone()
    assert rows is not None
    assert rows["rows"] > 0
    await clocks.compare(system)
    said = REGISTRY.get_sample_value("rollbook_clock_difference_seconds")
    assert said == pytest.approx(days * 86400, abs=60)


async def test_a_clock_within_the_tolerance_is_good_enough(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(monkeypatch, seconds=50)
    assert await retention.run_once(system) is not None
    move(monkeypatch, seconds=20)  # 70 in all
    with pytest.raises(ClockDiffersError):
        await retention.run_once(system)


async def test_what_can_be_undone_is_said_by_postgresql(
    system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user(Role.NATIONAL_ADMIN)
    async with working(system):
        upload_id = await sent(system, user, csv_file(3))
        await ended(system, user, upload_id)
    move(monkeypatch, days=400)
    assert (await undo.undo(system, user, upload_id, dry_run=True)).counts.removed == 3


def test_the_day_by_which_a_file_is_judged_is_postgresqls(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payment in the future is doubtful; a worker's clock may not decide what is the future."""
    headers = ("ID Number", "Firstname", "Surname", "Last Payment")
    content = csv_file([{**member(1), "Last Payment": "2026-01-31"}], headers=headers)
    with open_site(database_url, tmp_path) as site:  # in this process, whose clock is moved
        move(monkeypatch, days=-4000)
        assert site.send(content, "members.csv").upload["warnings"] == {}


async def test_a_job_that_a_worker_with_a_wrong_clock_put_back_is_not_delayed_for_a_year(
    make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    quick = settings.model_copy(update={"lock_wait_s": 0.05})
    async with open_system(quick) as opened:
        with connect(settings.database_address) as holding:
            await asyncio.to_thread(holding.execute, "LOCK TABLE members")
            upload_id = await sent(opened, user, csv_file(3))
            with monkeypatch.context() as wrong:
                move(wrong, days=400)
                async with working(opened):
                    await until(lambda: _is_delayed(opened, upload_id))
        async with working(opened):
            await reconciler.run_once(opened)
            assert (await ended(opened, user, upload_id))["status"] == "completed"


async def _is_delayed(system: System, upload_id: UUID) -> bool:
    return await system.queue.state(upload_id) == "delayed"


async def test_a_delay_that_is_no_longer_than_it_may_be_stays(
    system: System, make_user: MakeUser
) -> None:
    upload_id = await sent(system, await make_user(), csv_file(3))
    key = f"bull:{system.settings.queue_name}"
    soon = int((clock.now() + dt.timedelta(minutes=50)).timestamp() * 1000)
    await system.redis.zrem(f"{key}:prioritized", str(upload_id))
    await system.redis.zadd(f"{key}:delayed", {str(upload_id): soon * 4096})
    await grow_old(system.settings)
    await reconciler.run_once(system)
    assert await _is_delayed(system, upload_id)


async def test_failed_sign_ins_noted_by_a_wrong_clock_lock_nobody_out(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    with monkeypatch.context() as wrong:
        move(wrong, days=400)
        for _ in range(settings.sign_in_failures):
            with pytest.raises(NotAuthenticatedError):
                await users.sign_in(system.pool, settings, user.email, "wrong")
        with pytest.raises(TooManySignInsError):
            await users.sign_in(system.pool, settings, user.email, PASSWORD)
    await users.sign_in(system.pool, settings, user.email, PASSWORD)


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("process", ["api", "watcher"])
async def test_every_process_says_that_its_clock_differs(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, process: str
) -> None:
    metrics.CLOCK_DIFFERENCE.set(0)
    move(monkeypatch, hours=3)

    async def is_said() -> bool:
        said = REGISTRY.get_sample_value("rollbook_clock_difference_seconds")
        return said == pytest.approx(3 * 3600, abs=60)

    if process == "api":
        async with Site(quick(settings)):
            await until(is_said)
    else:
        watched = settings.model_copy(update={"watch_dir": folder})
        async with open_system(watched) as opened, watching(opened):
            await until(is_said)


async def test_a_password_set_by_a_machine_whose_clock_is_ahead_lets_its_owner_in_at_once(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    before, _ = await users.sign_in(system.pool, settings, user.email, PASSWORD)
    with monkeypatch.context() as wrong:
        move(wrong, hours=3)
        await users.set_password(system.pool, user.email, "seven quiet pelicans")
    token, _ = await users.sign_in(system.pool, settings, user.email, "seven quiet pelicans")
    assert (await users.session(system.pool, settings, token)).user == user
    with pytest.raises(NotAuthenticatedError):  # what was issued before it has ended
        await users.session(system.pool, settings, before)


@pytest.mark.parametrize("act", ["password", "role"])
@pytest.mark.parametrize("hours", [-3, 3])
async def test_sessions_that_began_by_another_clock_end_too(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch,
    hours: int, act: str,
) -> None:  # fmt: skip
    """The machine at which they began may be ahead, or the one that ends them behind."""
    user = await make_user()
    with monkeypatch.context() as wrong:
        if hours > 0:
            move(wrong, hours=hours)
        token = await signed_in(system, settings, user)
    with monkeypatch.context() as wrong:
        if hours < 0:
            move(wrong, hours=hours)
        await end_all(system, user, act)
    if hours > 0:  # the machine at which it began knows it the longest
        move(monkeypatch, hours=hours)
    with pytest.raises(NotAuthenticatedError):
        await users.session(system.pool, settings, token)


async def signed_in(system: System, settings: Settings, user: User) -> str:
    """A token of a session that is recorded, as the API does it."""
    token, _ = await users.sign_in(system.pool, settings, user.email, PASSWORD)
    begun = await users.session(system.pool, settings, token)
    await sessions.note(system.pool, settings, begun)
    return token


async def end_all(system: System, user: User, act: str) -> None:
    """Do what ends an account's sessions."""
    if act == "password":
        await users.set_password(system.pool, user.email, "seven quiet pelicans")
    else:
        await users.set_role(system.pool, user.email, Role.SUPER_ADMIN, Scope())


@pytest.fixture
def set_back(settings: Settings) -> Callable[[dt.timedelta], None]:
    """Set PostgreSQL's clock back for new sessions, by functions that come before its own."""

    def move_back(by: dt.timedelta) -> None:
        with connect(settings.database_address) as connection:
            connection.execute("CREATE SCHEMA earlier")
            for name in ("now", "clock_timestamp", "statement_timestamp", "transaction_timestamp"):
                connection.execute(
                    sql.SQL(
                        "CREATE FUNCTION earlier.{0}() RETURNS timestamptz LANGUAGE sql AS {1}"
                    ).format(
                        sql.Identifier(name),
                        f"SELECT pg_catalog.{name}() - interval '{by.total_seconds()} s'",
                    )
                )
            row = connection.execute("SELECT current_database() AS name").fetchone()
            assert row is not None
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET search_path = earlier, pg_catalog, public").format(
                    sql.Identifier(row["name"])
                )
            )

    return move_back


async def test_uploads_undos_and_sign_ins_go_on_when_postgresqls_clock_jumps_back(
    make_user: MakeUser,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    set_back: Callable[[dt.timedelta], None],
) -> None:
    """All machines go back together, as with one host. What was recorded is in the future then."""
    user = await make_user()
    people = [member(n) for n in range(3)]
    async with open_system(settings) as system, working(system):
        first = await sent(system, user, csv_file(people))
        assert (await ended(system, user, first))["status"] == "completed"
        await users.sign_in(system.pool, settings, user.email, PASSWORD)
        waiting = await sent(system, user, csv_file([*people, member(7)]))
        assert (await ended(system, user, waiting))["status"] == "completed"
    async with open_system(settings) as system:
        left = await sent(system, user, csv_file([*people, member(8)]))
    set_back(dt.timedelta(hours=2))
    move(monkeypatch, hours=-2)
    async with open_system(settings) as system:
        assert abs((await clocks.now(system.pool) - clock.now()).total_seconds()) < 30
        async with working(system):
            await users.sign_in(system.pool, settings, user.email, PASSWORD)
            later = await sent(system, user, csv_file([*people, member(9)]))
            for upload_id in (left, later):
                upload = await ended(system, user, upload_id)
                assert upload["status"] == "completed", upload["error"]
            done = await undo.undo(system, user, first, dry_run=False)
            assert (done.counts.removed, done.counts.later_upload) == (0, 3)
            done = await undo.undo(system, user, later, dry_run=False)
            assert done.counts.removed == 1
            purged = await retention.run_once(system)
            assert purged is not None
            assert (purged.reports, purged.rows, purged.audit_entries) == (0, 0, 0)
            with pytest.raises(NotAuthenticatedError):
                await users.sign_in(system.pool, settings, user.email, "wrong")
            await users.sign_in(system.pool, settings, user.email, PASSWORD)
            assert await reconciler.run_once(system) is not None
