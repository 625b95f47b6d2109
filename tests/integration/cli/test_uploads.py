"""The commands about uploads and the queue, at a server and on the installation's machine."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from rollbook import clock
from rollbook.accounts.users import issue_token
from rollbook.backends.database import fetch_all
from rollbook.cli import credentials
from rollbook.cli.failures import ExitCode
from rollbook.model import Role
from tests import warm_process
from tests.files import csv_file, member, workbook
from tests.integration.cli.conftest import EMAIL
from tests.integration.worker.test_worker import working
from tests.waiting import PATIENCE_S, printed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System
    from tests.command_line import CommandLine
    from tests.integration.cli.conftest import Terminal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three good rows and a refused one."""
    path = tmp_path / "members.xlsx"
    path.write_bytes(workbook([member(0), member(1), member(2), member(3, Surname="")]))
    return path


async def test_a_file_goes_to_a_server_from_a_folder_without_an_installation(
    terminal: Terminal, system: System, file: Path
) -> None:
    folder = Path.cwd()
    terminal.sign_in()
    async with working(system):
        done = await terminal("upload", str(file), "--server", terminal.server, "--wait")
    assert done.code == 0, done.stderr
    assert "inserted" in done.stdout
    assert "--failed-rows" in done.stderr
    assert list(folder.iterdir()) == []

    found = json.loads((await terminal("history", "--json")).stdout)
    [one] = found["items"]
    assert (one["status"], one["rows_total"]) == ("completed", 4)
    job = one["job_id"]
    status = json.loads((await terminal("status", job, "--json")).stdout)
    assert (status["fixed"], status["refused_fixed"]) == (0, 0)
    # A list doesn't look for follow-ups.
    assert one == {**status, "fixed": None, "refused_fixed": None}

    done = await terminal("report", job)
    assert done.stdout == "members-report.xlsx\n"
    report = await asyncio.to_thread(_look_at_report)
    done = await terminal("report", job)
    assert done.code == ExitCode.FAILED
    assert "--force" in done.stderr
    assert (await terminal("report", job, "--force", "--json")).code == 0
    assert await asyncio.to_thread(_look_at_report) == report
    assert (await terminal("report", job, "--failed-rows", "--to", "refused.xlsx")).code == 0
    assert {path.name for path in folder.iterdir()} == {"members-report.xlsx", "refused.xlsx"}


def _look_at_report() -> list[str]:
    """The sheets of the report, which only its user may read."""
    report = Path("members-report.xlsx")
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    sheets: list[str] = openpyxl.load_workbook(report, read_only=True).sheetnames
    assert "Summary" in sheets
    return sheets


async def test_a_dry_run_ends_with_what_it_did_not_do(
    terminal: Terminal, system: System, file: Path
) -> None:
    terminal.sign_in()
    async with working(system):
        done = await terminal("upload", str(file), "--dry-run", "--wait")
        assert done.code == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "This was a dry run: nothing was changed."
        done = await terminal("upload", str(file), "--dry-run", "--allow-duplicate", "--json")
        assert json.loads(done.stdout)["status"] == "pending"
        assert done.stderr == ""


async def test_a_file_that_fails_ends_the_wait_with_an_exit_code(
    terminal: Terminal, system: System, tmp_path: Path
) -> None:
    terminal.sign_in()
    file = tmp_path / "letters.csv"
    file.write_text("one,two\na,b\n")
    async with working(system):
        done = await terminal("upload", str(file), "--wait", "--json")
    assert done.code == ExitCode.FAILED
    status = json.loads(done.stdout)
    assert status["status"] == "failed"
    assert " ".join(status["error"].split()) in done.stderr


