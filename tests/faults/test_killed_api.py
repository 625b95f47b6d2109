"""An API that is killed between the store and the record."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import pytest

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.uploads import retention
from tests.faults.processes import running
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, working
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


async def test_an_api_that_is_killed_before_it_records_a_stored_file_leaves_nothing_for_good(
    system: System,
    make_user: MakeUser,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender heard nothing and sends it again; the first file is retention's."""
    user = await make_user()
    port = free_port()
    address, log = "/api/v1/bulk-upload/process", tmp_path / "log"
    file = {"file": ("members.csv", csv_file(3))}
    headers = {
        "Authorization": f"Bearer {issue_token(settings, user)}",
        "Idempotency-Key": "one-file",
    }
    module = "tests.faults.killed_before_the_record"
    with running("serve", settings, log, module=module, ROLLBOOK_PORT=str(port)) as process:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/readyz")).is_success
                except httpx.TransportError:
                    return False

            await until(answers)
            with pytest.raises(httpx.TransportError):
                await client.post(address, files=file, headers=headers)
        process.wait(60)
    [orphan] = [stored async for stored in system.store.each()]
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as api,
    ):
        answer = await api.post(address, files=file, headers=headers)
    assert answer.status_code == 202, answer.text
    upload_id = UUID(answer.json()["data"]["job_id"])
    assert orphan.upload_id != upload_id
    monkeypatch.setattr(retention, "ORPHAN_AGE", dt.timedelta(0))
    purged = await retention.run_once(system)
    assert purged is not None
    assert purged.orphans == 1
    assert [stored.upload_id async for stored in system.store.each()] == [upload_id]
    async with working(system):
        upload = await ended(system, user, upload_id)
    assert (upload["status"], upload["inserted"]) == ("completed", 3), upload["error"]
