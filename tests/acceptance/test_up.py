"""The system as an office and an operator meet it: a started process and its HTTP interface."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import fastexcel
import httpx
import psutil

from rollbook.cli.sample_file import write_sample
from tests import cluster, warm_process
from tests.acceptance.conftest import WATCHED, Running, environment, rollbook
from tests.faults.site import until
from tests.files import csv_file
from tests.integration.service.test_observe import value
from tests.waiting import PATIENCE_S, kill, printed

if TYPE_CHECKING:
    from pathlib import Path

FINAL = {"completed", "failed", "cancelled"}


def followed(api: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    """Every status that polling shows, up to the last: what a client without WebSocket does."""
    seen = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen.append(api.get(f"/bulk-upload/status/{job_id}").json()["data"])
        if seen[-1]["status"] in FINAL:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"not at an end after a minute: {seen[-1]}")


def test_the_eight_steps_of_the_first_system_s_test_script(
    running: Running, tmp_path: Path
) -> None:
    facts = write_sample(tmp_path / "members.xlsx", 2000, seed=8)
    # 1. authenticate
    with running.api() as api:
        assert api.get("/auth/me").json()["data"]["role"] == "super_admin"
        # 2. queue statistics before
        before = api.get("/bulk-upload/queue/stats").json()["data"]
        stats_before = api.get("/bulk-upload/stats").json()["data"]
        # 3. upload, and get a job id back at once
        with (tmp_path / "members.xlsx").open("rb") as file:
            answer = api.post("/bulk-upload/process", files={"file": file})
        assert answer.status_code == 202
        receipt = answer.json()["data"]
        assert receipt["status"] == "pending"
        # 4. follow progress by polling until done
        seen = followed(api, receipt["job_id"])
        done = seen[-1]
        assert done["status"] == "completed", done["error"]
        assert [s["progress"] for s in seen] == sorted(s["progress"] for s in seen)
        assert done["rows_total"] == sum(done["outcomes"].values()) == facts.rows
        assert {name: done["outcomes"][name] for name in facts.expected} == facts.expected

        # 5. queue statistics after; the record knows of the end before the queue does
        def after() -> dict[str, Any]:
            found: dict[str, Any] = api.get("/bulk-upload/queue/stats").json()["data"]
            return found

        until(lambda: after()["completed"] == before["completed"] + 1, "the queue knows the end")
        total = after()["total"]
        assert total == before["total"] + 1
        # 6. recent jobs
        job, *_ = api.get("/bulk-upload/queue/jobs", params={"page_size": 5}).json()["data"][
            "items"
        ]
        assert (job["job_id"], job["queue_state"]) == (receipt["job_id"], "completed")
        # 7. upload history
        history = api.get("/bulk-upload/history").json()["data"]
        assert history["items"][0]["job_id"] == receipt["job_id"]
        # 8. upload statistics
        stats = api.get("/bulk-upload/stats").json()["data"]
        assert (stats["uploads"], stats["completed"]) == (total, after()["completed"])
        assert stats["rows"] == facts.rows + stats_before["rows"]
        assert stats["success_rate"] == 1
        # and what the office came for
        report = api.get(f"/bulk-upload/report/{receipt['job_id']}")
        assert "members-report.xlsx" in report.headers["content-disposition"]
        assert len(fastexcel.read_excel(report.content).sheet_names) == 8


def test_up_takes_the_files_of_the_watched_folder(running: Running) -> None:
    folder = running.data.parent / "watched"
    with running.api() as api:
        uploads = api.get("/bulk-upload/history").json()["data"]["items"]
        assert [u["status"] for u in uploads if u["file_name"] == WATCHED] == ["completed"]
        completed = sum(upload["status"] == "completed" for upload in uploads)
        state = api.get("/bulk-upload/monitor/status").json()["data"]
        assert [w["folder"] for w in state["watchers"]] == [str(folder.resolve())]
    # One address shows the figures of all three processes, and where each counts what it does.
    taken = {"component": "watch", "result": "taken"}
    done = {"component": "worker", "result": "completed"}
    until(
        lambda: (
            value(scraped := _scraped(running), "rollbook_folder_files_total", **taken) == 1
            and value(scraped, "rollbook_uploads", status="completed") == completed
            and value(scraped, "rollbook_jobs_total", **done) == completed
        ),
        "the watcher, the record and the worker have counted the file",
    )
    text = _scraped(running)
    assert value(text, "rollbook_up", part="worker") == 1
    assert value(text, "process_open_fds", component="api") > 0
    assert text.count("# TYPE process_open_fds ") == 1
    assert [p.name.split("-", 2)[2] for p in (folder / "processed").iterdir()] == [WATCHED]


def _scraped(started: Running) -> str:
    return httpx.get(f"{started.url}/metrics", timeout=PATIENCE_S).text


def test_a_killed_system_ends_whole_and_the_next_start_finds_all_data_and_the_same_password(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    cluster.put(data)
    first, shown = _up(data)
    password = re.search(r"password: (\S+)", shown)
    assert password is not None, shown
    assert len(password[1]) >= 16
    email = re.search(r"(\S+@\S+)", shown)
    assert email is not None, shown
    with first.api(email[1], password[1]) as api:
        receipt = api.post(
            "/bulk-upload/process", files={"file": ("members.csv", csv_file(5))}
        ).json()["data"]
        followed(api, receipt["job_id"])
    family = psutil.Process(first.process.pid).children(recursive=True)
    assert len(family) >= 4  # two engines, the API and the worker
    kill(first.process)
    assert first.process.stdout is not None
    first.process.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert alive == []
    second, shown = _up(data)
    try:
        assert "password" not in shown  # it is shown once
        with second.api(email[1], password[1]) as api:
            [kept] = api.get("/bulk-upload/history").json()["data"]["items"]
            assert (kept["job_id"], kept["status"]) == (receipt["job_id"], "completed")
    finally:
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(timeout=60) == 0
        assert second.process.stdout is not None
        second.process.stdout.close()


def _up(data: Path) -> tuple[Running, str]:
    """The system, started without a password of the operator's, and what it has shown."""
    process = warm_process.start("up", env=environment(data), stdout=subprocess.PIPE, text=True)
    text = ""
    for line in printed(process.stdout):
        text += line
        if "Stop it with" in line:
            break
    url = re.search(r"ready at (http://\S+)", text)
    assert url is not None, text
    return Running(process, url[1], data), text


