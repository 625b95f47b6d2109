"""Faults at random moments, against real engines and processes; the seed is in the test's name.

``make test`` runs most of them once, at one of several moments; ``make faults`` runs all of them at
every moment, many times.
"""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import psutil
import pytest

from tests.faults.office import Office
from tests.faults.proxy import MERGE, RECORD, CommitCutter
from tests.faults.site import IS_LONG, QUICK, Site, each_or_first, only_at_length, seeds, until
from tests.ports import free_port
from tests.waiting import PATIENCE_S, to_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.parametrize("seed", list(seeds()), ids="seed{}".format)

#: Rows of a file whose attempt takes long enough to be hit in each of its stages. In ``make test``
#: each fault hits one of them.
ROWS = 10_000 if IS_LONG else 2_000
#: What the faults of each run hit.
HITS: defaultdict[int, list[str | None]] = defaultdict(list)


@pytest.fixture(scope="session")
def span_s(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that an undisturbed attempt takes here: faults are to hit one on any machine."""
    site = Site(tmp_path_factory.mktemp("span"), 0)
    site.start()
    try:
        uploads = site.send(1, ROWS)
        site.run("worker")
        site.ended(uploads)
        [row] = site.query("SELECT extract(epoch FROM finished_at - started_at) AS s FROM uploads")
        return float(row["s"])
    finally:
        site.close()


@pytest.fixture
def site(tmp_path: Path, seed: int, span_s: float) -> Iterator[Site]:
    # Every other run with two attempts at a time in each worker.
    built = Site(tmp_path, seed, {**QUICK, "concurrency": 1 + seed % 2}, span_s=span_s)
    built.start()
    yield built
    HITS[seed] += built.hits
    built.close()


def test_a_worker_killed_at_any_moment_loses_nothing(site: Site) -> None:
    uploads = site.send(3, ROWS)
    for _ in range(2):
        worker = site.run("worker")
        site.started(uploads)
        site.aim()
        site.kill(worker)
    site.run("worker")
    site.ended(uploads)
    site.check(uploads)


@only_at_length
def test_children_of_a_killed_worker_end_with_it(site: Site) -> None:
    uploads = site.send(1, ROWS)
    worker = site.run("worker")
    site.started(uploads)
    children = site.children(worker)
    assert children
    site.aim(share=0.5)
    site.kill(worker)
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert alive == []
    site.run("worker")
    site.ended(uploads)
    site.check(uploads)


@only_at_length
def test_a_child_killed_at_any_moment_costs_an_attempt_at_most(site: Site) -> None:
    uploads = site.send(2, ROWS)
    worker = site.run("worker")
    site.started(uploads)
    site.aim()
    to_each(site.children(worker), psutil.Process.kill)
    site.ended(uploads)
    site.check(uploads)


@only_at_length
def test_a_worker_asked_to_stop_at_any_moment_finishes_or_hands_back(site: Site) -> None:
    uploads = site.send(3, ROWS)
    for times in (1, 2):
        worker = site.run("worker")
        until(lambda: site.log().count("worker started") >= times, "the worker runs")  # noqa: B023
        site.aim()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=PATIENCE_S) == 0
    waiting = site.query("SELECT * FROM uploads WHERE status <> 'completed'")
    # Handing back costs no attempt.
    assert {row["attempt"] - row["attempts_before"] for row in waiting} <= {0}
    site.run("worker")
    site.ended(uploads)
    site.check(uploads)


@only_at_length
def test_a_second_sigterm_stops_at_once_and_another_worker_goes_on(site: Site) -> None:
    uploads = site.send(1, 20_000)
    worker = site.run("worker", ROLLBOOK_SHUTDOWN_GRACE_S="600")
    site.started(uploads)
    worker.send_signal(signal.SIGTERM)
    until(lambda: "waiting for running jobs" in site.log(), "the worker waits for its job")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=PATIENCE_S) == 1
    site.run("worker")
    site.ended(uploads)
    site.check(uploads)


@pytest.mark.parametrize("when", each_or_first("active", "before", "waiting", "after"))
def test_flushall_at_any_moment_loses_nothing(site: Site, when: str) -> None:
    if when == "before":
        # Recorded and never added: its process died in between, and the queue lost all it knew.
        uploads = site.send(3, ROWS)
        site.flush()
        site.run("serve", ROLLBOOK_PORT="0")
    else:
        site.run("serve", ROLLBOOK_PORT="0")
        uploads = site.send(3, ROWS)
    if when == "waiting":
        site.moment(site.span_s)
        site.flush()
    worker = site.run("worker")
    if when == "active":
        site.started(uploads)
        site.aim()
        site.flush()
    elif when == "after":
        site.ended(uploads)
        site.let_go(worker, since=time.time())
        attempts = site.query("SELECT id, attempt FROM uploads ORDER BY id")
        site.flush()
        site.reconcile()
        # What has ended is not queued again, and no attempt was begun again.
        assert site.jobs() == 0
        assert site.query("SELECT id, attempt FROM uploads ORDER BY id") == attempts
    site.ended(uploads)
    site.check(uploads)


def test_an_api_stopped_at_any_moment_loses_no_file_that_it_took(site: Site) -> None:
    port = free_port()
    api = site.run("serve", ROLLBOOK_PORT=str(port))
    office = Office(f"http://127.0.0.1:{port}", site.token())
    files = [site.content(500) for _ in range(12)]
    with ThreadPoolExecutor(3) as senders:
        sending = [senders.submit(office.send, str(key), file) for key, file in enumerate(files)]
        for how in (signal.SIGKILL, signal.SIGTERM):
            until(office.answers, "the API answers")
            site.moment(0.3)
            api.send_signal(how)
            api.wait(PATIENCE_S)
            api = site.run("serve", ROLLBOOK_PORT=str(port))
        accepted = [UUID(answer.result()) for answer in sending]
    # A file whose answer got lost was sent again under its key, and is the same upload.
    assert len(set(accepted)) == len(files)
    assert {row["id"] for row in site.query("SELECT id FROM uploads")} == set(accepted)
    site.run("worker")
    site.ended(accepted)
    site.check(accepted)


@only_at_length
def test_a_record_whose_answer_was_lost_keeps_its_file(site: Site) -> None:
    port = free_port()
    office = Office(f"http://127.0.0.1:{port}", site.token())
    with CommitCutter(site.settings.database_address, site.folder, RECORD) as cutter:
        site.run("serve", ROLLBOOK_PORT=str(port), DATABASE_URL=cutter.address)
        until(office.answers, "the API answers")
        accepted = [UUID(office.send("key", site.content(ROWS)))]
        assert cutter.cut.is_set()
        assert [row["id"] for row in site.query("SELECT id FROM uploads")] == accepted
        site.run("worker")
        site.ended(accepted)
    site.check(accepted)


@only_at_length
def test_redis_away_for_a_while_delays_and_loses_nothing(site: Site) -> None:
    site.run("serve", ROLLBOOK_PORT="0")
    uploads = site.send(2, ROWS)
    site.run("worker")
    site.started(uploads)
    site.aim()
    site.valkey.stop()
    # Files are accepted anyway.
    uploads += site.send(1, ROWS)
    site.pause(10)
    site.valkey.start()
    site.ended(uploads)
    site.check(uploads)


@only_at_length
def test_postgresql_restarted_at_any_moment_costs_no_upload(site: Site) -> None:
    site.run("serve", ROLLBOOK_PORT="0")
    uploads = site.send(3, ROWS)
    site.run("worker")
    site.started(uploads)
    site.aim()
    site.postgres.stop()
    site.moment(1)
    site.postgres.start()
    site.ended(uploads)
    site.check(uploads)


@pytest.mark.parametrize(
    "how", each_or_first(signal.SIGKILL, signal.SIGTERM), ids=lambda how: how.name
)
def test_everything_stopped_at_any_moment_comes_back_whole(site: Site, how: signal.Signals) -> None:
    uploads = site.send(3, ROWS)
    processes = [site.run("serve", ROLLBOOK_PORT="0"), site.run("worker")]
    site.started(uploads)
    site.aim()
    children = site.children(processes[1])
    for process in processes:
        process.send_signal(how)
    to_each(children, lambda child: child.send_signal(how))
    for engine in (site.valkey, site.postgres):
        for pid in engine.pids.values():
            psutil.Process(pid).send_signal(how)
        engine.stop()
        engine.start()
    for process in processes:
        process.wait(PATIENCE_S)
    site.run("serve", ROLLBOOK_PORT="0")
    site.run("worker")
    site.ended(uploads)
    site.check(uploads)


@only_at_length
def test_started_with_both_engines_down_it_waits_and_is_ready_when_they_are(site: Site) -> None:
    uploads = site.send(1, ROWS)
    site.valkey.stop()
    site.postgres.stop()
    processes = [site.run("serve", ROLLBOOK_PORT="0"), site.run("worker")]
    until(lambda: site.log().count("waiting for") >= 2, "both say what they wait for")
    assert [process.poll() for process in processes] == [None, None]
    site.postgres.start()
    site.valkey.start()
    site.ended(uploads)
    site.check(uploads)


def test_a_frozen_worker_that_wakes_up_after_another_finished_merges_nothing(site: Site) -> None:
    uploads = site.send(1, ROWS)
    frozen = site.run("worker")
    site.started(uploads)
    site.aim(share=0.5)
    family = [psutil.Process(frozen.pid), *site.children(frozen)]
    to_each(family, psutil.Process.suspend)
    other = site.run("worker")
    # A transaction that was frozen past its merge holds its rows; the other waits for it, which is
    # as it should be: exactly one of them will be the one. Otherwise the other finishes first.
    with suppress(AssertionError):
        site.ended(uploads, patience_s=6)
    thawed = time.time()
    to_each(family, psutil.Process.resume)
    site.ended(uploads)
    site.let_go(frozen, since=thawed)
    site.check(uploads)
    assert other.poll() is None


def test_a_merge_whose_answer_was_lost_is_not_done_again(site: Site) -> None:
    uploads = site.send(1, ROWS)
    with CommitCutter(site.settings.database_address, site.folder, MERGE) as cutter:
        site.run("worker", DATABASE_URL=cutter.address)
        site.ended(uploads)
        assert cutter.cut.wait(timeout=PATIENCE_S)
        until(
            lambda: "upload can't be claimed" in site.log(),
            "the job came again and was answered from the record",
        )
    site.check(uploads)


def test_most_faults_of_this_run_hit_an_attempt_under_way(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    """The last one here: it looks at what the others did."""
    hits = HITS[seed]
    record_property("hits", hits)
    assert 2 * len([stage for stage in hits if stage is not None]) >= len(hits), hits
