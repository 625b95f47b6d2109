"""The migrations lead down to the first revision and up again, to the same schema."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import alembic.command
import pytest
from alembic.script import ScriptDirectory

from rollbook.backends import schema
from rollbook.backends.database import SCHEMA_REVISION, connect, has_schema
from rollbook.engines.postgres import programs
from rollbook.errors import ServiceUnavailableError
from rollbook.uploads.retention import run_once
from tests.files import csv_file
from tests.integration.backends.schema_text import described
from tests.integration.worker.test_worker import ended, sent, working
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

FIRST = "0001"


def dumped(address: str) -> list[str]:
    """The schema as pg_dump writes it, without the key that each dump makes up."""
    lines = subprocess.run(
        [programs() / "pg_dump", "--schema-only", "--dbname", address],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    return [line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))]


#: Revisions that change rows and leave the schema as it is.
DATA_ONLY = {"0018"}


async def test_down_by_each_revision_and_up_again_gives_the_same_schema_and_the_same_rows(
    system: System, settings: Settings, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each revision is compared by the catalogues, and the last one by pg_dump as well."""
    user = await make_user()
    address = settings.database_address
    with connect(address) as connection:
        account = connection.execute("SELECT * FROM users WHERE email = 'folder'").fetchone()
    assert account is not None
    async with working(system):
        for owner, rows in ((user, 2), (type(user).from_row(account), 3)):
            await ended(system, user, await sent(system, owner, csv_file(rows)))
    before = dumped(address), kept(address)
    down_and_up(address, monkeypatch)
    assert (dumped(address), kept(address)) == before
    assert await run_once(system) is not None


def down_and_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go through all revisions, down and up again, and compare what each makes."""
    script = ScriptDirectory.from_config(schema._config())
    # Alembic would read all revisions again for each one.
    monkeypatch.setattr(ScriptDirectory, "from_config", lambda _: script)
    revisions = [found.revision for found in script.walk_revisions()]  # the newest first
    assert (revisions[0], revisions[-1]) == (SCHEMA_REVISION, FIRST)
    texts = {}
    with schema._alembic(address) as (config, connection):
        for revision in revisions:
            alembic.command.downgrade(config, revision)
            connection.commit()
            texts[revision] = described(connection)
        assert len({tuple(text) for text in texts.values()}) == len(texts) - len(DATA_ONLY)
        for revision in reversed(revisions):
            alembic.command.upgrade(config, revision)
            connection.commit()
            assert described(connection) == texts[revision], revision


def kept(address: str) -> list[object]:
    """What must outlive the way down and up."""
    with connect(address) as connection:
        members = connection.execute("SELECT * FROM members ORDER BY id_number").fetchall()
        uploads = connection.execute(
            "SELECT id, owner_id, status, inserted FROM uploads ORDER BY ordinal"
        ).fetchall()
        users = connection.execute("SELECT * FROM users ORDER BY email").fetchall()
    for member in members:  # what an older schema has no room for
        assert member.pop("member_id") is not None
        del member["expiry_is_derived"], member["created_by_row"]
    return [members, uploads, users]


async def test_a_process_is_ready_on_a_schema_newer_than_itself_and_not_on_an_older_one(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    for revision, status in (("9999", 200), (FIRST, 503), (SCHEMA_REVISION, 200)):
        with connect(settings.database_address) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        assert (await api.get("/readyz")).status_code == status, revision
        assert has_schema(settings.database_address) == (status == 200)
        if status == 200:  # also for the version before, which is started again
            assert schema.migrate(settings.database_address) == revision


async def test_a_migration_by_another_process_is_said_and_waited_for_and_not_disturbed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that is made concurrently waits for statements that began before."""
    said = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Log:
        def warning(self, text: str, *, session: int) -> None:
            assert "waiting for another process" in text
            assert session == other.info.backend_pid
            loop.call_soon_threadsafe(said.set)

    monkeypatch.setattr(schema, "LOCK_S", 0.1)
    monkeypatch.setattr(schema, "log", Log())
    address = settings.database_address
    async with asyncio.timeout(PATIENCE_S):
        with connect(address) as other:
            other.autocommit = True
            other.execute("SELECT pg_advisory_lock(%s)", (schema.MIGRATION_LOCK,))
            with pytest.raises(ServiceUnavailableError, match=f"session {other.info.backend_pid}"):
                await asyncio.to_thread(schema.migrate, address)
            waiting = asyncio.create_task(asyncio.to_thread(schema.migrate, address, waits=True))
            await said.wait()
            index = "CREATE INDEX CONCURRENTLY made_meanwhile ON members (surname)"
            await asyncio.to_thread(other.execute, index)
            assert not waiting.done()
        assert await waiting == SCHEMA_REVISION
