"""Which commands may make an installation, what they import, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from pydantic import SecretStr
from rich.text import Text
from typer.core import TyperGroup

from rollbook import __version__, cli
from rollbook.cli import failures
from rollbook.cli.failures import ExitCode, NoInstallationError
from rollbook.cli.session import check_installation
from rollbook.config import Settings
from rollbook.errors import ConflictError, NotAllowedError, NotFoundError, ServiceUnavailableError
from rollbook.uploads.options import Choices
from tests.hung_share import hung
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.command_line import CommandLine

#: The commands that may make a data folder, and those that use none of the settings' folders or,
#: as the doctor does, say in their own words that there is none.
MAY_MAKE = {"up", "serve", "worker", "migrate", "users add"}
USE_NONE = {"demo", "sample", "login", "logout", "doctor"}
JOB = "0f5a0c1e-4a51-4e0b-8d0e-2f5b8d0d7a11"
#: What the commands need to be complete.
ARGUMENTS = {
    "file": str(Path(__file__)),
    "job_id": JOB,
    "email": "a@example.org",
    "member_id": JOB,
    "key_id": JOB,
    "file_id": JOB,
    "name": "x",
}


def _all(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for child, inner in command.commands.items():
        yield from _all(inner, f"{name} {child}".strip())


COMMANDS = dict(_all(typer.main.get_command(cli.app)))


def _complete(name: str) -> list[str]:
    """The words of a command with all that it needs."""
    words = name.split()
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument" and parameter.required:
            words.append(ARGUMENTS[parameter.name])
        elif parameter.required:
            value = {"scope": "upload", "file": ARGUMENTS["file"]}.get(
                parameter.name, "super_admin"
            )
            words += [parameter.opts[0], value]
    return words


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - MAY_MAKE - USE_NONE))
def test_a_command_makes_no_installation_where_there_is_none(
    rollbook: CommandLine, name: str
) -> None:
    folder = Path.cwd()
    done = rollbook(*_complete(name))
    assert done.code == ExitCode.WRONG
    assert f"There is no Rollbook installation in {folder / 'rollbook-data'}" in done.stderr
    assert "ROLLBOOK_DATA_DIR" in done.stderr
    assert done.stdout == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("made", ["nothing", "an empty folder", "a folder with other things"])
def test_a_folder_without_the_engines_data_is_no_installation(tmp_path: Path, made: str) -> None:
    data = tmp_path / "data"
    if made != "nothing":
        data.mkdir()
    if made == "a folder with other things":
        (data / "members.xlsx").touch()
    with pytest.raises(NoInstallationError, match=str(data)):
        check_installation(Settings(_env_file=None, data_dir=data))


def test_engines_of_ones_own_need_the_folder_of_the_store_only(tmp_path: Path) -> None:
    own = Settings(
        _env_file=None,
        database_url=SecretStr("postgresql://db.example.org/rollbook"),
        redis_url=SecretStr("redis://redis.example.org"),
        data_dir=tmp_path / "data",
    )
    with pytest.raises(NoInstallationError, match="ROLLBOOK_STORE_URL"):
        check_installation(own)
    check_installation(own.model_copy(update={"store_url": "s3://bucket/prefix"}))
    own.data_dir.mkdir()
    check_installation(own)


def test_the_version_is_printed(rollbook: CommandLine) -> None:
    done = rollbook("--version")
    assert (done.code, done.stdout) == (0, f"rollbook {__version__}\n")


def test_commands_and_options_are_completed(rollbook: CommandLine) -> None:
    rollbook.set(_ROLLBOOK_COMPLETE="complete_bash", COMP_WORDS="rollbook up", COMP_CWORD="1")
    assert rollbook().stdout.split() == ["up", "upgrade-engine", "upload"]
    rollbook.set(COMP_WORDS="rollbook report --f", COMP_CWORD="2")
    assert set(rollbook().stdout.split()) == {"--failed-rows", "--force"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConflictError("x"), ExitCode.FAILED),
        (NoInstallationError("x"), ExitCode.WRONG),
        (NotFoundError("x"), ExitCode.NOT_FOUND),
        (ServiceUnavailableError("x"), ExitCode.UNAVAILABLE),
        (NotAllowedError("x"), ExitCode.NOT_ALLOWED),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: ExitCode) -> None:
    assert failures.explained(error) == (code, "x")


def test_an_unforeseen_error_has_none() -> None:
    assert failures.explained(ValueError("x")) is None


class PanicException(BaseException):
    """What Polars and others raise for a failure of their own."""


@pytest.mark.parametrize(
    ("error", "shown", "code"),
    [
        (KeyboardInterrupt(), SystemExit, ExitCode.INTERRUPTED),
        (asyncio.CancelledError(), SystemExit, ExitCode.INTERRUPTED),
        (PanicException("index out of bounds"), PanicException, None),
    ],
)
def test_only_ctrl_c_ends_without_a_word(
    error: BaseException,
    shown: type[BaseException],
    code: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(shown) as caught:
        cli.main()
    assert getattr(caught.value, "code", None) == code


def _loaded_by(*commands: Sequence[str]) -> set[str]:
    """The packages that one process has imported for these commands, one after the other."""
    script = (
        "import sys\n"
        "from rollbook.__main__ import main\n"
        f"for command in {[list(each) for each in commands]!r}:\n"
        "  sys.argv = ['rollbook', *command]\n"
        "  try: main()\n"
        "  except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split())


#: Slow to import, and of no use to a command that talks to a server.
HEAVY = {"polars", "psycopg", "bullmq", "redis", "fastapi", "numpy", "fastexcel", "obstore"}


def test_the_version_needs_no_slow_import() -> None:
    loaded = _loaded_by(["--version"])
    assert "rollbook" in loaded
    assert not loaded & (HEAVY | {"asyncio", "httpx", "pydantic"})


def test_the_list_of_commands_imports_none_of_them() -> None:
    assert not _loaded_by(["--help"], ["nonsense"]) & (HEAVY | {"asyncio", "httpx"})


def test_the_listed_help_is_the_commands_own() -> None:
    """Written twice, because the commands take long to import."""
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    context = group.make_context("rollbook", [], resilient_parsing=True)
    for name, command in group.commands.items():
        listed = group.get_command(context, name)
        assert listed is not None
        own = (command.help or "").partition("\n\n")[0]
        assert listed.help == " ".join(own.split()), name


def test_a_command_at_a_server_needs_no_slow_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_TOKEN", "rbk_x")
    server = ("--server", "http://127.0.0.1:1")
    loaded = _loaded_by(*([*_complete(name), *server] for name in ("upload", "queue stats")))
    assert "httpx" in loaded
    assert not loaded & HEAVY


def test_the_choices_of_an_upload_are_the_forms() -> None:
    """Written twice, because the form's model takes long to import; in help, markup is escaped."""
    options = {
        parameter.name: Text.from_markup(parameter.help).plain
        for parameter in COMMANDS["upload"].params
        if parameter.name in Choices.model_fields
    }
    assert options == {name: one.description for name, one in Choices.model_fields.items()}


