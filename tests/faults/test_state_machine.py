"""Operators and faults in any order: every upload ends as it should.

``make test`` tries two such orders, and ``make faults`` three for each of its runs.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, precondition, rule

from rollbook.accounts import users
from rollbook.errors import ConflictError
from rollbook.uploads import control, receive
from rollbook.uploads.options import Options
from tests.faults.site import IS_LONG, Site, until
from tests.files import csv_file
from tests.waiting import to_each

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from rollbook.model import User
    from rollbook.service.system import System

RUNS = int(os.environ.get("ROLLBOOK_FAULT_RUNS", "1"))
SEED = int(os.environ.get("ROLLBOOK_FAULT_SEED", "1"))


class Office(RuleBasedStateMachine):
    """One installation with a worker and an API, used and broken at random."""

    site: Site
    worker: subprocess.Popen[bytes]

    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.good: set[UUID] = set()
        self.bad: set[UUID] = set()
        self.cancelled: set[UUID] = set()
        self.paused = False

    @rule(target=sent)
    def send(self) -> UUID:
        [upload_id] = self.site.send(1, 10)
        self.good.add(upload_id)
        return upload_id

    @rule(target=sent)
    def send_a_file_without_an_id_column(self) -> UUID:
        async def send(system: System, user: User) -> UUID:
            async def chunks() -> Any:
                yield csv_file([{"Name": f"{self.site.random.random()}"}], headers=("Name",))

            stored = await receive.store_file(system, "towns.csv", chunks())
            found: UUID = (await receive.record(system, user, stored, Options()))["id"]
            return found

        upload_id: UUID = self._do(send)
        self.bad.add(upload_id)
        return upload_id

    @rule(upload_id=sent)
    def cancel(self, upload_id: UUID) -> None:
        async def cancel(system: System, user: User) -> None:
            await control.cancel(system, user, upload_id)

        try:
            self._do(cancel)
        except ConflictError:
            return
        self.cancelled.add(upload_id)

    @rule(upload_id=sent)
    def retry(self, upload_id: UUID) -> None:
        async def retry(system: System, user: User) -> None:
            await control.retry(system, user, upload_id)

        try:
            self._do(retry)
        except ConflictError:
            return
        assert upload_id not in self.cancelled

    @rule()
    def pause(self) -> None:
        self._do(lambda system, _: control.pause(system, by=None))
        self.paused = True

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        self._do(lambda system, _: control.resume(system, by=None))
        self.paused = False

    @rule()
    def clean(self) -> None:
        self._do(lambda system, _: system.queue.clean(grace_period_h=0))

    @rule()
    def flush(self) -> None:
        self.site.flush()
        self.paused = False

    @rule()
    def kill_the_worker(self) -> None:
        self.site.kill(self.worker)
        type(self).worker = self.site.run("worker")

    @rule()
    def kill_a_child(self) -> None:
        to_each(self.site.children(self.worker), psutil.Process.kill)

    def teardown(self) -> None:
        """After any of that: let it run, and look at every upload."""
        self._do(lambda system, _: control.resume(system, by=None))
        everything = self.good | self.bad
        self.site.ended(list(everything))
        ended = {
            row["id"]: (row["status"], row["error_code"])
            for row in self.site.query(
                "SELECT id, status, error_code FROM uploads WHERE id = ANY(%s)", list(everything)
            )
        }
        for upload_id in everything:
            status, code = ended[upload_id]
            if upload_id in self.cancelled:
                assert status == "cancelled"
            elif upload_id in self.bad:
                assert status == "failed"
            else:  # a good file whose every attempt was killed has failed, and may be retried
                assert status == "completed" or (status, code) == ("failed", "child_died")
        self.site.check(list(everything), all_complete=False)

    def _do(self, act: Callable[[System, User], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with self.site.system() as system:
                await users.add_first(system.pool, self.site.settings)
                return await act(system, await users.acting(system.pool, None))

        return asyncio.run(run())


def test_any_order_of_acts_and_faults_leaves_every_upload_as_it_should_be(
    record_property: Callable[[str, object], None],
) -> None:
    record_property("seed", SEED)
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        site = Site(Path(folder), SEED)
        site.start()
        try:
            Office.site = site
            site.run("serve", ROLLBOOK_PORT="0")
            Office.worker = site.run("worker")
            until(lambda: "worker started" in site.log(), "the worker runs")
            machine = seed(SEED)(Office).TestCase
            machine.settings = settings(
                max_examples=3 * RUNS if IS_LONG else 2,
                stateful_step_count=12,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            )
            machine("runTest").runTest()
        finally:
            site.close()
