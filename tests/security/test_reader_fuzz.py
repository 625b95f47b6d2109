"""Thousands of odd files: each is answered, soon, in little memory, and no process is lost.

Forty in every run; ``make fuzz`` tries 20,000 (INPUTS=20000 SEED=1).
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rollbook.config import Settings
from tests import warm_process
from tests.databases import own_database
from tests.fuzz import inputs
from tests.waiting import join, kill

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.engines import Addresses
    from tests.security.house import House

INPUTS = int(os.environ.get("ROLLBOOK_FUZZ_INPUTS", "40"))
SEED = int(os.environ.get("ROLLBOOK_FUZZ_SEED", "1"))
#: Each so manieth goes through the whole pipeline.
WHOLE = 20
CHILDREN = 2 if INPUTS > 100 else 1  # to start one takes as long as twenty inputs
#: What an input may take of the processor.
MOST_S = 10
MOST_MB = Settings.model_fields["child_memory_mb"].default
#: A process starts within this, and an input that takes longer has no end.
START_S = 120


@dataclass
class Findings:
    """What is wrong, and what there was."""

    wrong: list[str] = field(default_factory=list)
    sentences: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    taken: int = 0
    whole: int = 0
    slowest: tuple[float, int] = (0.0, 0)
    peak_mb: float = 0.0

    def add(self, answer: dict[str, Any]) -> None:
        """Count an answer."""
        seed = answer["seed"]
        self.slowest = max(self.slowest, (answer["cpu_s"], seed))
        self.peak_mb = max(self.peak_mb, answer["peak_mb"])
        if answer["cpu_s"] > MOST_S:
            self.wrong.append(f"input {seed} took {answer['cpu_s']:.1f} s of the processor")
        if "fault" in answer:
            self.wrong.append(f"input {seed}: {answer['fault']}")
        elif "sentence" in answer:
            self.sentences[answer["sentence"][:60]] += 1
            if "nothing was changed" not in answer["sentence"].lower():
                self.wrong.append(f"input {seed} says: {answer['sentence']}")
        else:
            self.taken += 1
            self.rows += answer["rows"]
            self.whole += answer.get("whole", False)


class Child:
    """A process in which inputs are tried, and which is watched."""

    def __init__(self, database_url: str, folder: Path) -> None:
        folder.mkdir()
        self._log = (folder / "log").open("wb")
        self._process = warm_process.start_module(
            "tests.fuzz.child", database_url, str(folder), str(WHOLE),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        assert self._answer(START_S), "the process didn't start"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # no bound: a thread of its own, to the end
            self._said.put(line)
        self._said.put("")

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        try:
            line = self._said.get(timeout=seconds)
        except queue.Empty:
            return None
        found: dict[str, Any] = json.loads(line or "{}")
        return found

    def attempt(self, seed: int, findings: Findings) -> bool:
        """Try an input; False when the process can't be used any more."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed}\n")
        self._process.stdin.flush()
        answer = self._answer(START_S)
        if not answer:
            what = (
                "took too long" if answer is None else f"killed it ({self._process.wait(START_S)})"
            )
            findings.wrong.append(f"input {seed} {what}")
            return False
        findings.add(answer)
        if answer["peak_mb"] > MOST_MB:
            findings.wrong.append(f"input {seed} took the process to {answer['peak_mb']:.0f} MB")
            return False
        return True

    def end(self) -> None:
        """End the process."""
        kill(self._process)
        join(self._reader)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._log.close()


def test_every_input_is_answered_and_no_process_is_lost(
    engines: Addresses, template: str, tmp_path: Path
) -> None:
    findings = [Findings() for _ in range(CHILDREN)]
    with ThreadPoolExecutor(CHILDREN) as pool:
        tasks = [
            pool.submit(_try_all, engines, template, tmp_path, number, found)
            for number, found in enumerate(findings)
        ]
        for task in tasks:
            task.result()
    for found in findings:
        print(  # noqa: T201 - shown to the person who runs the long one
            f"seeds {SEED}.. ({INPUTS} inputs over {CHILDREN} processes): {found.taken} taken in "
            f"({found.whole} to the report), {found.rows} rows, {found.sentences.total()} refused, "
            f"slowest {found.slowest[0]:.2f} s (input {found.slowest[1]}), "
            f"{found.peak_mb:.0f} MB\n  " + "\n  ".join(map(str, found.sentences.most_common()))
        )
    wrong = [line for found in findings for line in found.wrong]
    assert not wrong, "\n".join(wrong)
    # A grammar that makes nothing that is read, or nothing that is refused, tests nothing.
    assert sum(found.taken for found in findings) > INPUTS / 10
    assert sum(found.sentences.total() for found in findings) > INPUTS / 10


def _try_all(
    engines: Addresses, template: str, folder: Path, number: int, findings: Findings
) -> None:
    database = f"fuzz_{os.getpid()}_{number}"
    seeds = iter(range(SEED + number, SEED + INPUTS, CHILDREN))
    for started in itertools.count():
        with own_database(engines, template, database) as address:
            child = Child(address, folder / f"{number}-{started}")
            try:
                if all(child.attempt(seed, findings) for seed in seeds):
                    return
            finally:
                child.end()


def test_the_worker_outlives_odd_files(house: House) -> None:
    made = {}
    for seed in range(SEED + 1_000_000, SEED + 1_000_008):
        given = inputs.make(seed)
        with house.client("super") as client:
            answer = client.post(
                "/api/v1/bulk-upload/process",
                files={"file": (f"odd-{seed}.{given.kind}", given.content)},
            )
        assert answer.status_code in {202, 409, 415, 422}, answer.text
        if answer.status_code == 202:
            made[seed] = answer.json()["data"]["job_id"]
    for seed, job_id in made.items():
        status = house.ended("super", job_id)
        assert status["status"] == "completed" or status["error"], seed