async def test_a_wait_says_what_delays_it_and_has_an_end(
    terminal: Terminal, system: System, file: Path
) -> None:
    terminal.sign_in()
    done = await terminal("upload", str(file), "--wait", "--timeout", "0")
    assert done.code == ExitCode.TIMED_OUT
    assert "No worker takes jobs" in done.stderr
    job = json.loads((await terminal("history", "--json")).stdout)["items"][0]["job_id"]
    again = f"rollbook status {job} --wait --server {terminal.server}"
    assert f"It continues; follow it with `{again}`." in done.stderr
    assert (await terminal("queue", "pause")).code == 0
    done = await terminal("status", job, "--wait", "--timeout", "0")
    assert done.code == ExitCode.TIMED_OUT
    assert "The queue is paused" in done.stderr
    assert (await terminal("queue", "resume")).code == 0
    async with working(system):
        done = await terminal("status", job, "--wait")
    assert done.code == 0
    assert "all rows" in done.stdout


async def test_the_same_key_sends_a_file_once(terminal: Terminal, file: Path) -> None:
    terminal.sign_in()
    upload = ("upload", str(file), "--idempotency-key", "nightly-1", "--json")
    jobs = [json.loads((await terminal(*upload)).stdout)["job_id"] for _ in range(2)]
    assert jobs[0] == jobs[1]
    done = await terminal("upload", str(file))
    assert done.code == ExitCode.FAILED  # it was sent before
    assert "Nothing was kept" in done.stderr


async def test_jobs_are_cancelled_and_retried(terminal: Terminal, file: Path) -> None:
    terminal.sign_in()
    done = await terminal("upload", str(file), "--json")
    job = json.loads(done.stdout)["job_id"]
    done = await terminal("cancel", job, "--json")
    assert json.loads(done.stdout)["status"] == "cancelled"
    assert (await terminal("queue", "cancel", job)).code == ExitCode.FAILED
    assert (await terminal("retry", job)).code == ExitCode.FAILED
    done = await terminal("status", job, "--wait")
    assert done.code == ExitCode.FAILED
    unknown = "00000000-0000-4000-8000-000000000000"
    for command in ("status", "report", "cancel", "retry"):
        assert (await terminal(command, unknown)).code == ExitCode.NOT_FOUND
    [one] = json.loads((await terminal("queue", "jobs", "--json")).stdout)["items"]
    assert one["job_id"] == job
    # Times are in the zone of the installation, as on the page and in mails.
    sent = clock.in_words(dt.datetime.fromisoformat(one["created_at"]), "Africa/Johannesburg")
    assert sent.endswith(" SAST")
    for listing in (("queue", "jobs"), ("history",)):
        assert sent in (await terminal(*listing)).stdout
    assert json.loads((await terminal("queue", "clean", "--json")).stdout) == {
        "completed": 0, "failed": 0
    }  # fmt: skip
    assert json.loads((await terminal("queue", "stats", "--json")).stdout)["workers"] == 0


