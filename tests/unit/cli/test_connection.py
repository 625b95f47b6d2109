"""What commands do with servers that are away, slow, wrong, or of another version."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from rollbook import __version__
from rollbook.cli import connection, credentials
from rollbook.cli.addresses import is_this_machine, server_address
from rollbook.cli.downloads import plain_name
from rollbook.cli.failures import ExitCode
from rollbook.errors import ConfigurationError
from tests.unit.cli.scripted import Reply, Scripted, problem, success
from tests.waiting import PATIENCE_S, kill, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.command_line import CommandLine, Done

JOB = "0f5a0c1e-4a51-4e0b-8d0e-2f5b8d0d7a11"
WHO = success({"email": "office@example.org"})
RECEIPT = success({"job_id": JOB, "status": "pending"}, "Your file is queued.")
STATUS = {
    "job_id": JOB,
    "file_name": "members.csv",
    "status": "completed",
    "stage": None,
    "progress": 100,
    "dry_run": False,
    "outcomes": {"inserted": 2},
    "verification": {"state": "off", "results": {}},
    "failed_rows_available": False,
    "error": None,
}
DONE = success(STATUS, "Completed.")
NAMED = {"Content-Disposition": 'attachment; filename="members-report.xlsx"'}
REPORT = Reply(content=b"a workbook" * 1000, headers=NAMED)
CUT = Reply(cut_after=0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two tries."""
    monkeypatch.setattr(connection, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(connection, "LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def server(rollbook: CommandLine) -> Iterator[Scripted]:
    """A server for which the terminal has a token."""
    with Scripted().running() as running:
        rollbook.set(ROLLBOOK_SERVER=running.address, ROLLBOOK_TOKEN="rbk_x")
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "members.csv"
    path.write_text("ID Number,Firstname,Surname\n")
    return path


def paths(server: Scripted) -> list[str]:
    return [f"{got.method} {got.path.removeprefix('/api/v1')}" for got in server.got]


def test_a_token_goes_in_a_header_and_in_no_address(
    rollbook: CommandLine, server: Scripted
) -> None:
    server.then(success({"items": [], "total": 0}), WHO)
    assert rollbook("history").code == 0
    assert paths(server) == ["GET /bulk-upload/history?page=1&page_size=20", "GET /auth/me"]
    for got in server.got:
        assert got.headers["Authorization"] == "Bearer rbk_x"
        assert got.headers["User-Agent"].startswith(f"rollbook/{__version__}")
        assert "rbk_x" not in got.path


def test_a_repeated_upload_has_the_same_key_and_the_whole_file(
    rollbook: CommandLine, server: Scripted, file: Path
) -> None:
    server.then(WHO, CUT, Reply(502, b"<html>"), RECEIPT)
    done = rollbook("upload", str(file), "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["job_id"] == JOB
    _, first, second, third = server.got
    keys = {got.headers["Idempotency-Key"] for got in (first, second, third)}
    assert len(keys) == 1
    assert first.body.count(b"ID Number,Firstname,Surname") == 1
    assert third.body.count(b"ID Number,Firstname,Surname") == 1
    assert "trying again" in done.stderr


def test_two_commands_have_two_keys(rollbook: CommandLine, server: Scripted, file: Path) -> None:
    server.then(*[WHO, RECEIPT] * 2)
    for _ in range(2):
        assert rollbook("upload", str(file)).code == 0
    keys = [got.headers["Idempotency-Key"] for got in server.got if got.method == "POST"]
    assert keys[0] != keys[1]


def test_a_wrong_token_is_found_before_the_file_is_sent(
    rollbook: CommandLine, server: Scripted, file: Path
) -> None:
    server.then(problem(401, "Please sign in again.", "not_authenticated"))
    done = rollbook("upload", str(file))
    assert done.code == ExitCode.NOT_ALLOWED
    assert paths(server) == ["GET /auth/me"]


def test_a_wait_goes_on_over_a_broken_line_and_within_its_patience(
    rollbook: CommandLine, server: Scripted
) -> None:
    pending = success({**STATUS, "status": "processing"})
    server.then(pending, CUT, problem(503, "PostgreSQL is away."), DONE, DONE)
    done = rollbook("status", JOB, "--wait")
    assert done.code == 0, done.stderr
    server.then(pending, *[CUT] * 500)
    done = rollbook("status", JOB, "--wait", "--patience", "0.05")
    assert done.code == ExitCode.UNAVAILABLE
    assert "didn't answer for 0.05 seconds" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_changes_something_is_not_repeated(rollbook: CommandLine, server: Scripted) -> None:
    server.then(CUT)
    done = rollbook("cancel", JOB)
    assert done.code == ExitCode.UNAVAILABLE
    assert paths(server) == [f"POST /bulk-upload/cancel/{JOB}"]


def test_a_server_that_is_busy_is_asked_again_when_it_says(
    rollbook: CommandLine, server: Scripted
) -> None:
    busy = problem(429, "Too many requests.", "too_many_requests", **{"Retry-After": "0"})
    server.then(busy, success({}, "The job is cancelled."))
    done = rollbook("cancel", JOB)
    assert (done.code, done.stdout) == (0, "The job is cancelled.\n")
    later = problem(429, "Too many requests.", "too_many_requests", **{"Retry-After": "3600"})
    server.then(later)
    done = rollbook("cancel", JOB)
    assert done.code == ExitCode.UNAVAILABLE
    assert "Too many requests." in done.stderr


def test_a_download_that_breaks_off_begins_again_and_leaves_nothing(
    rollbook: CommandLine, server: Scripted
) -> None:
    broken = Reply(content=REPORT.content, headers=NAMED, cut_after=100)
    server.then(broken, REPORT)
    done = rollbook("report", JOB)
    assert done.code == 0, done.stderr
    assert Path("members-report.xlsx").read_bytes() == REPORT.content
    server.then(*[broken] * 3)
    assert rollbook("report", JOB, "--to", "other.xlsx").code == ExitCode.UNAVAILABLE
    assert [path.name for path in Path().iterdir()] == ["members-report.xlsx"]


def test_a_file_that_is_there_is_not_replaced(rollbook: CommandLine, server: Scripted) -> None:
    Path("mine.xlsx").write_bytes(b"mine")
    done = rollbook("report", JOB, "--to", "mine.xlsx")
    assert done.code == ExitCode.FAILED
    assert server.got == []
    server.then(REPORT)
    assert rollbook("report", JOB, "--to", "mine.xlsx", "--force").code == 0
    assert Path("mine.xlsx").read_bytes() == REPORT.content
    Path("folder").mkdir()
    server.then(REPORT)
    done = rollbook("report", JOB, "--to", "folder", "--json")
    assert json.loads(done.stdout)["file"] == "folder/members-report.xlsx"
    done = rollbook("report", JOB, "--to", "nowhere/report.xlsx")
    assert done.code != 0


@pytest.mark.parametrize(
    ("offered", "name"),
    [
        ('attachment; filename="members-report.xlsx"', "members-report.xlsx"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="..\\\\x.xlsx"', "x.xlsx"),
        ('attachment; filename=".bashrc"', "bashrc"),
        ("attachment; filename*=UTF-8''lede%20s%C3%AB.xlsx", "lede së.xlsx"),
        ("attachment; filename*=UTF-8''%2Fetc%2Fa%0Ab", "ab"),
        ("attachment", "download"),
        ('attachment; filename="/"', "download"),
    ],
)
def test_the_servers_name_for_a_file_leads_to_no_other_folder(offered: str, name: str) -> None:
    assert plain_name(offered) == name


def test_something_else_at_the_address_is_named(rollbook: CommandLine, server: Scripted) -> None:
    page = {"Content-Type": "text/html; charset=utf-8"}
    for status in (200, 404):
        server.then(Reply(status, b"<html>Welcome</html>", page))
        done = rollbook("history")
        assert done.code == ExitCode.WRONG
        assert f"doesn't answer as Rollbook does (HTTP {status}, text/html)" in done.stderr
    server.then(Reply(200, b'{"hello": 1}'))
    assert rollbook("history").code == ExitCode.WRONG
    server.then(Reply(301, b"", {"Location": "https://new.example.org/api/v1/bulk-upload/history"}))
    done = rollbook("history")
    assert done.code == ExitCode.WRONG
    assert "redirects to https://new.example.org." in done.stderr


def test_a_server_of_another_version_is_named_where_that_may_be_the_reason(
    rollbook: CommandLine, server: Scripted
) -> None:
    server.version = "9.9.0"
    both = f"The server's version is 9.9.0, this command's {__version__}."
    server.then(success({"rows": []}), WHO)
    done = rollbook("history")
    assert done.code == ExitCode.FAILED
    assert f"The server's answer has no 'items'. {both}" in done.stderr
    server.then(problem(404, "Not Found", "not_found"))
    done = rollbook("cancel", JOB)
    assert f"The server doesn't know this function. {both}" in done.stderr
    server.then(problem(422, "There is no parameter 'search'.", "invalid_request"))
    done = rollbook("history", "--search", "x")
    assert done.code == ExitCode.WRONG
    assert f"There is no parameter 'search'. {both}" in done.stderr
    server.version = __version__
    server.then(problem(422, "There is no parameter 'search'.", "invalid_request"))
    assert both not in rollbook("history", "--search", "x").stderr


def test_members_that_a_newer_server_adds_change_nothing(
    rollbook: CommandLine, server: Scripted
) -> None:
    server.then(success({**STATUS, "a_new_member": {"of": "any shape"}}))
    assert rollbook("status", JOB).code == 0


def test_nothing_is_sent_to_a_server_whose_certificate_nobody_knows(
    rollbook: CommandLine, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Scripted().running(context) as server:
        rollbook.set(ROLLBOOK_SERVER=server.address, ROLLBOOK_TOKEN="rbk_x")
        done = rollbook("history")
        assert done.code == ExitCode.UNAVAILABLE
        assert "certificate" in done.stderr
        assert "SSL_CERT_FILE" in done.stderr
        assert server.got == []
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        rollbook.set(SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        server.then(success({"items": [], "total": 0}), WHO)
        assert rollbook("history").code == 0


def test_a_server_without_tls_at_an_https_address_is_named(
    rollbook: CommandLine, server: Scripted
) -> None:
    rollbook.set(ROLLBOOK_SERVER=server.address.replace("http:", "https:"))
    done = rollbook("history")
    assert done.code == ExitCode.UNAVAILABLE
    assert "http:// instead" in done.stderr


def test_the_proxy_of_the_environment_is_used_and_never_for_this_machine(
    rollbook: CommandLine, server: Scripted
) -> None:
    with Scripted().running() as proxy:
        rollbook.set(HTTP_PROXY=proxy.address, http_proxy=proxy.address, NO_PROXY="", no_proxy="")
        server.then(success({"items": [], "total": 0}), WHO)
        assert rollbook("history").code == 0
        assert proxy.got == []
        proxy.then(success({"items": [], "total": 0}), WHO)
        assert rollbook("history", "--server", "http://rollbook.example.org").code == 0
        assert proxy.got[0].path.startswith("http://rollbook.example.org/api/v1/")
    done = rollbook("history", "--server", "http://rollbook.example.org")
    assert done.code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("https://rollbook.example.org/", "https://rollbook.example.org"),
        (" HTTPS://Rollbook.Example.org:443/api/v1/ ", "https://rollbook.example.org"),
        ("http://10.0.0.1:8000/docs", "http://10.0.0.1:8000"),
        ("https://example.org/members", "https://example.org/members"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_address_of_a_server_is_taken_as_people_type_it(typed: str, address: str) -> None:
    assert server_address(typed) == address


@pytest.mark.parametrize(
    "typed",
    ["rollbook.example.org", "ftp://x", "https://", "http://a:b", "http://x/?q", "http://x#f", "",
     "http://[::1"],
)  # fmt: skip
def test_what_is_no_address_of_a_server_is_refused(typed: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("https://rollbook.example.org")):
        server_address(typed)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError) as refused:
        server_address("https://me:hunter2@rollbook.example.org")
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    ("address", "expected"),
    [("http://localhost:8000", True), ("http://127.9.9.9", True), ("http://[::1]:1", True),
     ("http://10.0.0.1", False), ("http://localhost.example.org", False)],
)  # fmt: skip
def test_this_machine_is_known(address: str, expected: bool) -> None:
    assert is_this_machine(address) is expected


def test_a_sign_in_without_encryption_warns(rollbook: CommandLine) -> None:
    done = rollbook("login", "--server", "http://rollbook.invalid", typed="a@example.org\nx\n")
    assert "is not encrypted" in done.stderr
    assert done.code == ExitCode.UNAVAILABLE


def test_a_file_of_sign_ins_that_others_can_read_is_closed(rollbook: CommandLine) -> None:
    credentials.store("http://127.0.0.1:1", credentials.SignIn("x", "given", "a@example.org"))
    credentials.path().chmod(0o644)
    assert "Others could read" in rollbook("history").stderr
    assert credentials.path().stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", "[]", '{"servers": {"x": {}}, "current": null}', "\x00"])
def test_a_damaged_file_of_sign_ins_is_a_sentence(rollbook: CommandLine, content: str) -> None:
    credentials.store("http://127.0.0.1:1", credentials.SignIn("x", "given", "a@example.org"))
    credentials.path().write_text(content)
    done = rollbook("history", "--server", "http://127.0.0.1:1")
    assert done.code == ExitCode.WRONG
    assert "Remove it, and sign in again" in done.stderr


def test_a_sign_in_to_another_server_is_not_used(rollbook: CommandLine) -> None:
    credentials.store("http://127.0.0.1:1", credentials.SignIn("x", "given", "a@example.org"))
    done: Done = rollbook("history", "--server", "http://127.0.0.1:2")
    assert done.code == ExitCode.NOT_ALLOWED
    assert "You are not signed in to http://127.0.0.1:2." in done.stderr


def test_ctrl_c_ends_a_sign_in_that_waits_for_a_code(server: Scripted) -> None:
    server.then(problem(401, "A code is needed.", code="second_factor_needed"))
    terminal, its_end = pty.openpty()
    command = (sys.executable, "-m", "rollbook", "login", "--email", "a@example.org")
    login = subprocess.Popen(command, stdin=its_end, stdout=its_end, stderr=its_end)
    said = b""

    def asks_for(what: bytes) -> bool:
        nonlocal said
        if select.select([terminal], [], [], 0)[0]:
            said += os.read(terminal, 1024)
        return what in said

    try:
        until(lambda: asks_for(b"Password"), "it asks for the password")
        os.write(terminal, b"secret\n")
        until(lambda: asks_for(b"authenticator app"), "it asks for the code")
        login.send_signal(signal.SIGINT)
        assert login.wait(timeout=PATIENCE_S) != 0
    finally:
        kill(login)
        os.close(terminal)
        os.close(its_end)
