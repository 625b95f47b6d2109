"""A backup is tested by restoring it: both engines are wiped, and only PostgreSQL is restored."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from rollbook.engines.postgres import programs
from tests.faults.site import Site, only_at_length
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEPT = "SELECT id_number, surname, created_by_upload FROM members ORDER BY id_number"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    built = Site(tmp_path, seed=1)
    built.start()
    yield built
    built.close()


def program(name: str, site: Site, *arguments: str) -> None:
    """Run one of PostgreSQL's own on the site's database, as docs/how-to/backup.md says."""
    subprocess.run(
        [programs() / name, "--dbname", site.settings.database_address, *arguments],
        check=True,
        timeout=PATIENCE_S,
    )


@only_at_length
def test_with_postgresql_restored_alone_the_queue_is_whole_again(site: Site) -> None:
    done = site.send(2, 200)
    worker = site.run("worker")
    site.ended(done)
    # One is cut short, so that the record calls it processing and no worker has it.
    cut = site.send(1, 8_000)
    site.started(cut)
    site.kill(worker)
    assert site.query("SELECT status FROM uploads WHERE id = ANY(%s)", cut) == [
        {"status": "processing"}
    ]
    waiting = [*cut, *site.send(3, 200)]
    members = site.query(KEPT)
    dump, store = site.folder / "rollbook.dump", site.folder / "store.copy"
    program("pg_dump", site, "--format=custom", f"--file={dump}")
    shutil.copytree(site.settings.data_dir / "store", store)

    # After the backup work continues, and then the machine is lost.
    worker = site.run("worker")
    lost = site.send(1, 50)
    site.ended([*waiting[1:], *lost])
    site.kill(worker)
    for engine in (site.postgres, site.valkey):
        engine.stop()
        shutil.rmtree(engine.data_dir)
    shutil.rmtree(site.settings.data_dir / "store")

    site.postgres.start()
    site.valkey.start()
    program("pg_restore", site, "--exit-on-error", str(dump))
    shutil.copytree(store, site.settings.data_dir / "store")
    assert site.query(KEPT) == members
    assert site.query("SELECT id FROM uploads WHERE id = ANY(%s)", lost) == []
    assert site.jobs() == 0
    site.progress.seen.clear()  # time has gone back: the numbers of attempts come again
    site.run("serve", ROLLBOOK_PORT="0")
    site.run("worker")
    site.ended(waiting)
    site.check(waiting)
    assert site.query("SELECT status, attempt FROM uploads WHERE id = ANY(%s)", done) == [
        {"status": "completed", "attempt": 1}
    ] * len(done)
    reports = site.query("SELECT report_key FROM uploads WHERE report_key IS NOT NULL")
    assert len(reports) == len([*done, *waiting])
    for row in reports:
        assert (site.settings.data_dir / "store" / row["report_key"]).is_file()