def test_a_second_system_on_the_same_folder_is_refused_with_a_sentence(running: Running) -> None:
    second = warm_process.ran("up", env=environment(running.data), text=True)
    assert second.returncode == 1
    assert str(running.data) in second.stderr.replace("\n", "")
    assert "Traceback" not in second.stderr


def cold(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as an operator does: these two start cold nowhere else."""
    return subprocess.run(
        rollbook(*arguments),
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_a_second_system_on_the_same_port_is_refused_before_it_starts_anything(
    running: Running, tmp_path: Path
) -> None:
    data, port = tmp_path / "data", running.url.rpartition(":")[2]
    second = cold("up", env=environment(data, ROLLBOOK_PORT=port))
    assert second.returncode == 2
    assert f"Port {port} of 127.0.0.1 can't be used (Address already in use)." in second.stderr
    assert not data.exists()


def test_a_process_whose_supervisor_ends_before_the_engines_run_begins_nothing(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    left = cold("watch", "--supervised", env=environment(data))
    assert (left.returncode, left.stdout, left.stderr) == (0, "", "")
    assert not data.exists()


def test_commands_on_the_machine_reach_the_running_system(running: Running, tmp_path: Path) -> None:
    file = str(tmp_path / "members.csv")
    province = ("--role", "province_admin", "--province", "GP")
    unknown = "00000000-0000-4000-8000-000000000000"
    wanted: list[tuple[tuple[str, ...], int, str]] = [
        (("queue", "stats"), 0, "waiting"),
        (("sample", file, "--rows", "300"), 0, ""),
        (("upload", file, "--wait"), 0, "all rows"),
        (("queue", "jobs", "--json"), 0, "members.csv"),
        (("upload", file), 1, "Nothing was kept"),
        (("users", "add", "gp@example.org", *province), 0, "password "),
        (("users", "list"), 0, "province_admin"),
        (("users", "add", "x@example.org", *province[:2]), 2, "province"),
        (("queue", "retry", unknown), 3, "no such upload"),
        (("queue", "pause"), 0, ""),
        (("queue", "stats"), 0, "paused"),
        (("queue", "resume"), 0, ""),
    ]
    process = warm_process.start_module(
        "tests.acceptance.commands",
        json.dumps([arguments for arguments, _, _ in wanted]),
        env=environment(running.data),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        printed_in_all, _ = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in printed_in_all
    said = re.split(r"^ended with (\d+)\n", printed_in_all, flags=re.MULTILINE)
    found = list(zip(wanted, said[::2], said[1::2], strict=False))
    assert len(found) == len(wanted), printed_in_all
    for (arguments, code, text), printed_text, ended in found:
        assert (arguments, int(ended)) == (arguments, code), printed_text
        assert text in printed_text, arguments
