"""The units: systemd takes them, they are closed, and they get their time to stop."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.deploy.files import (
    DEPLOY,
    known_names,
    megabytes,
    needed_files,
    needed_mb,
    time_to_stop_s,
    variables,
)
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = DEPLOY / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
#: systemd's own measure of what a service could do to the machine: 0 is nothing, 10 all.
EXPOSURE_AT_MOST = 20


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units as they would be installed, with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd isn't installed (Debian: systemd)")
    written = []
    for unit in [*SERVICES, FOLDER / "rollbook.target"]:
        name = unit.name.replace("@.", "@1.")
        text = unit.read_text().replace("/opt/rollbook/bin/rollbook", "/bin/true")
        (tmp_path / unit.name).write_text(text)
        (tmp_path / name).write_text(text)
        written.append(tmp_path / name)
    return written


def test_systemd_takes_the_units(units: list[Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    ours = [line for line in done.stderr.splitlines() if "rollbook" in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


def test_the_units_can_do_little_to_the_machine(units: list[Path]) -> None:
    for unit in units:
        if unit.suffix == ".service":
            done = subprocess.run(
                ["systemd-analyze", "security", "--offline=true",
                 f"--threshold={EXPOSURE_AT_MOST}", unit],
                capture_output=True, text=True, check=False, timeout=PATIENCE_S,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_unit_runs_as_its_own_user_and_gets_its_time_to_stop(unit: Path) -> None:
    text = unit.read_text()
    assert "\nUser=rollbook\n" in text
    if "Type=oneshot" not in text:
        [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
        assert int(seconds) >= time_to_stop_s()
        # SIGTERM goes to the process itself, who stops its children in order.
        assert "\nKillMode=mixed\n" in text
    given = re.findall(r"^Environment=(.+)$", text, re.MULTILINE)
    names = {pair.split("=")[0] for line in given for pair in line.split()}
    assert names <= known_names()


@pytest.mark.parametrize(
    ("process", "unit"), [("api", "rollbook-api"), ("worker", "rollbook-worker@")]
)
def test_a_unit_has_room_for_all_of_its_children(process: str, unit: str) -> None:
    text = (FOLDER / f"{unit}.service").read_text(encoding="utf-8")
    [size] = re.findall(r"^MemoryMax=(\w+)$", text, re.MULTILINE)
    assert megabytes(size) >= needed_mb(process)
    # A child that the kernel killed is the affair of one file.
    assert "\nOOMPolicy=continue\n" in text


def test_an_api_may_have_as_many_connections_as_it_allows() -> None:
    text = (FOLDER / "rollbook-api.service").read_text(encoding="utf-8")
    [files] = re.findall(r"^LimitNOFILE=(\d+)$", text, re.MULTILINE)
    assert int(files) >= needed_files()


@pytest.mark.parametrize(("instance", "port"), [("1", "9701"), ("10", "9710"), ("250", "9950")])
def test_every_worker_has_a_port_of_its_own_for_metrics(
    instance: str, port: str, tmp_path: Path
) -> None:
    unit = (FOLDER / "rollbook-worker@.service").read_text(encoding="utf-8")
    [command] = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    program = tmp_path / "rollbook"
    program.write_text('#!/bin/sh\necho "$1 $ROLLBOOK_METRICS_PORT"\n', encoding="utf-8")
    program.chmod(0o755)
    # As systemd reads it.
    command = command.replace("$$", "$").replace("%i", instance)
    command = command.replace("/opt/rollbook/bin/rollbook", str(program))
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout.split() == ["worker", port]
    watch = (FOLDER / "rollbook-watch.service").read_text(encoding="utf-8")
    assert f"ROLLBOOK_METRICS_PORT={port}" not in watch


def test_the_example_of_settings_holds_only_settings() -> None:
    assert set(variables(FOLDER / "rollbook.env.example")) <= known_names()
