"""An erased person stays erased, whatever else happens at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.backends.database import lock
from rollbook.errors import BusyError
from rollbook.members import index
from tests.files import id_number
from tests.integration.members.test_erase import BASE, PLANTED, carry_out, send
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Site

REASON = {"reason": "asked for it in writing", "confirm": True}
WAITING = """SELECT FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1"""


async def waited_for(site: Site, task: asyncio.Task[Any]) -> None:
    """Until another connection waits for a lock, as the task must."""
    async with asyncio.timeout(PATIENCE_S):
        while site.connection.execute(WAITING).fetchone() is None:
            site.connection.commit()
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
    site.connection.commit()


def set_upload(site: Site, upload_id: Any, columns: str) -> None:
    with site.connection.transaction():
        site.connection.execute(
            f"UPDATE uploads SET {columns} WHERE id = %s",  # noqa: S608 - of this module
            (upload_id,),
        )


async def state(client: httpx.AsyncClient, receipt: str) -> Any:
    return (await client.get(f"{BASE}/erasures/{receipt}")).json()


async def test_an_attempt_that_begins_within_the_request_is_waited_for(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    upload_id = send(site, PLANTED).upload["id"]
    await index.run_once(system)
    path = f"{BASE}/{site.members()[id_number(77)]['member_id']}/erase"
    async with system.pool.connection() as merging:
        await lock(merging, index.LOCK)
        asking = asyncio.create_task(client.post(path, json=REASON))
        await waited_for(site, asking)
        # The request has written its receipt, and isn't committed: the attempt sees no hash.
        set_upload(site, upload_id, "status = 'processing', finished_at = NULL, started_at = now()")
        assert site.connection.execute("SELECT FROM erased_people").fetchall() == []
        site.connection.commit()
    answer = await asking
    receipt = answer.json()["data"]["receipt"]
    with pytest.raises(BusyError):
        carry_out(settings, system, receipt)
    said = await state(client, receipt)
    assert said["data"]["waits_for"] == [str(upload_id)]
    assert "cancel the upload" in said["message"]
    set_upload(site, upload_id, "status = 'completed', finished_at = now()")
    assert carry_out(settings, system, receipt)
    assert (await state(client, receipt))["data"]["waits_for"] == []


async def test_an_attempt_that_begins_after_the_erasure_did_is_not_waited_for(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    upload_id = send(site, PLANTED).upload["id"]
    await index.run_once(system)
    path = f"{BASE}/{site.members()[id_number(77)]['member_id']}/erase"
    receipt = (await client.post(path, json=REASON)).json()["data"]["receipt"]
    assert not carry_out(settings, system, receipt, seconds=0)
    set_upload(site, upload_id, "status = 'processing', finished_at = NULL, started_at = now()")
    assert (await state(client, receipt))["data"]["waits_for"] == []
    while not carry_out(settings, system, receipt, seconds=0):
        pass
