"""Moves the data of the bundled PostgreSQL to another major version, by dump and restore.

The new cluster is made beside the old one (``postgres-move`` in the data folder), filled, and
compared with it: the rows of every table and a checksum over them, sequences, and the names of
indexes, constraints, triggers and functions. Only then does it take the old one's place, which is
kept as ``postgres-<version>`` until ``confirm``. An interrupted move has changed nothing, or is
finished by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from rollbook.engines.owner import Engines, has_data, own_folder
from rollbook.engines.postgres import MAJOR, kept_clusters, major_of, old_programs, programs
from rollbook.engines.process import environment, sync
from rollbook.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Where the new cluster is made.
NEW = "postgres-move"
#: In it, written when it was found equal: the old version, and the state of the old cluster.
VERIFIED = "verified.json"
#: What the new cluster may take besides the old one's size, in bytes: its log of changes.
SPARE_BYTES = 256 * 1024 * 1024
#: Seconds for the copy; a database of 100 GB takes some hours.
COPY_TIMEOUT_S = 24 * 3600

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
# A checksum of the text of each row, added up, so that the order doesn't matter. md5 and the text
# are the same in every version; PostgreSQL's own hashes need not be.
_CONTENT = """
SELECT count(*), COALESCE(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint::numeric), 0)::text
FROM ONLY {} AS t
"""
# Not null is a constraint with a name since version 18.
_NAMES = """
WITH own AS (SELECT oid, nspname FROM pg_namespace
             WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
SELECT 'sequence ' || schemaname || '.' || sequencename || ' at ' || COALESCE(last_value::text, '-')
FROM pg_sequences
UNION ALL SELECT c.relkind::text || ' ' || nspname || '.' || relname
FROM pg_class AS c JOIN own ON own.oid = relnamespace
UNION ALL SELECT 'constraint ' || nspname || '.' || conname
FROM pg_constraint AS c JOIN own ON own.oid = connamespace WHERE contype <> 'n'
UNION ALL SELECT 'trigger ' || tgrelid::regclass || '.' || tgname
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function ' || nspname || '.' || proname
    || pg_get_function_identity_arguments(p.oid)
FROM pg_proc AS p JOIN own ON own.oid = pronamespace
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move has done."""

    #: Versions as ``18.4``.
    old: str
    new: str
    tables: int
    rows: int
    #: The old cluster's folder; None for a dry run.
    kept: Path | None


def move(
    data_dir: Path,
    *,
    from_programs: Path | None = None,
    dry_run: bool = False,
    fast_unsafe: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Moved | None:
    """Move the cluster in a data folder to the bundled version; ``say`` gets what is being done.

    ``from_programs`` is the folder with the ``postgres`` of the old version, where it isn't found.
    ``dry_run`` makes and compares the copy, also one of the same version, and removes it.
    ``fast_unsafe`` as of ``Engines``.

    Returns:
        None where the cluster has the bundled version already.

    Raises:
        DataFolderInUseError: Rollbook runs there.
        EngineError: the copy can't be made or isn't equal. The old cluster is as it was.
    """
    data_dir = data_dir.resolve()
    if not has_data(data_dir, postgres=True, valkey=False):
        raise EngineError(f"There is no data of a bundled PostgreSQL in {data_dir}.")
    made = data_dir / NEW
    # Nobody else may work in the folder meanwhile, between the steps too.
    with _owned(data_dir) as lock:
        _finish(data_dir)
        old_major = major_of(data_dir / "postgres")
        if old_major == MAJOR and not dry_run:
            return None
        if not dry_run:
            _check_free(data_dir / f"postgres-{old_major}")
        found = from_programs or old_programs(old_major)
        shutil.rmtree(made, ignore_errors=True)  # of a move that was interrupted
        _check_room(data_dir)
        try:
            moved = _copy(data_dir, lock, found, say, fast_unsafe=fast_unsafe)
            if not dry_run:
                _note_verified(data_dir, old_major)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        if dry_run:
            shutil.rmtree(made)
            return moved
        _finish(data_dir)
    return Moved(moved.old, moved.new, moved.tables, moved.rows, data_dir / f"postgres-{old_major}")


def confirm(data_dir: Path) -> list[Path]:
    """Remove the clusters that moves have kept; returns their folders.

    Raises:
        DataFolderInUseError: Rollbook runs there.
        EngineError: the data folder has no cluster of the bundled version.
    """
    data_dir = data_dir.resolve()
    with _owned(data_dir):
        _finish(data_dir)
        if not (data_dir / "postgres" / "PG_VERSION").exists():
            raise EngineError(f"There is no data in {data_dir / 'postgres'}: nothing was removed.")
        if major_of(data_dir / "postgres") != MAJOR:
            raise EngineError("The data isn't of the bundled version: nothing was removed.")
        kept = kept_clusters(data_dir)
        for folder in kept:
            shutil.rmtree(folder)
        return kept


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[int]:
    lock = own_folder(data_dir)
    try:
        yield lock
    finally:
        os.close(lock)


def _finish(data_dir: Path) -> None:
    """Put a copy that was found equal in the old cluster's place, also after an interruption."""
    made, current = data_dir / NEW, data_dir / "postgres"
    try:
        noted = json.loads((made / VERIFIED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    kept = data_dir / f"postgres-{noted['old']}"
    if (made / "postgres").exists():
        if current.exists():
            if _state(current) != noted["state"]:
                return  # it was used since, so the copy is too old
            current.rename(kept)
            sync(data_dir)
        (made / "postgres").rename(current)
        sync(data_dir)
    shutil.rmtree(made)


def _check_free(kept: Path) -> None:
    if kept.exists():
        raise EngineError(
            f"{kept} is there from an earlier move. Remove it or put it elsewhere, and try again. "
            "Nothing was changed."
        )


def _note_verified(data_dir: Path, old_major: str) -> None:
    made = data_dir / NEW
    noted = {"old": old_major, "state": _state(data_dir / "postgres")}
    new = made / f"{VERIFIED}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump(noted, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(made / VERIFIED)
    sync(made)


def _state(cluster: Path) -> str:
    """What changes whenever a server has run on a cluster."""
    return hashlib.sha256((cluster / "global" / "pg_control").read_bytes()).hexdigest()


def _check_room(data_dir: Path) -> None:
    size = sum(
        path.lstat().st_size for path in (data_dir / "postgres").rglob("*") if path.is_file()
    )
    needed, free = size + SPARE_BYTES, shutil.disk_usage(data_dir).free
    if free < needed:
        raise EngineError(
            f"The move needs {needed >> 20} MB beside the old data, and {free >> 20} MB are free "
            f"where {data_dir} is. Nothing was changed."
        )


def _copy(
    data_dir: Path,
    lock: int,
    from_programs: Path,
    say: Callable[[str], None],
    *,
    fast_unsafe: bool,
) -> Moved:
    """Fill a new cluster and compare it.

    Raises:
        EngineError: it isn't equal, or a program failed.
    """
    say("starting both versions")
    old_engines = Engines(
        data_dir,
        valkey=False,
        programs=from_programs,
        options={"default_transaction_read_only": "on"},
        is_private=True,
        lock=lock,
    )
    new_engines = Engines(data_dir / NEW, valkey=False, is_private=True, fast_unsafe=fast_unsafe)
    with old_engines as old, new_engines as new:
        assert old.database_url is not None
        assert new.database_url is not None
        say("copying")
        _dump_and_restore(old.database_url, new.database_url)
        with (
            psycopg.connect(old.database_url, autocommit=True) as one,
            psycopg.connect(new.database_url, autocommit=True) as other,
        ):
            say("comparing")
            tables, rows = _compare(one, other)
            say("collecting statistics for the planner")
            other.execute("ANALYZE")
            versions = [
                c.execute("SELECT split_part(current_setting('server_version'), ' ', 1)").fetchone()
                for c in (one, other)
            ]
    old_version, new_version = [row[0] for row in versions if row is not None]
    return Moved(old_version, new_version, tables, rows, None)


def _dump_and_restore(old: str, new: str) -> None:
    """Copy through a pipe: no dump on the disk. The newer programs read older servers too.

    Raises:
        EngineError: a program failed, or both took too long.
    """
    folder = programs()
    # The programs write their warnings to a file: a pipe that is full would stop them.
    with tempfile.TemporaryFile() as log:
        dump = subprocess.Popen(
            [folder / "pg_dump", "--format=custom", "--compress=none", "--dbname", old],
            stdout=subprocess.PIPE, stderr=log, env=environment(),
        )  # fmt: skip
        with dump:
            try:
                restored = subprocess.run(
                    [
                        folder / "pg_restore", "--exit-on-error", "--no-owner",
                        "--single-transaction", "--dbname", new,
                    ],
                    stdin=dump.stdout, stdout=subprocess.DEVNULL, stderr=log, check=False,
                    env=environment(), timeout=COPY_TIMEOUT_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                dump.kill()
                raise EngineError(
                    f"The copy took longer than {COPY_TIMEOUT_S / 3600:g} hours and was stopped. "
                    "The old data is as it was."
                ) from None
            except BaseException:
                dump.kill()
                raise
            assert dump.stdout is not None
            dump.stdout.close()  # a restore that ended must not keep the dump waiting
        if dump.returncode == 0 and restored.returncode == 0:
            return
        log.seek(0)
        said = [text for line in log if "error" in (text := line.decode(errors="replace")).lower()]
    # Of the reason only the kind: the rest may quote a row.
    reason = re.sub(r'".*', "...", said[0].strip()) if said else "no reason was given"
    raise EngineError(f"The copy failed ({reason}). The old data is as it was.")


def _compare(
    one: psycopg.Connection[tuple[str, ...]], other: psycopg.Connection[tuple[str, ...]]
) -> tuple[int, int]:
    """The number of tables and of rows in all.

    Raises:
        EngineError: something differs; it names what.
    """
    names = [sorted(row[0] for row in c.execute(_NAMES)) for c in (one, other)]
    if names[0] != names[1]:
        different = sorted(set(names[0]) ^ set(names[1]))
        raise EngineError(
            f"The copy differs from the old data in {', '.join(different[:5])}. It was removed, "
            "and the old data is as it was."
        )
    tables = one.execute(_TABLES).fetchall()
    total = 0
    for schema, name in tables:
        query = sql.SQL(_CONTENT).format(sql.Identifier(schema, name))
        found = [c.execute(query).fetchone() for c in (one, other)]
        if found[0] != found[1]:
            raise EngineError(
                f"The rows of the table {schema}.{name} differ in the copy. It was removed, and "
                "the old data is as it was."
            )
        assert found[0] is not None
        total += int(found[0][0])
    return len(tables), total
