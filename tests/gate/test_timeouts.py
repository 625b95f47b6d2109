"""A test that hangs ends within its time limit, and the report shows where it hung."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Seconds in which a test gets to where it hangs, beside busy processes.
LIMIT_S = 3
#: A start of pytest beside busy processes; a hang that isn't ended exceeds this.
PATIENCE_S = 110
#: The others that are installed take a second to load, and have nothing to do here.
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "xdist", "tests.timeouts")

HUNG_TASK = """
import asyncio

async def innermost_part():
    await asyncio.Event().wait()

async def outer_part():
    await innermost_part()

async def test_hangs():
    async with asyncio.TaskGroup() as group:
        group.create_task(outer_part(), name="the one that hangs")
"""
HUNG_THREAD = """
import threading

def waits_for_ever():
    threading.Event().wait()

def test_hangs():
    thread = threading.Thread(target=waits_for_ever, name="the one that hangs")
    thread.start()
    thread.join()
"""
HUNG_TEARDOWN = """
import threading
import pytest

@pytest.fixture
def waits_for_ever():
    yield
    threading.Event().wait()

def test_hangs(waits_for_ever):
    assert False
"""
HUNG_CHILD = """
import subprocess, sys

def test_hangs():
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)  # the child that hangs"])
"""
HUNG_EXIT = """
import threading
import pytest
from tests import timeouts

timeouts.EXIT_S = 1

def waits_for_ever():
    threading.Event().wait()

@pytest.mark.timeout(60)
def test_passes():
    threading.Thread(target=waits_for_ever).start()
"""
#: A test that has nothing to wait for, but a busy machine.
AFTER = """
import pytest

@pytest.mark.timeout(60)
def test_after(): pass
"""
HELD_INTERPRETER = """
import re
from tests import timeouts

timeouts.GRACE_S = 0.1

def test_hangs():
    re.match("(a*)*$", "a" * 40 + "b")
"""


def run(folder: Path, source: str, *options: str) -> tuple[int, str, str]:
    """Run a test in a pytest of its own: its exit code, standard output and standard error."""
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    (folder / "test_it.py").write_text(source + AFTER)
    command = [
        sys.executable, "-m", "pytest", *(f"-p{name}" for name in PLUGINS), f"--timeout={LIMIT_S}",
        f"--rootdir={folder}", "-c", str(folder / "pytest.ini"), *options, str(folder),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            HUNG_TASK,
            ["name='the one that hangs'", "in outer_part", "in innermost_part", "wait_for=<Future"],
        ),
        (HUNG_THREAD, ["thread the one that hangs", "in waits_for_ever", "thread MainThread"]),
        (HUNG_TEARDOWN, ["thread MainThread", "in waits_for_ever"]),
        (HUNG_CHILD, ["child process", "# the child that hangs"]),
    ],
    ids=["task", "thread", "teardown after a failure", "child process"],
)
def test_a_hung_test_ends_in_its_limit_with_its_name_and_its_stacks(
    tmp_path: Path, source: str, shown: list[str]
) -> None:
    code, _, errors = run(tmp_path, source)
    assert code == 1
    assert f"TIMEOUT: test_it.py::test_hangs exceeded its limit of {LIMIT_S} s" in errors
    for text in shown:
        assert text in errors


def test_under_xdist_the_report_is_printed_and_the_other_tests_run(tmp_path: Path) -> None:
    code, output, errors = run(tmp_path, HUNG_TASK, "-n1")
    assert code == 1
    assert "TIMEOUT: test_it.py::test_hangs" in errors
    assert "in innermost_part" in errors
    assert "crashed while running 'test_it.py::test_hangs'" in output
    assert "1 failed, 1 passed" in output


def test_a_test_that_never_lets_go_of_the_interpreter_ends_too(tmp_path: Path) -> None:
    code, _, errors = run(tmp_path, HELD_INTERPRETER, "--timeout=0.1")  # it works all the time
    assert code == 1
    assert "in test_hangs" in errors


def test_a_thread_that_outlives_the_tests_does_not_keep_the_process(tmp_path: Path) -> None:
    code, output, errors = run(tmp_path, HUNG_EXIT)
    assert code == 1
    assert "2 passed" in output
    assert "in waits_for_ever" in errors


def test_every_test_of_ours_has_a_limit() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["timeout"] == 120
    assert options["timeout_method"] == "thread"
