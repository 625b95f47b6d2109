"""Two things at once: a download and retention, an undo and the next merge, workers of one name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect
from rollbook.errors import BusyError
from rollbook.model import Role
from rollbook.service.system import open_system
from rollbook.uploads import lookup, retention, undo
from rollbook.worker import process
from tests.files import csv_file, members
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, in_members, sent, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

#: The lock at which a merge waits after it has written its members.
HELD = 4_242


async def test_workers_of_one_name_merge_each_upload_once(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "new_name", lambda: "copied-machine-1-000000")
    user = await make_user()
    async with (
        open_system(settings) as first,
        open_system(settings) as second,
        working(first),
        working(second),
    ):
        uploads = [await sent(system, user, csv_file(members(20, start=100 * n))) for n in range(6)]
        found = [await ended(system, user, upload_id) for upload_id in uploads]
    assert [(one["status"], one["attempt"], one["inserted"]) for one in found] == [
        ("completed", 1, 20)
    ] * 6
    assert len(in_members(settings)) == 120


async def test_a_download_that_has_begun_is_whole_although_retention_removes_the_report(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system):
        upload_id = await sent(system, user, csv_file(members(5_000)))
        upload = await ended(system, user, upload_id)
    size, chunks = await system.store.open(upload["report_key"])
    content = await anext(chunks)
    assert len(content) < size  # there is more to come
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET finished_at = now() - interval '400 days'")
    assert await retention.run_once(system) is not None
    assert not await system.store.has(upload["report_key"])
    async for chunk in chunks:
        content += chunk
    assert len(content) == size
    # Who asks with what was known before gets a sentence.
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {issue_token(settings, user)}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
        ) as api,
    ):
        answer = await api.get(f"/api/v1/bulk-upload/report/{upload_id}")
    assert answer.status_code == 404
    assert "removed" in answer.json()["detail"]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_undo_while_the_next_upload_of_the_same_people_merges_removes_none_of_them(
    moment: str, make_user: MakeUser, settings: Settings
) -> None:
    """The merge has written its members, or is about to; neither waits for the other for good."""
    quick = settings.model_copy(update={"undo_lock_wait_s": 1, "backoff_ms": 200})
    user = await make_user(Role.SUPER_ADMIN)
    with connect(settings.database_address) as connection:
        connection.execute(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM"
            f" pg_advisory_xact_lock_shared({HELD}); RETURN NULL; END $$".encode()
        )
        when = moment.upper()
        connection.execute(
            f"CREATE TRIGGER hold {when} INSERT ON members FOR EACH STATEMENT"
            " EXECUTE FUNCTION hold()".encode()
        )
    async with open_system(quick) as system, working(system):
        first = await sent(system, user, csv_file(members(50)))
        assert (await ended(system, user, first))["inserted"] == 50
        with connect(settings.database_address) as holding:
            holding.execute("SELECT pg_advisory_xact_lock(%s)", (HELD,))
            second = await sent(system, user, csv_file(members(55)))

            async def waits() -> bool:
                row = holding.execute(
                    "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
                ).fetchone()
                return row is not None

            await until(waits)
            undoing = asyncio.create_task(_undo(system, user, first))
            await asyncio.wait({undoing}, timeout=3)
            holding.rollback()
        kept = await undoing
        upload = await ended(system, user, second)
        assert upload["status"] == "completed", upload["error"]
        if kept is None:  # it was busy, and is tried again
            kept = await _undo(system, user, first)
        assert kept is not None
        assert (kept.counts.removed, kept.counts.later_upload) == (0, 50)
        assert (await lookup.get(system, user, second))["undone_at"] is None
    assert len(in_members(settings)) == 55


async def _undo(system: System, user: User, upload_id: Any) -> Any:
    """What an undo did; None where it was told to try again."""
    try:
        return await undo.undo(system, user, upload_id, dry_run=False)
    except BusyError:
        return None
