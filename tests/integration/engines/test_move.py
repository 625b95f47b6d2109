"""Moving the bundled PostgreSQL's data to another major version, with two real versions.

The wheel has the programs of PostgreSQL 16 beside those that Rollbook uses.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from rollbook.engines import Engines, move, postgres
from rollbook.engines.owner import own_folder
from rollbook.engines.sockets import socket_folder
from rollbook.errors import DataFolderInUseError, EngineError
from tests import in_memory
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = "16"
FILLED = """
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
                     facts jsonb, paid numeric, at timestamptz, share double precision);
INSERT INTO people (name, facts, paid, at, share)
SELECT 'Ndaba Zoë ' || n, jsonb_build_object('n', n), n * 0.1, '2026-01-31 10:00+02'::timestamptz
       + n * interval '1 hour', n / 3.0
FROM generate_series(1, 2000) AS n;
CREATE TABLE rows_of (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE rows_of_2026 PARTITION OF rows_of FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO rows_of SELECT '2026-02-01', n FROM generate_series(1, 50) AS n;
CREATE INDEX ON people (lower(name));
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN 2 * n;
"""


@pytest.fixture(scope="module")
def old_cluster() -> Iterator[Path]:
    """A filled cluster of the old version, to copy."""
    with in_memory.folder() as folder:
        programs = postgres.old_programs(OLD)
        engine = postgres.Postgres(
            folder,
            socket_folder(folder),
            stop_timeout_s=PATIENCE_S,
            fast_unsafe=True,
            as_root="auto",
            programs=programs,
        )
        engine._choose_identity()
        # The old version has no locales of its own.
        options = "-U rollbook --auth-local=trust --encoding=UTF8 --locale=C --no-sync"
        initdb = engine.spawn([programs / "initdb", "-D", folder / "postgres", *options.split()])
        assert initdb.wait(PATIENCE_S) == 0, engine.log.read_text()
        old = Engines(folder, valkey=False, programs=programs, fast_unsafe=True)
        with old as addresses:
            assert addresses.database_url is not None
            with psycopg.connect(addresses.database_url) as connection:
                connection.execute(FILLED)
        yield folder / "postgres"


@pytest.fixture
def folder(old_cluster: Path) -> Iterator[Path]:
    """A data folder with a copy of the old cluster."""
    with in_memory.folder() as base:
        data = base / "data"
        data.mkdir(mode=0o700)
        copy(old_cluster, data / "postgres")
        yield data


@pytest.fixture(scope="module")
def verified(old_cluster: Path) -> Iterator[Path]:
    """A data folder in which a move has made its copy, and was cut off before the next step."""
    with in_memory.folder() as base:
        data = base / "data"
        data.mkdir(mode=0o700)
        copy(old_cluster, data / "postgres")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(move, "_finish", lambda _: None)
            moved(data)
        yield data


@pytest.fixture
def copied(verified: Path) -> Iterator[Path]:
    """A data folder of one's own in that state."""
    with in_memory.folder() as base:
        copy(verified, base / "data")
        yield base / "data"


def copy(source: Path, target: Path) -> None:
    """Copy a cluster, which has a thousand files, in a tenth of the time that ``shutil`` takes."""
    subprocess.run(["cp", "-Rp", source, target], check=True, timeout=PATIENCE_S)


def moved(folder: Path, *, dry_run: bool = False) -> move.Moved:
    found = move.move(folder, fast_unsafe=True, dry_run=dry_run)
    assert found is not None
    return found


def people(folder: Path) -> int:
    """The number of people, by the bundled version."""
    with Engines(folder, valkey=False, fast_unsafe=True) as addresses:
        assert addresses.database_url is not None
        with psycopg.connect(addresses.database_url) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM people").fetchall()
            assert connection.execute("SELECT twice(4)").fetchone() == (8,)
            connection.execute("INSERT INTO people (name) VALUES ('the next') RETURNING id")
    return int(count)


def test_data_of_an_older_version_is_moved_and_kept_until_it_is_confirmed(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"of PostgreSQL 16, .*rollbook upgrade-engine"):
        Engines(folder, valkey=False).start()
    found = moved(folder)
    assert (found.tables, found.rows) == (2, 2050)
    assert found.old.startswith("16.")
    assert found.new.startswith("18.")
    assert found.kept == folder / "postgres-16"
    assert people(folder) == 2000
    assert move.move(folder) is None
    assert move.confirm(folder) == [folder / "postgres-16"]
    assert not (folder / "postgres-16").exists()
    assert move.confirm(folder) == []
    assert people(folder) == 2001


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    found = moved(folder, dry_run=True)
    assert (found.rows, found.kept) == (2050, None)
    assert (folder / "postgres" / "PG_VERSION").read_text().strip() == OLD
    assert not (folder / move.NEW).exists()


@pytest.mark.parametrize("step", ["before", "between", "after"])
def test_a_move_that_is_cut_off_while_the_folders_change_places_is_finished_by_the_next(
    copied: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = copied

    class CutOffError(BaseException):
        """As a power cut: nothing tidies up."""

    done = 0
    left = {"before": 0, "between": 1, "after": 2}[step]
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        nonlocal done
        if path.name == "postgres" and path.parent in (folder, folder / move.NEW):
            if done == left:
                raise CutOffError
            done += 1
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        if step == "after":
            patched.setattr(shutil, "rmtree", _cut_off(CutOffError, shutil.rmtree))
        with pytest.raises(CutOffError):
            move.move(folder)
    if step == "between":
        # No empty database takes the place of the one that was put aside.
        with pytest.raises(EngineError, match=r"interrupted\. Run `rollbook upgrade-engine`"):
            Engines(folder, valkey=False).start()
    assert move.move(folder) is None
    assert people(folder) == 2000
    assert (folder / "postgres-16" / "PG_VERSION").exists()


def _cut_off(error: type[BaseException], real: object) -> object:
    """The first removal of a folder that is there ends the process."""

    def rmtree(path: Path, **more: bool) -> None:
        if Path(path).exists():
            raise error
        real(path, **more)  # type: ignore[operator]

    return rmtree


def test_a_copy_from_before_the_old_data_was_used_again_is_made_again(copied: Path) -> None:
    with Engines(
        copied, valkey=False, programs=postgres.old_programs(OLD), fast_unsafe=True
    ) as addresses:
        assert addresses.database_url is not None
        with psycopg.connect(addresses.database_url) as connection:
            connection.execute("INSERT INTO people (name) VALUES ('Late')")
    assert moved(copied).rows == 2051
    assert people(copied) == 2001


def test_a_copy_that_differs_is_removed_and_the_old_data_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = move._dump_and_restore

    def restore(old: str, new: str) -> None:
        real(old, new)
        with psycopg.connect(new) as connection:
            connection.execute("UPDATE people SET paid = paid + 1 WHERE id = 77")

    monkeypatch.setattr(move, "_dump_and_restore", restore)
    with pytest.raises(EngineError, match=r"rows of the table public\.people differ"):
        moved(folder)
    assert not (folder / move.NEW).exists()
    assert (folder / "postgres" / "PG_VERSION").read_text().strip() == OLD


def test_a_place_that_an_earlier_move_has_taken_is_said_before_anything_is_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CopiedError(Exception):
        pass

    def copied(*_: object, **__: object) -> None:
        raise CopiedError

    monkeypatch.setattr(move, "_copy", copied)
    (folder / "postgres-16").mkdir()
    with pytest.raises(EngineError, match="postgres-16 is there from an earlier move"):
        moved(folder)
    with pytest.raises(CopiedError):  # which puts nothing there
        moved(folder, dry_run=True)


def test_a_copy_that_takes_too_long_is_stopped_and_the_old_data_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "COPY_TIMEOUT_S", 0.001)
    with pytest.raises(EngineError, match=r"longer than .* hours and was stopped"):
        moved(folder)
    assert not (folder / move.NEW).exists()
    assert (folder / "postgres" / "PG_VERSION").read_text().strip() == OLD


def test_many_warnings_of_the_dump_do_not_stop_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a pipe holds; programs that do nothing else."""
    monkeypatch.setattr(move, "programs", lambda: tmp_path)
    monkeypatch.setattr(move, "COPY_TIMEOUT_S", PATIENCE_S)

    def program(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o700)

    warn = "yes 'pg_dump: warning: it is odd' | head -n 10000 >&2"
    program("pg_dump", f"{warn}; echo data")
    program("pg_restore", '[ "$(cat)" = data ]')
    move._dump_and_restore("old", "new")
    program("pg_dump", f"{warn}; echo 'pg_dump: error: bad row: \"Ndaba\"' >&2; exit 1")
    with pytest.raises(EngineError, match=r"failed \(pg_dump: error: bad row: \.\.\.\)"):
        move._dump_and_restore("old", "new")


def test_without_room_without_the_old_programs_or_beside_a_running_rollbook_nothing_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = move._state(folder / "postgres")
    with monkeypatch.context() as patched:
        patched.setattr(move, "SPARE_BYTES", 1 << 50)
        with pytest.raises(EngineError, match=r"needs \d+ MB beside the old data"):
            moved(folder)
    (folder / "postgres" / "PG_VERSION").write_text("11\n")
    with pytest.raises(EngineError, match="PostgreSQL 11, whose programs aren't found"):
        moved(folder)
    (folder / "postgres" / "PG_VERSION").write_text(f"{OLD}\n")
    lock = own_folder(folder)
    try:
        with pytest.raises(DataFolderInUseError):
            moved(folder)
    finally:
        os.close(lock)
    assert move._state(folder / "postgres") == before
    assert not (folder / move.NEW).exists()
