"""The voter roll's budget over three real workers, and over a restart of everything."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.voter_roll.stand_in import PASSWORD, USERNAME
from tests.faults.site import IS_LONG, QUICK, Site, only_at_length, until
from tests.files import id_number
from tests.redis_content import everything
from tests.roll import ScriptedRoll

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

#: Five windows in ``make faults``, with enough requests in each to see how much of the budget is
#: used, and three in ``make test``, which sees that it isn't passed.
LIMIT, WINDOW_S, ROWS = (200, 10, 1000) if IS_LONG else (50, 3, 150)
WORKERS = 3
LANES = 9
PACE: dict[str, Any] = {
    **QUICK,
    "voter_roll_username": USERNAME,
    "voter_roll_requests_per_hour": LIMIT,
    "voter_roll_window_s": WINDOW_S,
    "voter_roll_timeout_s": 10.0,
    "voter_roll_lanes": LANES,
    "log_level": "debug",
}
#: Five windows take 40 s at most; the rest is for a machine that does other things too.
PATIENCE_S = 180.0
pytestmark = pytest.mark.timeout(3 * PATIENCE_S)  # two such waits, and the end of all processes


@pytest.fixture
def roll() -> ScriptedRoll:
    return ScriptedRoll(limit=LIMIT, window_s=WINDOW_S, latency_s=0.01)


@pytest.fixture
def site(tmp_path: Path, roll: ScriptedRoll) -> Iterator[Site]:
    with roll.running() as url:
        built = Site(tmp_path, 1, {**PACE, "voter_roll_url": url})
        built.start()
        yield built
        built.close()


def start(site: Site) -> list[subprocess.Popen[bytes]]:
    """Three workers, which together ask at most LANES at a time, and an API."""
    secret = {"ROLLBOOK_VOTER_ROLL_PASSWORD": PASSWORD}
    few = str(LANES // WORKERS)
    return [
        *(site.run("worker", ROLLBOOK_VOTER_ROLL_LANES=few, **secret) for _ in range(WORKERS)),
        site.run("serve", ROLLBOOK_PORT="0", **secret),
    ]


def verified(site: Site, upload_id: UUID) -> dict[str, Any]:
    query = "SELECT * FROM uploads WHERE id = %s AND verification = 'verified'"
    return until(lambda: site.query(query, upload_id), "verified", PATIENCE_S)[0]  # type: ignore[no-any-return]


def share_used(roll: ScriptedRoll) -> float:
    """The share of the budget that was used: the time that it must take, by the time it took.

    The first of every LIMIT requests after the first one can come a window after the first of the
    LIMIT before them, and no sooner.
    """
    times = [asked.at for asked in roll.asked]
    windows = (len(times) - 1) // LIMIT
    return windows * WINDOW_S / (times[windows * LIMIT] - times[0])


def check_said(site: Site, redis: str) -> None:
    """No log line of any process names a person, and nothing in Redis."""
    log = site.log()
    assert "all answers are in" in log
    for place in (log, redis):
        assert [n for n in range(ROWS) if id_number(n) in place] == []


def in_redis(site: Site) -> str:
    """All that Redis holds now."""
    return asyncio.run(everything(site.settings))


def test_three_workers_use_the_budget_and_never_pass_it(
    site: Site, roll: ScriptedRoll, record_property: Callable[[str, object], None]
) -> None:
    start(site)
    beating = "SELECT FROM workers"
    until(lambda: len(site.query(beating)) == WORKERS, "all workers are there to take a share")
    (upload_id,) = site.send(1, ROWS)
    roll.wait_until_asked(ROWS // 2, PATIENCE_S)
    in_the_middle = in_redis(site)
    upload = verified(site, upload_id)
    assert roll.over_budget == 0
    assert len(roll.asked) > ROWS  # the sign-ins count, too
    # On a machine that does other things too, less of it is used.
    assert share_used(roll) >= 0.95 or not IS_LONG
    assert sum(upload[f"roll_{name}"] for name in ("registered", "not_registered", "deceased",
               "without_district", "international")) == ROWS  # fmt: skip
    assert upload["roll_pending"] == upload["roll_error"] == 0
    assert site.query("SELECT FROM members WHERE roll_status IS NULL") == []
    asked = Counter(asked.id_number for asked in roll.about())
    assert len(asked) == ROWS
    assert set(asked.values()) == {1}
    assert len({asked.token for asked in roll.about()}) == WORKERS
    check_said(site, in_the_middle + in_redis(site))
    record_property("requests", len(roll.asked))
    record_property("share of the budget", round(share_used(roll), 4))


@only_at_length
def test_a_restart_of_everything_in_the_middle_asks_nobody_twice(
    site: Site, roll: ScriptedRoll, record_property: Callable[[str, object], None]
) -> None:
    rows = 2 * LIMIT
    (upload_id,) = site.send(1, rows)
    processes = start(site)
    roll.wait_until_asked(rows // 2, PATIENCE_S)
    for process in processes:
        site.kill(process)
    site.valkey.stop()
    site.postgres.stop()
    site.postgres.start()
    site.valkey.start()
    site.flush()
    start(site)
    upload = verified(site, upload_id)
    assert upload["roll_pending"] == upload["roll_error"] == 0
    assert roll.over_budget == 0
    asked = Counter(asked.id_number for asked in roll.about())
    assert len(asked) == rows
    twice = sum(times - 1 for times in asked.values())
    record_property("asked twice", twice)
    assert twice <= LANES
    assert max(asked.values()) <= 2
    check_said(site, in_redis(site))
