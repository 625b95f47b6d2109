"""The embedded engines, with real processes, real signals and real crashes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
import psycopg
import pytest
from redis import Redis

import rollbook
from rollbook.engines import Addresses, Engines, find_running, process
from rollbook.engines.watchdog import is_held
from rollbook.errors import DataFolderInUseError, EngineError
from tests import cluster as clusters
from tests import in_memory, warm_process
from tests.integration.engines import owner as owning
from tests.waiting import PATIENCE_S, join, kill, printed, to_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = os.geteuid() == 0
NOBODY = 65534
UNKNOWN = 54321
SOURCES = Path(rollbook.__file__).parents[2]
LOCKS = ("engines.lock", "postgres.lock", "valkey.lock")
OWNER = "tests.integration.engines.owner"


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that must come true, and look at it more often than others do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Owner:
    """A process that owns the engines of a folder."""

    def __init__(self, folder: Path, *, uid: int | None = None, **options: Any) -> None:
        self.process = started(uid, folder, options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = next(printed(self.process.stdout), None)
        assert line, "the owner did not start"
        database_url, redis_url, self.pids = json.loads(line)
        self.addresses = Addresses(database_url, redis_url)
        self.helpers = [
            child.pid
            for child in psutil.Process(self.process.pid).children()
            if child.pid not in self.pids.values()
        ]

    def kill(self) -> None:
        kill(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end by itself, if it still runs."""
        self.process.communicate(timeout=PATIENCE_S)


def started(
    uid: int | None, folder: Path, options: dict[str, Any], **pipes: int
) -> subprocess.Popen[str]:
    """An owner as a process with a group of its own; one of this user starts with what it loads."""
    how: dict[str, Any] = {
        "env": {"HOME": str(folder.parent), "PATH": os.environ["PATH"], **python_path()},
        "start_new_session": True,
        "text": True,
        **pipes,
    }
    arguments = (str(folder), json.dumps(options))
    if uid is None:
        return warm_process.start_module(OWNER, *arguments, **how)
    program = Path(owning.__file__).read_text(encoding="utf-8")
    return subprocess.Popen([interpreter(uid), "-c", program, *arguments], **how, **other_user(uid))


def other_user(uid: int) -> dict[str, Any]:
    return {"user": uid, "group": uid, "extra_groups": []}


def python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(SOURCES), sysconfig.get_path("purelib")])}


@cache
def interpreter(uid: int) -> str:
    """A Python that this user can run with our packages: the tests' own may lie in root's home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin")):
        with contextlib.suppress(PermissionError):
            if found and not subprocess.call(
                [found, "-c", "import rollbook.engines"],
                env=python_path(),
                cwd="/",
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE_S,
                **other_user(uid),
            ):
                return found
    pytest.skip(f"no {name} here that user {uid} can run with our packages")


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path that every user may enter; nothing may run in it at the end."""
    with in_memory.folder() as base:
        base.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(base))
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield base
        # The engines' locks are free only when the last process of each is gone.
        locks = [lock for key in LOCKS for lock in base.rglob(key)]
        until(lambda: not any(map(is_held, locks)))
        until(lambda: not processes_with(str(base)))


@pytest.fixture
def folder(base: Path) -> Path:
    return base / "data"


@pytest.fixture
def cluster() -> Path:
    """A cluster to copy, which is quicker than initdb."""
    return clusters.template()


@pytest.fixture
def used(folder: Path, cluster: Path) -> Path:
    """A data folder that is not new."""
    folder.mkdir(mode=0o700)
    copy(cluster, folder / "postgres")
    return folder


def copy(cluster: Path, target: Path) -> None:
    """Copy a cluster, which has a thousand files, in a tenth of the time that ``shutil`` takes."""
    subprocess.run(["cp", "-Rp", cluster, target], check=True, timeout=PATIENCE_S)


def processes_with(text: str) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    return [one for one in found if any(text in part for part in one.info["cmdline"] or ())]


def store(addresses: Addresses, value: str, *, on_disk: bool = False) -> None:
    """Commit one row and add to one key, which Valkey writes out within a second or two."""
    assert addresses.database_url is not None
    assert addresses.redis_url is not None
    with psycopg.connect(addresses.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])
    with Redis.from_url(addresses.redis_url) as client:
        client.rpush("kept", value)
        if on_disk:
            assert client.execute_command("WAITAOF", 1, 0, 1000 * PATIENCE_S)[0] == 1