@pytest.mark.parametrize("command", ["serve", "worker", "up", "migrate", "doctor", "purge"])
def test_a_data_folder_that_hangs_from_the_start_is_said(
    rollbook: CommandLine, tmp_path: Path, command: str
) -> None:
    (tmp_path / "data").mkdir()
    rollbook.set(ROLLBOOK_DATA_DIR=str(tmp_path / "data"), ROLLBOOK_STORE_ANSWER_S="0.3")
    with hung(tmp_path / "data"):
        done = rollbook(command)
    assert done.code == ExitCode.UNAVAILABLE
    assert "doesn't answer within 0.3 seconds" in done.stderr
    assert "mount it again" in done.stderr


def test_a_watched_folder_that_hangs_from_the_start_holds_no_watcher(
    rollbook: CommandLine, tmp_path: Path
) -> None:
    """It says later that the folder doesn't answer."""
    (tmp_path / "files").mkdir()
    with hung(tmp_path / "files"):
        done = rollbook("watch", str(tmp_path / "files"))
    assert done.code == ExitCode.WRONG
    assert "There is no Rollbook installation" in done.stderr


def test_a_command_whose_errors_nobody_reads_ends(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(100_000):
            os.write(write, bytes(4096))
    os.set_blocking(write, True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rollbook", "purge"],
            cwd=tmp_path,
            stderr=write,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == ExitCode.WRONG
