"""A copy of the process with loaded modules is a process like one that is started cold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from rollbook import __version__
from rollbook.config import environment_for
from tests import warm_process
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from rollbook.config import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all are started cold")


def cold(*arguments: str, **options: Any) -> subprocess.Popen[Any]:
    return subprocess.Popen([sys.executable, "-m", "rollbook", *arguments], **options)


def said(process: subprocess.Popen[str], typed: str | None = None) -> tuple[int, str, str]:
    with process:
        stdout, stderr = process.communicate(typed, timeout=PATIENCE_S)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (["history"], None),
        (["users", "add", "a@example.org", "--role", "super_admin", "--ask-password"], "short\n"),
    ],
    ids=["no installation", "a refused password"],
)
def test_a_command_says_and_returns_what_it_does_cold(
    tmp_path: Path, arguments: list[str], typed: str | None
) -> None:
    answers = []
    for number, start in enumerate((warm_process.start, cold)):
        folder = tmp_path / str(number)
        folder.mkdir()
        options: dict[str, Any] = {
            "env": {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "90"},
            "cwd": folder,
            "text": True,
            "stdin": subprocess.PIPE if typed else subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        code, stdout, stderr = said(start(*arguments, **options), typed)
        answers.append((code, stdout, stderr.replace(str(folder), "FOLDER")))
    assert answers[0] == answers[1]
    assert any(answers[0][1:])


def test_it_has_this_process_s_streams_where_none_are_given(
    capfd: pytest.CaptureFixture[str],
) -> None:
    process = warm_process.start("--version")
    assert process.wait(PATIENCE_S) == 0
    assert capfd.readouterr().out == f"rollbook {__version__}\n"


def test_the_environment_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_PORT", "no number")
    options: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    refused = said(warm_process.start("history", **options))
    assert "ROLLBOOK_PORT" in refused[2]
    without = {name: value for name, value in os.environ.items() if name != "ROLLBOOK_PORT"}
    assert "ROLLBOOK_PORT" not in said(warm_process.start("history", env=without, **options))[2]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_a_child_of_this_process_that_signals_end(
    settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    log = (tmp_path / "log").open("wb")
    options: dict[str, Any] = {"cwd": tmp_path, "stdout": log, "stderr": log}
    with (
        log,
        warm_process.start("worker", env=environment_for(settings), **options) as process,
    ):
        try:
            said = tmp_path / "log"
            until(lambda: "worker takes jobs" in said.read_text(), "the worker is ready")
            assert psutil.Process(process.pid).ppid() == os.getpid()
            process.send_signal(number)
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_the_child_of_a_worker_is_forked_and_ends_with_it(
    settings: Settings, tmp_path: Path
) -> None:
    log = (tmp_path / "log").open("wb")
    options: dict[str, Any] = {"cwd": tmp_path, "stdout": log, "stderr": log}
    with (
        log,
        warm_process.start("worker", env=environment_for(settings), **options) as process,
    ):
        try:
            worker = psutil.Process(process.pid)
            said = tmp_path / "log"
            until(lambda: "worker takes jobs" in said.read_text(), "the child is ready")
            family = worker.children(recursive=True)
            [child] = [one for one in family if not warm_process.is_spare(one)]
            assert len(family) == 2
            assert warm_process.is_child(child)
            assert warm_process.CHILD not in child.cmdline()  # or it would have started cold
            assert child.ppid() == process.pid
            # It has the standard streams of a child, and no file of the process that forked it.
            files = Path(f"/proc/{child.pid}/fd").iterdir()
            opened = {link.name: str(link.readlink()) for link in files}
            assert opened["2"] == str(said)
            assert not [name for name in opened.values() if name.startswith("socket:")]
        finally:
            process.kill()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert alive == []


def test_orphans_are_adopted_only_while_a_process_is_asked_for() -> None:
    """Else what a killed process leaves would never end: nobody would wait for it."""
    said(warm_process.start("--version", stdout=subprocess.PIPE, text=True))
    program = (
        "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3).pid)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=PATIENCE_S
    )
    orphan = psutil.Process(int(parent.stdout))
    assert orphan.ppid() != os.getpid()
    orphan.kill()
