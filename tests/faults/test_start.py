"""Started while a part is away: it keeps trying, says so, and is ready when the part is there."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.site import Site, each_or_first, only_at_length, until
from tests.ports import free_port
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollbook.engines import Engines

#: An empty REDIS_URL means none: the embedded one is started.
EMBEDDED = {"REDIS_URL": ""}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    built = Site(tmp_path, 1)
    built.start()
    yield built
    built.close()


@pytest.mark.parametrize(
    ("down", "more"),
    each_or_first(
        pytest.param({"postgres", "valkey"}, {}, id="both"),
        pytest.param({"postgres"}, {}, id="postgresql"),
        pytest.param({"valkey"}, {}, id="redis"),
        pytest.param({"postgres"}, EMBEDDED, id="postgresql, redis embedded"),
    ),
)
def test_up_waits_for_the_part_that_is_down_and_is_ready_as_soon_as_it_is_there(
    site: Site, down: set[str], more: dict[str, str]
) -> None:
    engines = [engine for name, engine in _engines(site).items() if name in down]
    for engine in engines:
        engine.stop()
    port = free_port()
    up = site.run("up", ROLLBOOK_PORT=str(port), **more)
    if "postgres" in down:
        until(lambda: "waiting for a part" in site.log(), "it says what it waits for")
        assert "answer: connection" in site.log()
    else:
        until(lambda: _readiness(port) == 503, "the API runs, and says that it isn't ready")
        assert "not reachable" in site.log()
    assert up.poll() is None
    for engine in engines:
        engine.start()
    until(lambda: _readiness(port) == 200, f"ready; the log:\n{site.log()[-4000:]}")
    assert "Traceback" not in site.log()
    up.send_signal(signal.SIGTERM)
    assert up.wait(timeout=PATIENCE_S) == 0


@only_at_length
def test_a_worker_with_its_own_redis_and_a_database_that_is_down_waits_for_it(site: Site) -> None:
    site.postgres.stop()
    worker = site.run("worker", **EMBEDDED)
    until(lambda: "worker started" in site.log(), "it runs")
    assert worker.poll() is None
    site.postgres.start()
    until(
        lambda: site.query("SELECT FROM workers WHERE pid = %s", worker.pid),
        "the worker reports itself",
    )
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=PATIENCE_S) == 0


def test_migrate_ends_with_a_sentence_when_the_database_is_down(site: Site) -> None:
    site.postgres.stop()
    migrate = site.run("migrate")
    assert migrate.wait(timeout=PATIENCE_S) == 4
    assert "PostgreSQL couldn't be used" in site.log()
    assert "No such file or directory" in site.log()
    assert "Traceback" not in site.log()


def _engines(site: Site) -> dict[str, Engines]:
    return {"postgres": site.postgres, "valkey": site.valkey}


def _readiness(port: int) -> int | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code
    except httpx.TransportError:
        return None
