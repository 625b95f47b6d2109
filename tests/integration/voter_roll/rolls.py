"""What the tests of the voter roll share: settings that name a stand-in, and what they wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from rollbook.backends.database import connect
from rollbook.service import due
from rollbook.voter_roll import client, worker
from rollbook.voter_roll.stand_in import PASSWORD, USERNAME
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    import pytest

    from rollbook.backends.database import Row
    from rollbook.config import Settings

#: Seconds between two looks at the record, which is what says that something has happened.
LOOK_S = 0.05
#: Seconds between two looks of a worker for due rows.
WORKERS_LOOK_S = 0.2
#: The longest pauses between the tries of one question, a tenth of the true ones.
SHORT_PAUSES_S = (0.025, 0.1)


def asking(settings: Settings, url: str, **changes: Any) -> Settings:
    """Settings under which the stand-in is asked; every pause short.

    Nothing takes as long as the time limit: a request that does is made again, and counted.
    """
    quick = {
        "voter_roll_url": url,
        "voter_roll_username": USERNAME,
        "voter_roll_password": SecretStr(PASSWORD),
        "voter_roll_timeout_s": PATIENCE_S,
        "voter_roll_retry_s": 0.05,
        "voter_roll_probe_s": 0.1,
        "voter_roll_lanes": 4,
    }
    return settings.model_copy(update={**quick, **changes})


def look_often(patch: pytest.MonkeyPatch) -> None:
    """Let the workers of this process look for questions and reports five times a second.

    For other rows they look once a second, as always: each look takes a processor.
    """
    patch.setattr(worker, "POLL_S", WORKERS_LOOK_S)
    patch.setattr(worker, "pause_s", lambda due_in_s: min(due.pause_s(due_in_s), WORKERS_LOOK_S))
    patch.setattr(client, "PAUSES_S", SHORT_PAUSES_S)


async def until(
    settings: Settings,
    query: str,
    condition: Callable[[list[Row]], Any],
    *parameters: Any,
    patience_s: float = PATIENCE_S,
) -> list[Row]:
    """Wait until the record says something, and return the rows that say it."""
    found: list[Row] = []
    with connect(settings.database_address) as connection:
        connection.autocommit = True
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    found = connection.execute(query.encode(), parameters).fetchall()
                    if condition(found):
                        return found
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not within {patience_s} s: {query}: {found}") from None


async def verified(settings: Settings, upload_id: UUID, patience_s: float = PATIENCE_S) -> Row:
    """Wait until an upload is verified; its row."""
    query = "SELECT * FROM uploads WHERE id = %s"
    rows = await until(
        settings,
        query,
        lambda found: found and found[0]["verification"] == "verified",
        upload_id,
        patience_s=patience_s,
    )
    return rows[0]
