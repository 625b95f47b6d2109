"""Let a whole installation run under load while something breaks every minute; then count.

Run from the root of the project: ``make soak`` (MINUTES=30). Two API processes and three workers,
each a process of its own, share PostgreSQL, Valkey and a file store. Offices send files of mixed
sizes over HTTP all the time. One API process and one worker are never killed: it is their memory
and their descriptors that must not grow.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import signal
import statistics
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
import psutil
from benchmarks.soak.load import Load
from tests.faults.site import ARROWS, QUICK, Site, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs/explanation/soak.md"

#: Seconds within which an API takes a file.
SEND_S = 300.0
#: Rows of a file, and how often one of that size is sent.
SIZES: Final = {10: 10, 200: 10, 2_000: 6, 20_000: 2, 60_000: 1}
OFFICES: Final = 3
#: Uploads that may be open before the offices wait a little: a queue that grows shows nothing.
OPEN_AT_MOST: Final = 20
SAMPLE_S: Final = 2.0
#: What the memory of a process may grow by between the second fifth and the last, and descriptors.
GROWTH: Final = 0.15
MORE_DESCRIPTORS: Final = 12
PACE: Final = {
    **QUICK,
    "concurrency": 2,
    "lock_duration_ms": 5000,
    "stalled_interval_ms": 2000,
    "attempts": 8,
}


class Soak(Load):
    """One run."""

    def __init__(self, site: Site, seed: int) -> None:
        super().__init__(site)
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.apis = [self._serve(port) for port in self.ports]
        self.workers = [site.run("worker") for _ in range(3)]
        self.token = site.token()
        #: Rows of each file that was accepted.
        self.sent: dict[UUID, int] = {}
        self.faults: list[str] = []
        self.samples: dict[str, list[tuple[float, int]]] = {}

    def _serve(self, port: int) -> subprocess.Popen[bytes]:
        return self.site.run("serve", ROLLBOOK_PORT=str(port))

    # --- load -----------------------------------------------------------------------------------

    def run(self, minutes: float, interval_s: float) -> None:
        """Send and break for so long, then let everything come to its end."""
        until(self._answers, "both APIs answer")
        senders = [partial(self._send_all, number) for number in range(OFFICES)]
        self._run(minutes, [*senders, self._measure], partial(self._break, interval_s))
        self.site.ended(list(self.sent), patience_s=600)

    def _send_all(self, office: int) -> None:
        draw = random.Random(office)  # noqa: S311 - no secret
        number = 0
        while not self._stopping.is_set():
            number += 1
            rows = draw.choices(list(SIZES), list(SIZES.values()))[0]
            with self._content:
                content = self.site.content(rows)
            self.sent[self._send(f"{office}-{number}", content, draw)] = rows
            self._wait_for_room(OPEN_AT_MOST)

    def _send(self, key: str, content: bytes, draw: random.Random) -> UUID:
        """Send a file until one of the APIs accepts it, as a client of a load balancer does."""
        deadline = time.monotonic() + SEND_S
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                answer = self._post(draw.choice(self.ports), key, self.token, content)
                if answer.status_code == 202:
                    return UUID(answer.json()["data"]["job_id"])
                assert answer.is_server_error, answer.text
            self.resent += 1
            time.sleep(0.2)
        raise AssertionError(f"no API took {key} within {SEND_S:g} s")

    # --- faults ---------------------------------------------------------------------------------

    def _break(self, interval_s: float, deadline: float) -> None:
        faults: list[Callable[[], None]] = []
        while time.monotonic() + interval_s < deadline:
            time.sleep(interval_s)
            if not faults:  # each once, in a new order
                faults = [
                    self.kill_a_worker,
                    self.stop_a_worker,
                    self.kill_an_api,
                    self.kill_a_child,
                    self.restart_redis,
                    self.flushall,
                    self.restart_postgresql,
                    self.pause_and_resume,
                ]
                self.random.shuffle(faults)
            fault = faults.pop()
            print(f"{time.strftime('%H:%M:%S')} {fault.__name__}", flush=True)
            self.faults.append(fault.__name__.replace("_", " "))
            fault()
            assert not self._errors, self._errors
        time.sleep(max(deadline - time.monotonic(), 0))

    def kill_a_worker(self) -> None:
        """SIGKILL, one of two."""
        self._replace_worker(signal.SIGKILL)

    def stop_a_worker(self) -> None:
        """SIGTERM, as a deployment does."""
        self._replace_worker(signal.SIGTERM)

    def _replace_worker(self, how: signal.Signals) -> None:
        place = self.random.choice((1, 2))
        self.workers[place].send_signal(how)
        self.workers[place].wait()
        self.workers[place] = self.site.run("worker")

    def kill_an_api(self) -> None:
        """SIGKILL, the second one."""
        self.apis[1].kill()
        self.apis[1].wait()
        self.apis[1] = self._serve(self.ports[1])

    def kill_a_child(self) -> None:
        """SIGKILL, of any worker's, busy or idle."""
        children = [child for worker in self.workers for child in self.site.children(worker)]
        with suppress(psutil.NoSuchProcess):
            self.random.choice(children).kill()

    def restart_redis(self) -> None:
        """Away for three seconds."""
        self.site.valkey.stop()
        time.sleep(3)
        self.site.valkey.start()

    def flushall(self) -> None:
        """All keys gone."""
        self.site.flush()

    def restart_postgresql(self) -> None:
        """Away for three seconds."""
        self.site.postgres.stop()
        time.sleep(3)
        self.site.postgres.start()

    def pause_and_resume(self) -> None:
        """Ten seconds without a new attempt."""
        for act in ("pause", "resume"):
            url = f"http://127.0.0.1:{self.ports[0]}/api/v1/bulk-upload/queue/{act}"
            httpx.post(url, headers={"Authorization": f"Bearer {self.token}"}).raise_for_status()
            if act == "pause":
                time.sleep(10)

    # --- figures --------------------------------------------------------------------------------

    def _measure(self) -> None:
        kept = {"API": self.apis[0], "worker": self.workers[0]}
        while not self._stopping.wait(SAMPLE_S):
            for name, process in kept.items():
                one = psutil.Process(process.pid)
                self.samples.setdefault(name, []).append((one.memory_info().rss, one.num_fds()))
            children = self.site.children(kept["worker"])
            with suppress(psutil.NoSuchProcess):
                memory = sum(child.memory_info().rss for child in children)
                self.samples.setdefault("its children", []).append((memory, len(children)))

    def growth(self, name: str) -> dict[str, Any]:
        """Memory in MB and descriptors: in the second fifth of the run, and in the last."""
        found = self.samples[name]
        fifth = max(len(found) // 5, 1)
        early, late = found[fifth : 2 * fifth] or found, found[-fifth:]
        return {
            "early_mb": round(statistics.median(memory for memory, _ in early) / 2**20, 1),
            "late_mb": round(statistics.median(memory for memory, _ in late) / 2**20, 1),
            "early_descriptors": statistics.median_high(count for _, count in early),
            "late_descriptors": statistics.median_high(count for _, count in late),
        }

    def check(self) -> dict[str, int]:
        """Check that nothing is lost or written twice, and counts add up; returns the figures."""
        site, sent = self.site, self.sent
        site._check_statuses(list(sent))  # noqa: SLF001 - the queue agrees, along the arrows
        found = {row["id"]: row for row in site.query("SELECT * FROM uploads")}
        assert set(found) == set(sent), "an accepted file is lost, or came twice"
        bad = {row["error_code"] for row in found.values() if row["status"] != "completed"}
        assert bad == set(), f"not completed: {bad}"
        assert {i: row["rows_total"] for i, row in found.items()} == sent
        assert all(row["inserted"] == row["rows_total"] for row in found.values())
        counted = {
            table: {
                row["upload_id"]: row["n"]
                for row in site.query(
                    f"SELECT upload_id, count(*) AS n, count(DISTINCT {key}) AS d FROM {table} "  # noqa: S608 - literals
                    "GROUP BY upload_id"
                )
                if row["n"] == row["d"]
            }
            for table, key in (("upload_rows", "row_number"), ("member_writes", "id_number"))
        }
        assert counted["upload_rows"] == sent, "a row without its one outcome"
        assert counted["member_writes"] == sent, "a member merged twice, or never"
        [members] = site.query("SELECT count(*) AS n FROM members")
        assert members["n"] == sum(sent.values())
        changes = site.query("SELECT DISTINCT before, after FROM status_changes")
        assert {(change["before"], change["after"]) for change in changes} <= ARROWS
        again = sum(row["attempt"] - 1 for row in found.values())
        return {
            "uploads": len(sent),
            "rows": sum(sent.values()),
            "attempts_again": again,
            "sent_again": self.resent,
        }


def soak(minutes: float, interval_s: float, seed: int) -> dict[str, Any]:
    """Run it and look at everything."""
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        site = Site(Path(folder), seed, pace=PACE)
        try:
            site.start()
            run = Soak(site, seed)
            run.run(minutes, interval_s)
            figures: dict[str, Any] = run.check()
            figures |= {"minutes": minutes, "seed": seed, "interval_s": interval_s}
            figures["faults"] = {kind: run.faults.count(kind) for kind in sorted(set(run.faults))}
            figures["processes"] = {name: run.growth(name) for name in run.samples}
            figures["machine"] = f"{psutil.cpu_count()} cores, {platform.platform(terse=True)}"
            figures["date"] = time.strftime("%Y-%m-%d")
        except BaseException:
            (ROOT / "soak.log").write_text(site.log())
            print("The log of all processes is in soak.log.", flush=True)
            raise
        finally:
            site.close()
    return figures


def judge(figures: dict[str, Any]) -> list[str]:
    """What has grown that shouldn't."""
    found = []
    for name, of in figures["processes"].items():
        if of["late_mb"] > of["early_mb"] * (1 + GROWTH) and name != "its children":
            found.append(f"the memory of the {name} grew")
        if of["late_descriptors"] > of["early_descriptors"] + MORE_DESCRIPTORS:
            found.append(f"the descriptors of the {name} grew")
    return found


def page(figures: dict[str, Any]) -> str:
    """The documentation's page, with the figures of the last run."""
    faults = "\n".join(f"| {kind} | {count} |" for kind, count in figures["faults"].items())
    processes = "\n".join(
        f"| {name} | {of['early_mb']} | {of['late_mb']} | {of['early_descriptors']} | "
        f"{of['late_descriptors']} |"
        for name, of in figures["processes"].items()
    )
    return f"""# Soak

<!-- Written by `make soak`; change benchmarks/soak, not this page. -->

Two API processes and three workers (two slots each), each a process of its own, share PostgreSQL, Valkey
and a file store, while {OFFICES} offices send files of 10 to 60,000 rows over HTTP without a pause and something
breaks again and again. One API process and one worker are never killed; theirs are the figures below.

The last run: {figures["minutes"]:g} minutes with a fault every {figures["interval_s"]:g} seconds, on {figures["date"]}
({figures["machine"]}), seed {figures["seed"]}.

| what | number |
|---|---|
| files accepted | {figures["uploads"]:,} |
| of these completed | {figures["uploads"]:,} |
| rows, each with one outcome, each member merged once | {figures["rows"]:,} |
| attempts made again after a fault | {figures["attempts_again"]:,} |
| requests sent again because an API or a part was away | {figures["sent_again"]:,} |

| fault | times |
|---|---|
{faults}

| process | MB early | MB late | descriptors early | late |
|---|---|---|---|---|
{processes}

Early is the median over the second fifth of the run, late over the last; for the children, which are
replaced when one has grown large, all together, and their number instead of descriptors. The run fails
when a file is lost or merged twice, when the counts of any upload don't add up to the rows that were
sent, when a status changed along an arrow that there isn't ([states](guarantees.md)), when memory grows
by more than {GROWTH:.0%}, or when there are more than {MORE_DESCRIPTORS} descriptors more.
"""  # noqa: E501 - lines of the page


def main() -> None:
    """Run, judge and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--interval", type=float, default=60, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    figures = soak(given.minutes, given.interval, given.seed)
    print(json.dumps(figures, indent=1))
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(figures), encoding="utf-8")
    grown = judge(figures)
    if grown:
        raise SystemExit("; ".join(grown))


if __name__ == "__main__":
    main()