async def test_an_office_may_not_operate(
    terminal: Terminal, settings: Settings, make_user: Callable[..., Awaitable[User]]
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    token = issue_token(settings, user)
    terminal.sign_in(credentials.SignIn.of_session(token, user.email, expires_in=PATIENCE_S * 10))
    done = await terminal("queue", "pause")
    assert done.code == ExitCode.NOT_ALLOWED
    assert "Only national administrators" in done.stderr
    assert (await terminal("history", "--as", EMAIL)).code == ExitCode.WRONG


async def test_on_the_machine_of_an_installation_no_server_is_needed(
    rollbook: CommandLine,
    settings: Settings,
    system: System,
    make_user: Callable[..., Awaitable[User]],
    file: Path,
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    await make_user()
    # A sign-in to a server changes nothing where there is an installation.
    credentials.store("http://127.0.0.1:1", credentials.SignIn("token", "given", EMAIL))
    settings.data_dir.mkdir(exist_ok=True)
    assert settings.database_url is not None
    assert settings.redis_url is not None
    rollbook.set(
        DATABASE_URL=settings.database_url.get_secret_value(),
        REDIS_URL=settings.redis_url.get_secret_value(),
        ROLLBOOK_DATA_DIR=str(settings.data_dir),
    )
    async with working(system) as worker:
        await worker._beat()  # or the command may say that no worker takes jobs
        done = await asyncio.to_thread(
            rollbook, "upload", str(file), "--wait", "--as", office.email, "--json"
        )
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["owner"] == office.email
    assert done.stderr == ""
    done = await asyncio.to_thread(rollbook, "queue", "stats", "--json")
    assert json.loads(done.stdout)["completed"] == 1
    [entry] = await fetch_all(
        system.pool, "SELECT email, address, agent FROM audit_entries WHERE act = 'upload'"
    )
    assert (entry["email"], entry["address"]) == (office.email, None)
    assert entry["agent"].startswith("command line")
    done = await asyncio.to_thread(rollbook, "history", "--as", "nobody@example.org")
    assert done.code == ExitCode.NOT_FOUND


def process(server: str, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """A command as a process of its own, with the user's sign-ins."""
    return warm_process.start(
        *arguments,
        env={**os.environ, "ROLLBOOK_SERVER": server},
        text=True,
        stderr=subprocess.PIPE,
        **more,
    )


async def test_ctrl_c_says_that_the_job_goes_on(terminal: Terminal, file: Path) -> None:
    terminal.sign_in()

    def interrupted() -> tuple[int, str]:
        with process(terminal.server, "upload", str(file), "--wait") as command:
            said = ""
            for line in printed(command.stderr):
                said += line
                if "No worker takes jobs" in line:
                    command.send_signal(signal.SIGINT)
            return command.wait(PATIENCE_S), said

    code, said = await asyncio.to_thread(interrupted)
    assert code == ExitCode.INTERRUPTED
    job = json.loads((await terminal("history", "--json")).stdout)["items"][0]["job_id"]
    again = f"rollbook status {job} --wait --server {terminal.server}"
    assert f"Job {job} continues. Follow it with `{again}`." in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [["--json"], []], ids=["JSON", "a table"])
async def test_a_reader_that_ends_early_is_no_failure_of_the_command(
    terminal: Terminal, arguments: list[str]
) -> None:
    terminal.sign_in()

    def cut() -> tuple[int, str]:
        reader, writer = os.pipe()
        os.close(reader)
        with process(terminal.server, "queue", "jobs", *arguments, stdout=writer) as command:
            os.close(writer)
            _, said = command.communicate(timeout=PATIENCE_S)
            return command.returncode, said

    assert await asyncio.to_thread(cut) == (ExitCode.READER_GONE, "")


async def test_members_of_a_csv_file_arrive_too(
    terminal: Terminal, system: System, tmp_path: Path
) -> None:
    terminal.sign_in()
    file = tmp_path / "lede's [1].csv"
    file.write_bytes(csv_file(3))
    async with working(system):
        done = await terminal("upload", str(file), "--wait", "--json")
    assert json.loads(done.stdout)["file_name"] == file.name


async def test_a_key_that_may_only_send_is_enough_to_send(terminal: Terminal, file: Path) -> None:
    terminal.sign_in()
    done = await terminal("keys", "add", "nightly", "--scope", "upload", "--json")
    assert done.code == 0, done.stderr
    made = json.loads(done.stdout)
    terminal.line.set(ROLLBOOK_SERVER=terminal.server, ROLLBOOK_TOKEN=made["key"])
    done = await terminal("upload", str(file), "--json")
    assert done.code == 0, done.stderr
    job = json.loads(done.stdout)["job_id"]
    done = await terminal("status", job)
    assert done.code == ExitCode.NOT_ALLOWED
    assert "which needs read" in done.stderr
    terminal.line.set(ROLLBOOK_TOKEN="")
    assert "nightly" in (await terminal("keys", "list")).stdout
    assert (await terminal("keys", "revoke", made["key_id"])).code == 0
    terminal.line.set(ROLLBOOK_TOKEN=made["key"])
    done = await terminal("upload", str(file))
    assert done.code == ExitCode.NOT_ALLOWED
    assert "was revoked" in done.stderr