def stored(addresses: Addresses) -> list[str]:
    """What both engines hold, which must be the same."""
    assert addresses.redis_url is not None
    rows = [str(value) for (value,) in query(addresses, "SELECT value FROM kept ORDER BY value")]
    with Redis.from_url(addresses.redis_url, decode_responses=True) as client:
        assert client.lrange("kept", 0, -1) == rows
    return rows


def query(addresses: Addresses, statement: str) -> list[tuple[Any, ...]]:
    assert addresses.database_url is not None
    with psycopg.connect(addresses.database_url) as connection:
        return connection.execute(statement.encode()).fetchall()


def gone(pids: Iterable[int]) -> bool:
    """Tell whether these ended; who has not been waited for yet did end."""

    def lives(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(map(lives, pids))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- what runs


def test_both_engines_run_as_promised(folder: Path) -> None:
    engines = Engines(folder)
    with engines as addresses:
        assert list(engines.pids) == ["postgres", "valkey"]
        settings = dict(query(addresses, "SELECT name, setting FROM pg_settings"))
        expected = {
            "fsync": "on",
            "full_page_writes": "on",
            "listen_addresses": "",
            "log_truncate_on_rotation": "on",
            "max_connections": "120",
            "server_encoding": "UTF8",
            "synchronous_commit": "on",
            "TimeZone": "UTC",
        }
        assert {name: settings[name] for name in expected} == expected
        assert query(addresses, "SELECT current_database(), lower('ÉŽ'), 'É' ILIKE 'é'") == [
            ("rollbook", "éž", True)
        ]
        assert addresses.redis_url is not None
        with Redis.from_url(addresses.redis_url, decode_responses=True) as client:
            expected = {
                "port": "0",
                "appendonly": "yes",
                "appendfsync": "everysec",
                "save": "",
                "maxmemory-policy": "noeviction",
                "dir": str(folder / "valkey"),
            }
            assert client.config_get(*expected) == expected
        for pid in engines.pids.values():
            one = psutil.Process(pid)
            family = (one, *one.children())
            found = to_each(family, lambda process: process.net_connections("inet"))
            assert not [connection for _, connections in found for connection in connections]
        private = (folder, folder / "postgres", folder / "valkey", folder / "run")
        assert [mode(path) for path in private] == [0o700] * 4
        assert mode(folder / "run" / "valkey.sock") == 0o700


@pytest.mark.parametrize("wanted", ["postgres", "valkey"])
def test_one_engine_alone(used: Path, wanted: str) -> None:
    engines = Engines(
        used, postgres=wanted == "postgres", valkey=wanted == "valkey", fast_unsafe=True
    )
    with engines as addresses:
        assert list(engines.pids) == [wanted]
        assert (addresses.database_url is None) == (wanted == "valkey")
        assert (addresses.redis_url is None) == (wanted == "postgres")
        assert find_running(used) == addresses
        if wanted == "postgres":
            assert query(addresses, "SHOW fsync") == [("off",)]


def test_a_foreign_statement_does_not_reach_the_log(used: Path) -> None:
    with (
        Engines(used, valkey=False, fast_unsafe=True) as addresses,
        pytest.raises(psycopg.errors.InvalidTextRepresentation),
    ):
        query(addresses, "SELECT 'Thandi Mokoena'::int")
    logs = [used / "postgres.log", *used.glob("postgres/log/*")]
    text = "".join(log.read_text(encoding="utf-8") for log in logs)
    assert "ready to accept connections" in text
    assert "Thandi" not in text


def test_many_starts_and_stops(used: Path) -> None:
    engines = Engines(used, fast_unsafe=True)
    for number in range(3):
        with engines as addresses:
            store(addresses, str(number))
            assert stored(addresses) == [str(n) for n in range(number + 1)]
        assert engines.pids == {}


@pytest.mark.parametrize("name", ["space and ünïcode %41 ?#", "comma, here", "long" * 40])
def test_any_path_works(base: Path, cluster: Path, name: str) -> None:
    folder = base / name
    folder.mkdir()
    copy(cluster, folder / "postgres")
    with Engines(folder, fast_unsafe=True) as addresses:
        store(addresses, "here")
        assert stored(addresses) == ["here"]
        if name.startswith("space"):
            assert (folder / "run" / "valkey.sock").is_socket()
        else:
            (run,) = base.glob("rollbook-*")
            assert mode(run) == 0o700
            assert str(run) in str(addresses.database_url)
            assert find_running(folder) == addresses


def test_a_socket_folder_of_somebody_else_is_not_trusted(base: Path) -> None:
    folder = base / ("long" * 40)
    with Engines(folder, postgres=False):
        (run,) = base.glob("rollbook-*")
    run.chmod(0o777)
    with pytest.raises(EngineError, match="open to others"):
        Engines(folder, postgres=False).start()
    shutil.rmtree(run)
    (base / "theirs").mkdir(mode=0o700)
    run.symlink_to(base / "theirs")
    with pytest.raises(EngineError, match="belongs to another user"):
        Engines(folder, postgres=False).start()


def test_a_folder_that_holds_other_things_keeps_its_mode(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "other").touch()
    with Engines(folder, postgres=False):
        assert mode(folder) == 0o755
        assert mode(folder / "valkey") == mode(folder / "run") == 0o700


# --- who owns a folder


def test_a_second_owner_is_refused_and_finds_the_first(folder: Path) -> None:
    assert find_running(folder) is None
    with Owner(folder, postgres=False) as owner:
        assert find_running(folder) == owner.addresses
        with pytest.raises(DataFolderInUseError) as refused:
            Engines(folder).start()
        assert str(folder) in str(refused.value)
        assert "ROLLBOOK_DATA_DIR" in str(refused.value)
        # The refused start took nothing away.
        assert find_running(folder) == owner.addresses
        assert psutil.pid_exists(owner.pids["valkey"])
    assert find_running(folder) is None


def test_addresses_of_a_dead_owner_are_not_believed(folder: Path) -> None:
    with Owner(folder, postgres=False) as owner:
        owner.kill()
        assert (folder / "runtime.json").exists()
        assert find_running(folder) is None


def test_only_the_main_thread_may_start_them(folder: Path) -> None:
    caught: list[EngineError] = []

    def start() -> None:
        try:
            Engines(folder).start()
        except EngineError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    join(thread)
    assert "main thread" in str(caught[0])


# --- death


@pytest.mark.parametrize("watch", ["prctl", "watchdog"])
def test_engines_end_with_a_killed_owner_and_lose_nothing(used: Path, watch: str) -> None:
    with Owner(used, death_watch=watch) as owner:
        assert len(owner.helpers) == (watch == "watchdog")
        store(owner.addresses, "a")
        owner.kill()
        until(lambda: gone([*owner.pids.values(), *owner.helpers]))
    with Engines(used) as addresses:
        assert stored(addresses) == ["a"]


def test_a_new_owner_may_come_while_the_old_engines_end(used: Path) -> None:
    with Owner(used, fast_unsafe=True) as owner:
        store(owner.addresses, "a")
        owner.kill()
        with Engines(used, fast_unsafe=True) as addresses:
            assert gone(owner.pids.values())
            assert stored(addresses) == ["a"]


def test_engines_that_nobody_stopped_are_taken_over(used: Path) -> None:
    with Owner(used, death_watch="watchdog", fast_unsafe=True) as owner:
        store(owner.addresses, "a")
        for helper in owner.helpers:
            os.kill(helper, signal.SIGKILL)
        owner.kill()
        assert not gone(owner.pids.values())
        with Engines(used, fast_unsafe=True) as addresses:
            assert gone(owner.pids.values())
            assert stored(addresses) == ["a"]


def test_everything_killed_at_once(used: Path) -> None:
    with Owner(used) as owner:
        store(owner.addresses, "a", on_disk=True)
        engines = [psutil.Process(pid) for pid in owner.pids.values()]
        family = [*engines, *(child for engine in engines for child in engine.children())]
        os.kill(owner.process.pid, signal.SIGSTOP)
        to_each(family, psutil.Process.kill)
        owner.kill()
    until(lambda: not any(one.is_running() for one in family))
    left = ("postgres/postmaster.pid", "run/pg/.s.PGSQL.5432", "run/pg/.s.PGSQL.5432.lock")
    assert all((used / name).exists() for name in (*left, "run/valkey.sock", "runtime.json"))
    with Engines(used) as addresses:
        assert stored(addresses) == ["a"]


def test_a_stale_pid_that_lives_as_somebody_else(used: Path) -> None:
    with Engines(used, fast_unsafe=True) as addresses:
        store(addresses, "a")
        files = [used / "postgres/postmaster.pid", used / "run/pg/.s.PGSQL.5432.lock"]
        texts = [file.read_text(encoding="utf-8").splitlines() for file in files]
    wait = [sys.executable, "-c", "input()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE) as stranger:
        for file, lines in zip(files, texts, strict=True):
            file.write_text("\n".join([str(stranger.pid), *lines[1:]]), encoding="utf-8")
        (used / "valkey/valkey.pid").write_text(str(stranger.pid), encoding="utf-8")
        with Engines(used, fast_unsafe=True) as addresses:
            assert stored(addresses) == ["a"]
        assert stranger.poll() is None
        stranger.communicate(b"\n", timeout=PATIENCE_S)


def test_ctrl_c_leaves_the_engines_to_their_owner(used: Path) -> None:
    with Owner(used, fast_unsafe=True, death_watch="watchdog") as owner:
        # What a terminal does: everybody in the group of the process gets the signal.
        os.killpg(owner.process.pid, signal.SIGINT)
        assert next(printed(owner.process.stdout)) == "still there\n"
    assert owner.process.returncode == 0
    assert gone(owner.pids.values())


# --- failures


def test_the_first_engine_is_stopped_when_the_second_fails(used: Path) -> None:
    (used / "valkey").mkdir()
    (used / "valkey" / "appendonlydir").touch()
    engines = Engines(used, fast_unsafe=True)
    with pytest.raises(EngineError, match="Valkey ended while it started") as failed:
        engines.start()
    assert str(used / "valkey.log") in str(failed.value)
    assert "appendonlydir" in str(failed.value).splitlines()[-1]
    assert engines.pids == {}
    assert not any(is_held(used / lock) for lock in LOCKS)


def test_an_engine_that_cannot_be_started_again_says_why_each_time(used: Path) -> None:
    engines = Engines(used, valkey=False, fast_unsafe=True)
    with engines:
        psutil.Process(engines.pids["postgres"]).kill()
        until(lambda: engines.ended() == ["postgres"])
        (used / "postgres" / "PG_VERSION").write_text("9.1\n")
        for _ in range(2):
            with pytest.raises(EngineError, match=r"is of PostgreSQL 9\.1"):
                engines.start_again("postgres")


def test_a_broken_postgresql_is_explained_by_its_log(used: Path) -> None:
    with (used / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(EngineError, match="no_such_setting"):
        Engines(used, valkey=False, fast_unsafe=True).start()


def test_a_first_start_that_is_cut_off_leaves_no_cluster_and_the_next_one_makes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes too long, and then its owner is killed."""
    with monkeypatch.context() as patch:
        patch.setattr("rollbook.engines.postgres.INITDB_TIMEOUT_S", 0.05)
        with pytest.raises(EngineError, match="made no cluster in"):
            Engines(folder, valkey=False).start()
    assert not (folder / "postgres").exists()
    shutil.rmtree(folder)
    with started(None, folder, {"fast_unsafe": True}) as owner:
        # The first is there for half a second, which a busy machine may not see.
        names = ("postgres.new", "postgres")
        until(lambda: any((folder / name / "base").exists() for name in names))
        owner.kill()
    with Engines(folder, fast_unsafe=True) as addresses:
        store(addresses, "a")
        assert stored(addresses) == ["a"]


def test_waiting_for_an_engine_is_bounded(folder: Path) -> None:
    with pytest.raises(EngineError, match="was not ready after 0 seconds"):
        Engines(folder, postgres=False, start_timeout_s=0).start()


def test_a_folder_that_cannot_be_used_is_named(base: Path) -> None:
    (base / "file").touch()
    with pytest.raises(EngineError, match="can't be used") as failed:
        Engines(base / "file" / "data").start()
    assert str(base / "file" / "data") in str(failed.value)


def test_frozen_engines_are_killed(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "KILL_TIMEOUT_S", 0.5)
    engines = Engines(used, stop_timeout_s=0.1, fast_unsafe=True)
    store(engines.start(), "a", on_disk=True)
    pids = engines.pids
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    engines.stop()
    assert time.monotonic() - began < PATIENCE_S
    assert gone(pids.values())
    with engines as addresses:
        assert stored(addresses) == ["a"]


def test_stop_may_come_at_any_time_and_again(folder: Path) -> None:
    engines = Engines(folder, fast_unsafe=True)
    engines.stop()
    previous = signal.signal(signal.SIGALRM, lambda *_: engines.stop())

    def in_initdb() -> None:
        until((folder / "postgres.new").exists)
        os.kill(os.getpid(), signal.SIGALRM)

    alarm = threading.Thread(target=in_initdb)
    alarm.start()
    try:
        with pytest.raises(EngineError):
            engines.start()
    finally:
        join(alarm)
        signal.signal(signal.SIGALRM, previous)
    assert not any(is_held(folder / lock) for lock in LOCKS)
    engines.start()
    pids = engines.pids
    thread = threading.Thread(target=engines.stop)
    thread.start()
    join(thread)
    engines.stop()
    assert gone(pids.values())


# --- users


as_root_only = pytest.mark.skipif(not ROOT, reason="changes users: run the tests as root")


def user_of(pid: int) -> int:
    return psutil.Process(pid).uids().effective


@as_root_only
def test_root_runs_postgresql_in_a_user_namespace(used: Path) -> None:
    engines = Engines(used, as_root="userns", fast_unsafe=True)
    try:
        addresses = engines.start()
    except EngineError as error:
        pytest.skip(f"no user namespaces here: {error}")
    with contextlib.ExitStack() as stack:
        stack.callback(engines.stop)
        uid_map = Path(f"/proc/{engines.pids['postgres']}/uid_map").read_text(encoding="ascii")
        assert uid_map.split() == [str(NOBODY), "0", "1"]
        assert mode(used) == 0o700
        assert not list(used.glob("postgres-programs*"))
        assert query(addresses, "SELECT 1") == [(1,)]


@as_root_only
def test_root_runs_postgresql_as_nobody_where_namespaces_are_blocked(folder: Path) -> None:
    with Owner(folder, as_root="nobody", fast_unsafe=True) as owner:
        assert user_of(owner.pids["postgres"]) == NOBODY
        assert user_of(owner.pids["valkey"]) == 0
        assert (mode(folder), mode(folder / "postgres")) == (0o710, 0o700)
        store(owner.addresses, "a")
        # The death signal must have survived the change of the user.
        owner.kill()
        until(lambda: gone(owner.pids.values()))
    # The way may change from start to start.
    for as_root, uid in (("auto", None), ("nobody", NOBODY)):
        with Owner(folder, as_root=as_root, fast_unsafe=True) as owner:
            assert uid is None or user_of(owner.pids["postgres"]) == uid
            assert stored(owner.addresses) == ["a"]


@as_root_only
def test_a_folder_that_nobody_may_enter_is_explained(base: Path) -> None:
    base.chmod(0o700)
    with pytest.raises(EngineError, match="ordinary user") as failed:
        Engines(base / "data", as_root="nobody").start()
    assert str(base / "data") in str(failed.value)


@pytest.mark.parametrize(
    ("uid", "watch"),
    [
        pytest.param(NOBODY, "prctl", marks=as_root_only),
        pytest.param(NOBODY, "watchdog", marks=as_root_only),
        # Containers often run as a number that has no name; initdb wants one.
        pytest.param(UNKNOWN, "prctl", marks=as_root_only),
        pytest.param(
            None,
            "prctl",
            marks=pytest.mark.skipif(ROOT, reason="needs an ordinary user"),
        ),
    ],
)
def test_an_ordinary_user_runs_the_engines(
    base: Path, cluster: Path, uid: int | None, watch: str
) -> None:
    home = base / "home"
    home.mkdir(mode=0o700)
    folder = home / "data"
    if watch == "watchdog":  # with a cluster that is there already
        folder.mkdir(mode=0o700)
        copy(cluster, folder / "postgres")
    if uid is not None:
        subprocess.run(["chown", "-R", f"{uid}:{uid}", home], check=True, timeout=PATIENCE_S)
    with Owner(folder, uid=uid, death_watch=watch, fast_unsafe=True) as owner:
        expected = os.geteuid() if uid is None else uid
        assert {user_of(pid) for pid in owner.pids.values()} == {expected}
        assert (mode(folder), folder.stat().st_uid) == (0o700, expected)
        store(owner.addresses, "a")
        owner.kill()
        until(lambda: gone(owner.pids.values()))
    with Owner(folder, uid=uid, death_watch=watch, fast_unsafe=True) as owner:
        assert stored(owner.addresses) == ["a"]
